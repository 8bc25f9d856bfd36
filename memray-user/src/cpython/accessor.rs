//! Reads from the code of a small exported function where the calling thread's `PyThreadState` is kept.
//!
//! The variables themselves are hidden (stripped names, or a struct whose layout no header fixes), but functions
//! such as `PyThreadState_GetUnchecked` and `PyGILState_GetThisThreadState` return nothing else. Their machine
//! code is followed with known constants in registers: addresses from `lea` and `mov`, what the global offset
//! table holds, thread-local addresses from `fs`, from `__tls_get_addr` and from descriptors. Shapes that occur
//! (gcc, x86-64): one load from `fs` with a constant; a load from the block that `__tls_get_addr` returns, with
//! either model; the same by a descriptor (`-mtls-dialect=gnu2`); a tail call of `PyThread_tss_get` or
//! `pthread_getspecific`.
//!
//! Input: the bytes from the file, since those in memory can hold breakpoints, their address, and memory for the
//! relocated offset table. What is not understood is `None`; at most [`MAX_INSTRUCTIONS`] are followed.

#[cfg(test)]
mod tests;

use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind,
    Register,
};
use memray_ebpf::{config::TlsVariable, memory::RemoteMemory};

/// The longest of the functions that are read has 20.
pub const MAX_INSTRUCTIONS: usize = 128;

/// Bytes of a function that are worth having.
pub const CODE_BYTES: usize = 256;

/// glibc numbers the modules with thread-local variables from 1, without gaps worth speaking of.
const MAX_MODULE_ID: u64 = 1 << 16;

/// Blocks of thread-local variables of interpreters have a few hundred bytes.
const MAX_BLOCK_OFFSET: u64 = 1 << 20;

/// Where a function finds the thread state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a thread-local variable, of which the size of a slot is left for whoever knows the C library.
    Variable(TlsVariable),
    /// In the value of the pthread key in the `Py_tss_t` at this address.
    PthreadKey { address: u64 },
}

/// Follows `code`, which lies at `avma`. `runtime` is where `_PyRuntime` lies.
pub fn place(code: &[u8], avma: u64, runtime: &Range<u64>, memory: &impl RemoteMemory) -> Option<Place> {
    let mut follower = Follower {
        code,
        avma,
        runtime,
        memory,
        information: InstructionInfoFactory::new(),
        steps: 0,
    };
    let mut branches = vec![(avma, Registers::default())];
    while let Some((address, registers)) = branches.pop() {
        if let Some(place) = follower.follow(address, registers, &mut branches) {
            return Some(place);
        }
    }
    None
}

/// The constants that the function loads, up to its first return: addresses of its strings are among them.
pub fn constants(code: &[u8], avma: u64) -> Vec<u64> {
    let mut decoder = Decoder::with_ip(64, code, avma, DecoderOptions::NONE);
    let mut constants = Vec::new();
    for instruction in decoder.iter().take(MAX_INSTRUCTIONS) {
        match instruction.code() {
            Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
                constants.push(instruction.memory_displacement64());
            }
            Code::Mov_r32_imm32 => constants.push(instruction.immediate32().into()),
            Code::Mov_r64_imm64 => constants.push(instruction.immediate64()),
            code if code == Code::INVALID || instruction.flow_control() == FlowControl::Return => break,
            _ => {}
        }
    }
    constants
}

/// What is known of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Unknown,
    Constant(u64),
    /// 32 bits loaded from this address.
    Loaded(u64),
    /// The distance of a thread-local address from `fs`, where it differs between threads.
    Distance(TlsVariable),
    /// An address in thread-local storage.
    Pointer(TlsVariable),
    /// What lies there.
    Content(TlsVariable),
}

impl Value {
    fn plus(self, delta: u64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(value.wrapping_add(delta)),
            Self::Distance(variable) => Self::Distance(moved_by(variable, delta)),
            Self::Pointer(variable) => Self::Pointer(moved_by(variable, delta)),
            _ => Self::Unknown,
        }
    }

    fn sum(self, other: Self) -> Self {
        match (self, other) {
            (value, Self::Constant(delta)) | (Self::Constant(delta), value) => value.plus(delta),
            // The thread's base and the distance from it.
            (Self::Pointer(base), Self::Distance(variable))
            | (Self::Distance(variable), Self::Pointer(base))
                if base.mode == TlsVariable::STATIC =>
            {
                Self::Pointer(moved_by(variable, base.offset.cast_unsigned()))
            }
            _ => Self::Unknown,
        }
    }
}

fn moved_by(variable: TlsVariable, delta: u64) -> TlsVariable {
    TlsVariable {
        offset: variable.offset.wrapping_add_unsigned(delta),
        ..variable
    }
}

