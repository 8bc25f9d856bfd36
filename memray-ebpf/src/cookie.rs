//! What a probe tells its program: which function was called, and in which registers its arguments are.
//!
//! A probe sits where the kernel can handle it cheaply, which is not always the first instruction; by then an argument
//! may have been copied and its own register used for something else. So one program serves every function, and the
//! attach cookie of each probe says what is where.

/// A general register, numbered as in `struct pt_regs` of x86-64 (arch/x86/include/uapi/asm/ptrace.h): the value
/// times 8 is the offset of the register there.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    R15 = 0,
    R14 = 1,
    R13 = 2,
    R12 = 3,
    Rbp = 4,
    Rbx = 5,
    R11 = 6,
    R10 = 7,
    R9 = 8,
    R8 = 9,
    Rax = 10,
    Rcx = 11,
    Rdx = 12,
    Rsi = 13,
    Rdi = 14,
}

impl Register {
    pub const ALL: [Self; 15] = [
        Self::R15,
        Self::R14,
        Self::R13,
        Self::R12,
        Self::Rbp,
        Self::Rbx,
        Self::R11,
        Self::R10,
        Self::R9,
        Self::R8,
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rsi,
        Self::Rdi,
    ];

    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw)).copied()
    }
}

/// What the probed function does, and what its [`Cookie::operands`] are.
///
/// Alignments are no operands: nothing records them.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Operands: size. Returns the block. malloc, valloc, pvalloc, `aligned_alloc`, memalign.
    Allocate = 1,
    /// Operands: count, size of one. Returns the block. calloc.
    AllocateArray = 2,
    /// Operands: old block, size. Returns the block. realloc.
    Reallocate = 3,
    /// Operands: old block, count, size of one. Returns the block. reallocarray.
    ReallocateArray = 4,
    /// Operands: address of the variable that gets the block, size. Returns 0 if it did. `posix_memalign`.
    AllocateInto = 5,
    /// Operands: block. Entry only. free, cfree, `free_sized`, `free_aligned_sized`.
    Free = 6,
    /// Operands: code object that dies. Entry only. `PyCode_Type.tp_dealloc`.
    CodeDealloc = 7,
    /// Operands: by the [`HoldPlace`](crate::follow::HoldPlace), which stands in [`Cookie::allocator`]. Entry only.
    Hold = 8,
}

impl Role {
    pub const ALL: [Self; 8] = [
        Self::Allocate,
        Self::AllocateArray,
        Self::Reallocate,
        Self::ReallocateArray,
        Self::AllocateInto,
        Self::Free,
        Self::CodeDealloc,
        Self::Hold,
    ];

    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw).checked_sub(1)?).copied()
    }

    pub const fn operand_count(self) -> usize {
        match self {
            Self::Allocate | Self::Free | Self::CodeDealloc | Self::Hold => 1,
            Self::AllocateArray | Self::Reallocate | Self::AllocateInto => 2,
            Self::ReallocateArray => 3,
        }
    }

    /// Whether the result is needed, which is known only when the function returns.
    pub const fn has_return(self) -> bool {
        !matches!(self, Self::Free | Self::CodeDealloc | Self::Hold)
    }
}

/// The attach cookie of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub role: Role,
    /// An [`Allocator`](crate::allocator::Allocator) as its value; 0 for [`Role::CodeDealloc`], a place for [`Role::Hold`].
    pub allocator: u8,
    /// By [`Role`]; those past [`Role::operand_count`] say nothing.
    pub operands: [Register; 3],
}

impl Cookie {
    const ALLOCATOR_SHIFT: u32 = 8;
    const OPERANDS_SHIFT: u32 = 16;
    const OPERAND_BITS: u32 = 4;

    pub const fn pack(self) -> u64 {
        self.role as u64
            | (self.allocator as u64) << Self::ALLOCATOR_SHIFT
            | (self.operands[0] as u64) << Self::OPERANDS_SHIFT
            | (self.operands[1] as u64) << (Self::OPERANDS_SHIFT + Self::OPERAND_BITS)
            | (self.operands[2] as u64) << (Self::OPERANDS_SHIFT + 2 * Self::OPERAND_BITS)
    }

    pub fn unpack(packed: u64) -> Option<Self> {
        let operand = |index| Register::from_raw(Self::raw_operand(packed, index));
        Some(Self {
            role: Role::from_raw(Self::raw_role(packed))?,
            allocator: Self::raw_allocator(packed),
            operands: [operand(0)?, operand(1)?, operand(2)?],
        })
    }

    /// The [`Role`] in a packed cookie as its value. The programs use these three, which need no table.
    #[inline]
    pub const fn raw_role(packed: u64) -> u8 {
        packed.to_le_bytes()[0]
    }

    #[inline]
    pub const fn raw_allocator(packed: u64) -> u8 {
        (packed >> Self::ALLOCATOR_SHIFT).to_le_bytes()[0]
    }

    /// The [`Register`] of an operand, 0 to 2, as its value.
    #[inline]
    pub const fn raw_operand(packed: u64, index: u32) -> u8 {
        (packed >> (Self::OPERANDS_SHIFT + index * Self::OPERAND_BITS)).to_le_bytes()[0] & 0xf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::Allocator;

    #[test]
    fn every_cookie_comes_back() {
        for role in Role::ALL {
            for (index, first) in Register::ALL.into_iter().enumerate() {
                let operands = [
                    first,
                    Register::ALL[(index + 4) % 15],
                    Register::ALL[(index + 9) % 15],
                ];
                let cookie = Cookie {
                    role,
                    allocator: Allocator::Mremap as u8,
                    operands,
                };
                assert_eq!(Cookie::unpack(cookie.pack()), Some(cookie));
                assert_eq!(Cookie::raw_operand(cookie.pack(), 0), first as u8);
            }
        }
    }

    #[test]
    fn what_is_no_cookie_is_refused() {
        for packed in [0, 9, u64::MAX, 0x0000_0000_0f00_0601] {
            assert_eq!(Cookie::unpack(packed), None, "{packed:#x}");
        }
    }

    #[test]
    fn values_are_those_of_the_enums() {
        for (value, register) in Register::ALL.into_iter().enumerate() {
            assert_eq!(register as usize, value);
        }
        for role in Role::ALL {
            assert_eq!(Role::from_raw(role as u8), Some(role));
            assert!(role.operand_count() <= 3);
        }
        assert_eq!(Role::from_raw(0), None);
    }
}
