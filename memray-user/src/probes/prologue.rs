//! The instruction of a function where a probe costs least and still sees the arguments.
//!
//! A probe replaces an instruction with `int3`. What stood there the kernel either emulates (about half a microsecond a
//! hit) or runs by single-stepping, which costs ten to thirty times as much in a virtual machine. It emulates `push`,
//! `nop`, and relative `jmp`, `call` and conditional jumps (`branch_setup_xol_ops` and `push_setup_xol_ops` in
//! arch/x86/kernel/uprobes.c, Linux 6.1 to 6.12); what later kernels add is not used.
//!
//! So the straight line from the entry is followed to the first such instruction, past instructions that change
//! registers only. What is passed has run when the probe hits, so nothing may be passed that another thread or the
//! kernel could see (stores, system calls), and no jump may lead to the probe or between it and the entry, or calls
//! would be counted twice or not at all. For a return probe the stack pointer must not have moved: the kernel
//! overwrites the return address at its top.

use std::fmt;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register as Machine,
};
use memray_ebpf::cookie::Register;

/// Instructions that are followed; every known prologue decides within ten.
const STRAIGHT_LINE: usize = 32;

/// Where a probe goes, and where it finds the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the function's entry.
    pub offset: u64,
    /// Where the operands asked for are, in their order; the rest repeats the first.
    pub operands: [Register; 3],
    pub reason: Reason,
}

impl Placement {
    /// Whether the kernel emulates the instruction, as opposed to single-stepping it.
    pub fn is_emulated(&self) -> bool {
        matches!(self.reason, Reason::Entry | Reason::Shifted)
    }
}

/// Why a probe is where it is. All but the first two are single-stepped at the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first instruction is emulated.
    Entry,
    /// A later one is, and everything is still in place there.
    Shifted,
    /// An operand is overwritten before.
    OperandLost,
    /// The stack pointer moves before, and a return probe is wanted.
    StackMoved,
    /// Memory is written before.
    Store,
    /// A call, a system call, a return or an indirect jump comes before.
    ControlLeaves,
    /// A jump of the function leads to the place, or between it and the entry.
    JumpedTo,
    /// None of the first instructions is emulated.
    NotFound,
}

impl Reason {
    pub const fn description(self) -> &'static str {
        match self {
            Self::Entry => "emulated at the entry",
            Self::Shifted => "emulated behind the entry",
            Self::OperandLost => "single-stepped: an argument is overwritten before an emulated instruction",
            Self::StackMoved => "single-stepped: the stack pointer moves before an emulated instruction",
            Self::Store => "single-stepped: memory is written before an emulated instruction",
            Self::ControlLeaves => "single-stepped: control leaves before an emulated instruction",
            Self::JumpedTo => "single-stepped: a jump leads to the emulated instruction",
            Self::NotFound => "single-stepped: no emulated instruction near the entry",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.description())
    }
}

/// The kernel refuses a probe at the entry, and no other place is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplaceable;

/// Chooses the place in a function.
///
/// `code` is the function from its entry to its end (jumps beyond what is given are not seen), `operands` the registers
/// that matter at the entry, at most three.
pub fn place(code: &[u8], operands: &[Register], wants_return: bool) -> Result<Placement, Unplaceable> {
    let at_entry = |reason| {
        let first = decoder(code).into_iter().next().ok_or(Unplaceable)?;
        is_probeable(&first, code).then_some(()).ok_or(Unplaceable)?;
        Ok(Placement {
            offset: 0,
            operands: triple(operands),
            reason,
        })
    };
    match follow(code, operands, wants_return) {
        Ok(placement) if placement.offset == 0 => Ok(placement),
        Ok(placement) if is_jumped_to(code, placement.offset) => at_entry(Reason::JumpedTo),
        Ok(placement) => Ok(placement),
        Err(reason) => at_entry(reason),
    }
}

/// Where a function leads that is nothing but a jump: the distance from its entry, which can be negative.
pub fn jump_target(code: &[u8]) -> Option<i64> {
    let jump = decoder(code)
        .into_iter()
        .find(|instruction| instruction.code() != Code::Endbr64)?;
    let is_jump = jump.flow_control() == FlowControl::UnconditionalBranch && is_near_branch(&jump);
    is_jump.then(|| jump.near_branch_target().cast_signed())
}

/// Whether this is an entry of a procedure linkage table: a jump through a pointer.
pub(super) fn is_linkage_stub(code: &[u8]) -> bool {
    let jump = decoder(code)
        .into_iter()
        .find(|instruction| instruction.code() != Code::Endbr64);
    jump.is_some_and(|jump| jump.code() == Code::Jmp_rm64 && jump.is_ip_rel_memory_operand())
}

