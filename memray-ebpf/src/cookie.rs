//! What a probe knows about the function it sits on: 64 bits that user space attaches to the probe and the
//! programs read at each hit. One program serves all allocating functions, whichever registers hold their
//! arguments at the place where the probe was put.

use crate::allocator::Allocator;

/// An x86-64 register, in the order of the cookie's four-bit numbers.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Rdi = 0,
    Rsi = 1,
    Rdx = 2,
    Rcx = 3,
    R8 = 4,
    R9 = 5,
    Rax = 6,
    Rbx = 7,
    Rbp = 8,
    R10 = 9,
    R11 = 10,
    R12 = 11,
    R13 = 12,
    R14 = 13,
    R15 = 14,
}

/// Stands for "no such argument".
const NO_REGISTER: u8 = 15;

impl Register {
    pub const ALL: [Self; 15] = [
        Self::Rdi,
        Self::Rsi,
        Self::Rdx,
        Self::Rcx,
        Self::R8,
        Self::R9,
        Self::Rax,
        Self::Rbx,
        Self::Rbp,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];

    const fn number(register: Option<Self>) -> u64 {
        match register {
            Some(register) => register as u64,
            None => NO_REGISTER as u64,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number & 15).ok()?).copied()
    }
}

/// The cookie in its parts.
///
/// Packed: bits 0-7 allocator, 8-11 `size`, 12-15 `count`, 16-19 `pointer`, 20 `frees_pointer`, 21
/// `result_behind_pointer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub allocator: Allocator,
    /// The size in bytes, or of one element.
    pub size: Option<Register>,
    /// The number of elements, by which `size` is multiplied (calloc, reallocarray).
    pub count: Option<Register>,
    /// The block that is freed or resized, or where `posix_memalign` puts its result.
    pub pointer: Option<Register>,
    /// realloc, reallocarray: the block ends when the function is entered, unless it fails.
    pub frees_pointer: bool,
    /// posix_memalign: 0 is success, and the block's address is then at `pointer`.
    pub result_behind_pointer: bool,
}

const FREES_POINTER: u64 = 1 << 20;
const RESULT_BEHIND_POINTER: u64 = 1 << 21;

impl Cookie {
    pub const fn pack(self) -> u64 {
        self.allocator as u64
            | Register::number(self.size) << 8
            | Register::number(self.count) << 12
            | Register::number(self.pointer) << 16
            | if self.frees_pointer { FREES_POINTER } else { 0 }
            | if self.result_behind_pointer { RESULT_BEHIND_POINTER } else { 0 }
    }

    /// None if the allocator's number is unknown.
    pub fn unpack(bits: u64) -> Option<Self> {
        Some(Self {
            allocator: Allocator::from_raw(allocator_byte(bits))?,
            size: Register::from_number(bits >> 8),
            count: Register::from_number(bits >> 12),
            pointer: Register::from_number(bits >> 16),
            frees_pointer: frees_pointer(bits),
            result_behind_pointer: result_behind_pointer(bits),
        })
    }
}

/// The allocator's number, for programs that only pass it on.
#[inline(always)]
pub const fn allocator_byte(bits: u64) -> u8 {
    (bits & 0xff) as u8
}

#[inline(always)]
pub const fn size_register(bits: u64) -> u8 {
    (bits >> 8 & 15) as u8
}

#[inline(always)]
pub const fn count_register(bits: u64) -> u8 {
    (bits >> 12 & 15) as u8
}

#[inline(always)]
pub const fn pointer_register(bits: u64) -> u8 {
    (bits >> 16 & 15) as u8
}

/// True if a register number of a packed cookie names a register.
#[inline(always)]
pub const fn is_register(number: u8) -> bool {
    number != NO_REGISTER
}

#[inline(always)]
pub const fn frees_pointer(bits: u64) -> bool {
    bits & FREES_POINTER != 0
}

#[inline(always)]
pub const fn result_behind_pointer(bits: u64) -> bool {
    bits & RESULT_BEHIND_POINTER != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks() {
        for allocator in Allocator::ALL {
            for size in [None, Some(Register::Rdi), Some(Register::R15)] {
                for (frees_pointer, result_behind_pointer) in [(false, true), (true, false)] {
                    let cookie = Cookie {
                        allocator,
                        size,
                        count: Some(Register::Rsi),
                        pointer: None,
                        frees_pointer,
                        result_behind_pointer,
                    };
                    assert_eq!(Cookie::unpack(cookie.pack()), Some(cookie));
                }
            }
        }
        assert_eq!(Cookie::unpack(0), None);
    }
}