/// The general registers by number.
#[derive(Clone, Copy, Debug, Default)]
struct Registers([Value; 16]);

impl Registers {
    fn get(&self, register: Register) -> Value {
        if register.is_gpr64() || register.is_gpr32() {
            self.0[register.number()]
        } else {
            Value::Unknown
        }
    }

    fn set(&mut self, register: Register, value: Value) {
        if register.is_gpr() {
            self.0[register.full_register().number()] = value;
        }
    }

    /// What a called function may change (System V ABI).
    fn clobber_by_call(&mut self) {
        use Register::{R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI};
        for register in [RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11] {
            self.set(register, Value::Unknown);
        }
    }
}

struct Follower<'input, M> {
    code: &'input [u8],
    avma: u64,
    runtime: &'input Range<u64>,
    memory: &'input M,
    information: InstructionInfoFactory,
    steps: usize,
}

impl<M: RemoteMemory> Follower<'_, M> {
    /// Follows one path to its end; the other sides of its conditional jumps go to `branches`.
    fn follow(
        &mut self,
        mut address: u64,
        mut registers: Registers,
        branches: &mut Vec<(u64, Registers)>,
    ) -> Option<Place> {
        while self.steps < MAX_INSTRUCTIONS {
            self.steps += 1;
            let start = usize::try_from(address.checked_sub(self.avma)?).ok()?;
            let rest = self.code.get(start..).filter(|rest| !rest.is_empty())?;
            let instruction = Decoder::with_ip(64, rest, address, DecoderOptions::NONE).decode();
            address = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::Next => self.execute(&instruction, &mut registers),
                FlowControl::ConditionalBranch => {
                    branches.push((instruction.near_branch_target(), registers));
                }
                FlowControl::UnconditionalBranch => match self.key_argument(&registers) {
                    // A tail call: inside of the function the argument would not be ready.
                    Some(place) if !self.contains(instruction.near_branch_target()) => return Some(place),
                    _ => address = instruction.near_branch_target(),
                },
                FlowControl::IndirectBranch => return self.key_argument(&registers),
                FlowControl::IndirectCall if self.descriptor_argument(&instruction, &registers).is_some() => {
                    let distance = self.descriptor_argument(&instruction, &registers);
                    registers.set(Register::RAX, distance.unwrap_or_default());
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    if let Some(place) = self.key_argument(&registers) {
                        return Some(place);
                    }
                    let block = self.block_argument(&registers);
                    registers.clobber_by_call();
                    registers.set(Register::RAX, block.map_or(Value::Unknown, Value::Pointer));
                }
                FlowControl::Return => {
                    return match registers.get(Register::RAX) {
                        Value::Content(variable) => Some(Place::Variable(variable)),
                        _ => None,
                    };
                }
                _ => return None,
            }
        }
        None
    }

    fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.avma)
            .and_then(|offset| usize::try_from(offset).ok())
            .is_some_and(|offset| offset < self.code.len())
    }

    /// The first argument as a `Py_tss_t *` of the runtime, or as the key in one.
    fn key_argument(&self, registers: &Registers) -> Option<Place> {
        let address = match registers.get(Register::RDI) {
            Value::Constant(address) => address,
            Value::Loaded(address) => address.checked_sub(4)?,
            _ => return None,
        };
        let inside = self.runtime.contains(&address) && self.runtime.contains(&address.checked_add(7)?);
        (inside && address.is_multiple_of(4) && address != self.runtime.start)
            .then_some(Place::PthreadKey { address })
    }

    /// The first argument as a `tls_index *` of `__tls_get_addr`: a module and an offset in its block, filled in by
    /// the dynamic loader.
    fn block_argument(&self, registers: &Registers) -> Option<TlsVariable> {
        let Value::Constant(address) = registers.get(Register::RDI) else {
            return None;
        };
        self.variable_at(address)
    }

    /// What a `tls_index` means.
    fn variable_at(&self, address: u64) -> Option<TlsVariable> {
        let module_id = self.memory.read_u64(address).ok()?;
        let offset = self.memory.read_u64(address.checked_add(8)?).ok()?;
        ((1..=MAX_MODULE_ID).contains(&module_id) && offset <= MAX_BLOCK_OFFSET).then_some(TlsVariable {
            mode: TlsVariable::DYNAMIC,
            slot_bytes: 0,
            module_id,
            offset: i64::try_from(offset).ok()?,
        })
    }

    /// The distance from `fs` that a call through a descriptor (`call *(%rax)`) returns; such a call changes no other
    /// register. The dynamic loader has put a function and its argument there (`struct tlsdesc`,
    /// sysdeps/x86_64/dl-tlsdesc.h): the distance itself, or a `tls_index` for a library loaded late.
    fn descriptor_argument(&self, instruction: &Instruction, registers: &Registers) -> Option<Value> {
        if instruction.memory_base() != Register::RAX || instruction.memory_displacement64() != 0 {
            return None;
        }
        let Value::Constant(descriptor) = registers.get(Register::RAX) else {
            return None;
        };
        let argument = self.memory.read_u64(descriptor.checked_add(8)?).ok()?;
        // The variables of what is there at start lie below `fs`.
        let is_distance = (-MAX_BLOCK_OFFSET.cast_signed()..0).contains(&argument.cast_signed());
        if is_distance {
            return Some(Value::Constant(argument));
        }
        self.variable_at(argument).map(Value::Distance)
    }

    fn execute(&mut self, instruction: &Instruction, registers: &mut Registers) {
        let target = instruction.op0_register();
        let value = match instruction.mnemonic() {
            Mnemonic::Mov if target != Register::None => self.operand(instruction, registers),
            Mnemonic::Lea => address_of(instruction, registers),
            Mnemonic::Add if target.is_gpr64() => {
                registers.get(target).sum(self.operand(instruction, registers))
            }
            _ => {
                let used = self.information.info(instruction);
                for register in used.used_registers() {
                    if !matches!(
                        register.access(),
                        iced_x86::OpAccess::Read | iced_x86::OpAccess::None
                    ) {
                        registers.set(register.register(), Value::Unknown);
                    }
                }
                return;
            }
        };
        registers.set(target, value);
    }

    /// The value of the second operand.
    fn operand(&self, instruction: &Instruction, registers: &Registers) -> Value {
        let size_bytes = instruction.memory_size().size();
        match instruction.op1_kind() {
            OpKind::Register if instruction.op1_register().is_gpr64() => {
                registers.get(instruction.op1_register())
            }
            OpKind::Register if instruction.op1_register().is_gpr32() => {
                match registers.get(instruction.op1_register()) {
                    loaded @ Value::Loaded(_) => loaded,
                    _ => Value::Unknown,
                }
            }
            OpKind::Memory if instruction.memory_segment() == Register::FS => {
                thread_local(instruction, registers)
            }
            OpKind::Memory if instruction.memory_segment() == Register::GS => Value::Unknown,
            OpKind::Memory => match (address_of(instruction, registers), size_bytes) {
                (Value::Constant(address), 8) => {
                    let word = self.memory.read_u64(address);
                    word.map_or(Value::Unknown, Value::Constant)
                }
                (Value::Constant(address), 4) => Value::Loaded(address),
                (Value::Pointer(variable), 8) => Value::Content(variable),
                _ => Value::Unknown,
            },
            _ => immediate(instruction).map_or(Value::Unknown, Value::Constant),
        }
    }
}