/// Follows the straight line to the first emulated instruction.
fn follow(code: &[u8], operands: &[Register], wants_return: bool) -> Result<Placement, Reason> {
    let mut factory = InstructionInfoFactory::new();
    let mut copies = Copies::at_entry(operands);
    for instruction in decoder(code).into_iter().take(STRAIGHT_LINE) {
        let is_entry = instruction.ip() == 0;
        let is_call = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        );
        if is_emulated(&instruction, code) && (is_entry || !is_call) {
            return Ok(Placement {
                offset: instruction.ip(),
                operands: copies.operands().ok_or(Reason::OperandLost)?,
                reason: if is_entry { Reason::Entry } else { Reason::Shifted },
            });
        }
        if instruction.flow_control() != FlowControl::Next {
            return Err(Reason::ControlLeaves);
        }
        let info = factory.info(&instruction);
        if info.used_memory().iter().any(|memory| writes(memory.access())) {
            return Err(Reason::Store);
        }
        let written = info.used_registers().iter().filter(|used| writes(used.access()));
        let written: Vec<Machine> = written.map(|used| used.register().full_register()).collect();
        if wants_return && written.contains(&Machine::RSP) {
            return Err(Reason::StackMoved);
        }
        copies.pass(&instruction, &written);
    }
    Err(Reason::NotFound)
}

/// Which registers hold which operand.
struct Copies {
    /// By register; the operand's index.
    held: [Option<usize>; Register::ALL.len()],
    count: usize,
}

impl Copies {
    fn at_entry(operands: &[Register]) -> Self {
        let mut held = [None; Register::ALL.len()];
        for (index, &register) in operands.iter().enumerate() {
            held[register as usize] = Some(index);
        }
        Self {
            held,
            count: operands.len(),
        }
    }

    fn pass(&mut self, instruction: &Instruction, written: &[Machine]) {
        let is_copy = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register;
        let source = register_of(instruction.op1_register()).filter(|_| is_copy);
        let copied = source.and_then(|source| self.held[source as usize]);
        for &register in written {
            if let Some(register) = register_of(register) {
                self.held[register as usize] = copied;
            }
        }
    }

    /// A register for each operand, the one it came in if it is still there; none if one is lost.
    fn operands(&self) -> Option<[Register; 3]> {
        // Arguments come in the registers that pt_regs has last, copies mostly go to others.
        let find = |index| {
            let mut registers = Register::ALL.into_iter().rev();
            registers.find(|&register| self.held[register as usize] == Some(index))
        };
        let found: Option<Vec<Register>> = (0..self.count).map(find).collect();
        found.map(|found| triple(&found))
    }
}

fn triple(operands: &[Register]) -> [Register; 3] {
    let first = operands.first().copied().unwrap_or(Register::Rdi);
    [0, 1, 2].map(|index| operands.get(index).copied().unwrap_or(first))
}

fn decoder(code: &[u8]) -> Decoder<'_> {
    Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
}

fn bytes_of<'code>(instruction: &Instruction, code: &'code [u8]) -> &'code [u8] {
    let start = usize::try_from(instruction.ip()).unwrap_or(usize::MAX);
    code.get(start..)
        .and_then(|rest| rest.get(..instruction.len()))
        .unwrap_or_default()
}

/// Whether every kernel emulates this instruction. Prefixes are not taken: some are emulated, some refused, and
/// compilers put none there.
fn is_emulated(instruction: &Instruction, code: &[u8]) -> bool {
    if instruction.is_invalid() {
        return false;
    }
    matches!(
        bytes_of(instruction, code),
        [0x50..=0x57 | 0x90]
            | [0x41, 0x50..=0x57]
            | [0x70..=0x7f | 0xeb, _]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

/// Whether the kernel takes a probe here at all: not on an invalid or privileged instruction, nor on one with a
/// segment or lock prefix (`is_prefix_bad`, same file), `fs` and `gs` excepted.
fn is_probeable(instruction: &Instruction, code: &[u8]) -> bool {
    let is_legacy_prefix =
        |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0 | 0x64..=0x67 | 0xf2 | 0xf3);
    let is_refused = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0);
    let mut prefixes = bytes_of(instruction, code).iter().take_while(is_legacy_prefix);
    !instruction.is_invalid()
        && !instruction.is_privileged()
        && instruction.flow_control() != FlowControl::Interrupt
        && !prefixes.any(is_refused)
}

/// Whether a direct jump of the function leads past the entry to the place or before it. A jump to the entry itself is
/// a call like any other.
fn is_jumped_to(code: &[u8], offset: u64) -> bool {
    decoder(code).into_iter().any(|instruction| {
        let target = instruction.near_branch_target();
        is_near_branch(&instruction) && (1..=offset).contains(&target)
    })
}

fn is_near_branch(instruction: &Instruction) -> bool {
    let kind = instruction.op0_kind();
    instruction.op_count() > 0
        && matches!(
            kind,
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn register_of(register: Machine) -> Option<Register> {
    Some(match register {
        Machine::RAX => Register::Rax,
        Machine::RBX => Register::Rbx,
        Machine::RCX => Register::Rcx,
        Machine::RDX => Register::Rdx,
        Machine::RSI => Register::Rsi,
        Machine::RDI => Register::Rdi,
        Machine::RBP => Register::Rbp,
        Machine::R8 => Register::R8,
        Machine::R9 => Register::R9,
        Machine::R10 => Register::R10,
        Machine::R11 => Register::R11,
        Machine::R12 => Register::R12,
        Machine::R13 => Register::R13,
        Machine::R14 => Register::R14,
        Machine::R15 => Register::R15,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