fn immediate(instruction: &Instruction) -> Option<u64> {
    matches!(
        instruction.op1_kind(),
        OpKind::Immediate8
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32
            | OpKind::Immediate32to64
            | OpKind::Immediate64
    )
    .then(|| instruction.immediate(1))
}

/// A load relative to `fs`: of a variable, or at 0 of the pointer to `fs` itself.
fn thread_local(instruction: &Instruction, registers: &Registers) -> Value {
    if instruction.memory_size().size() != 8 || instruction.memory_index() != Register::None {
        return Value::Unknown;
    }
    let displacement = instruction.memory_displacement64();
    let distance = match instruction.memory_base() {
        Register::None => Value::Constant(displacement),
        base => registers.get(base).plus(displacement),
    };
    match distance {
        Value::Constant(0) => Value::Pointer(at_distance(0)),
        Value::Constant(distance) => Value::Content(at_distance(distance)),
        Value::Distance(variable) => Value::Content(variable),
        _ => Value::Unknown,
    }
}

/// The variable at a distance from `fs` that is the same in all threads.
fn at_distance(distance: u64) -> TlsVariable {
    TlsVariable {
        mode: TlsVariable::STATIC,
        slot_bytes: 0,
        module_id: 0,
        offset: distance.cast_signed(),
    }
}

/// The address of the memory operand.
fn address_of(instruction: &Instruction, registers: &Registers) -> Value {
    if instruction.memory_index() != Register::None {
        return Value::Unknown;
    }
    let displacement = instruction.memory_displacement64();
    match instruction.memory_base() {
        // iced resolves addresses relative to the instruction.
        Register::None | Register::RIP => Value::Constant(displacement),
        base => registers.get(base).plus(displacement),
    }
}
