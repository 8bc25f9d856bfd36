//! Where musl keeps the values of pthread keys and the dynamic thread vector, from its own code.
//!
//! musl describes itself to nobody, but two functions that it exports do nothing else: `pthread_getspecific` returns
//! `self->tsd[key]`, and `__tls_get_addr` adds to `self->dtv[module]` (src/thread; 1.2.3 and 1.2.5 are alike). `self` is
//! what `fs` points at. Input: an ELF file. Output: the offset of `tsd` in `struct pthread`; None for any other
//! code, which is that of glibc too: its keys are not in an array.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Register};

use super::pthread::{KeyValues, ThreadLayout};
use crate::target::elf::ElfFile;

/// Both functions have less than 40.
const CODE_BYTES: usize = 64;
/// `dtv` in `struct pthread`, and the size of what it points at (`src/internal/pthread_impl.h`).
const DTV_OFFSET: u64 = 8;
const DTV_SLOT_BYTES: u32 = 8;
/// The stack protector's word, behind which all that no ABI fixes comes (`canary`, at 0x28 of x86-64).
const CANARY_OFFSET: u64 = 0x28;
/// `struct pthread` has 200 bytes in musl 1.2.5.
const MAX_PTHREAD_BYTES: u64 = 1 << 12;

/// The layout of the musl in this file, also of one that is linked into a program.
pub fn thread_layout(file: &ElfFile) -> Option<ThreadLayout> {
    let pointer = array_of(file, "pthread_getspecific", Value::Argument)?;
    let is_known = pointer > CANARY_OFFSET && pointer <= MAX_PTHREAD_BYTES && pointer.is_multiple_of(8);
    // A static program has no libraries and need not have the function.
    let vector = array_of(file, "__tls_get_addr", Value::FirstOfArgument);
    is_known.then_some(ThreadLayout {
        keys: KeyValues::Array { pointer },
        vector_slot_bytes: (vector == Some(DTV_OFFSET)).then_some(DTV_SLOT_BYTES),
    })
}

fn array_of(file: &ElfFile, function: &str, index: Value) -> Option<u64> {
    let code = file.bytes_up_to(file.symbol(function)?.svma, CODE_BYTES)?;
    indexed_array(&code, index)
}

/// What is known of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Unknown,
    /// The function's first argument, as its lower half or whole.
    Argument,
    /// The first word of what the argument points at.
    FirstOfArgument,
    /// `self`.
    Thread,
    /// What is at this offset of `self`.
    Field(u64),
}

/// The field of `self` that the code uses as an array of words, by this index. Followed to the first jump or return.
fn indexed_array(code: &[u8], index: Value) -> Option<u64> {
    let mut registers = [Value::Unknown; 16];
    registers[Register::RDI.number()] = Value::Argument;
    let mut information = InstructionInfoFactory::new();
    for instruction in Decoder::new(64, code, DecoderOptions::NONE) {
        if instruction.is_invalid() || instruction.flow_control() != FlowControl::Next {
            return None;
        }
        if let Some(field) = indexed_field(&instruction, &registers, index) {
            return Some(field);
        }
        let value = loaded(&instruction, &registers);
        for used in information.info(&instruction).used_registers() {
            let register = used.register().full_register();
            let is_read = matches!(
                used.access(),
                iced_x86::OpAccess::Read | iced_x86::OpAccess::CondRead | iced_x86::OpAccess::None
            );
            if register.is_gpr64() && !is_read {
                registers[register.number()] = value;
            }
        }
    }
    None
}

/// The array in `(array,index,8)`.
fn indexed_field(instruction: &Instruction, registers: &[Value; 16], index: Value) -> Option<u64> {
    let (base, scaled) = (instruction.memory_base(), instruction.memory_index());
    let is_word = instruction.memory_size().size() == 8
        && instruction.memory_index_scale() == 8
        && instruction.memory_displacement64() == 0
        && instruction.memory_segment() != Register::FS;
    match (is_word && base.is_gpr64() && scaled.is_gpr64())
        .then(|| (registers[base.number()], registers[scaled.number()]))?
    {
        (Value::Field(offset), known) if known == index => Some(offset),
        _ => None,
    }
}

/// What an instruction puts into the one register that it writes.
fn loaded(instruction: &Instruction, registers: &[Value; 16]) -> Value {
    match instruction.code() {
        Code::Mov_r64_rm64 | Code::Mov_rm64_r64 | Code::Mov_r32_rm32 | Code::Mov_rm32_r32 => {}
        _ => return Value::Unknown,
    }
    let is_whole = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64);
    let source = instruction.op1_register();
    if source != Register::None {
        return match registers[source.full_register().number()] {
            Value::Argument => Value::Argument,
            value if is_whole => value,
            _ => Value::Unknown,
        };
    }
    if !is_whole || instruction.memory_index() != Register::None {
        return Value::Unknown;
    }
    let (base, displacement) = (instruction.memory_base(), instruction.memory_displacement64());
    match (instruction.memory_segment(), base) {
        (Register::FS, Register::None) if displacement == 0 => Value::Thread,
        (Register::FS, Register::None) => Value::Field(displacement),
        (Register::FS | Register::GS, _) => Value::Unknown,
        (_, base) if base.is_gpr64() => match registers[base.number()] {
            Value::Thread => Value::Field(displacement),
            Value::Argument if displacement == 0 => Value::FirstOfArgument,
            _ => Value::Unknown,
        },
        _ => Value::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::process::Process;

    fn check(name: &str, code: &str, index: Value, expect: Option<u64>) {
        let code: Vec<u8> = code
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(indexed_array(&code, index), expect, "{name}");
    }

    #[test]
    fn keys() {
        let check = |name, code, expect| check(name, code, Value::Argument, expect);
        check(
            "Debian's 1.2.5",
            "f3 0f 1e fa 64 48 8b 04 25 00 00 00 00 48 8b 80 80 00 00 00 89 ff 48 8b 04 f8 c3",
            Some(0x80),
        );
        check(
            "clang: mov %edi,%eax; mov %fs:0,%rcx; mov 0x80(%rcx),%rcx; mov (%rcx,%rax,8),%rax; ret",
            "89 f8 64 48 8b 0c 25 00 00 00 00 48 8b 89 80 00 00 00 48 8b 04 c1 c3",
            Some(0x80),
        );
        check(
            "with a frame pointer, and the field right from fs",
            "55 48 89 e5 89 ff 64 48 8b 04 25 80 00 00 00 48 8b 04 f8 5d c3",
            Some(0x80),
        );
        check(
            "another index: mov %fs:0,%rax; mov 0x80(%rax),%rax; mov (%rax,%rsi,8),%rax; ret",
            "64 48 8b 04 25 00 00 00 00 48 8b 80 80 00 00 00 48 8b 04 f0 c3",
            None,
        );
        check(
            "an index that was changed: xor %edi,%edi between",
            "64 48 8b 04 25 00 00 00 00 48 8b 80 80 00 00 00 31 ff 48 8b 04 f8 c3",
            None,
        );
        check(
            "words of 4 bytes: mov (%rax,%rdi,4),%eax",
            "64 48 8b 04 25 00 00 00 00 48 8b 80 80 00 00 00 8b 04 b8 c3",
            None,
        );
        check(
            "glibc 2.36: cmp $31,%edi; ja; mov %edi,%edi; add $0x31,...",
            "83 ff 1f 77 4c 89 f8",
            None,
        );
        check("nothing", "", None);
        check("ret", "c3", None);
    }

    #[test]
    fn vectors() {
        let check = |name, code, expect| check(name, code, Value::FirstOfArgument, expect);
        check(
            "Debian's 1.2.5",
            "f3 0f 1e fa 64 48 8b 04 25 00 00 00 00 48 8b 0f 48 8b 50 08 48 8b 47 08 48 03 04 ca c3",
            Some(8),
        );
        check(
            "the second word as index: mov 8(%rdi),%rcx",
            "64 48 8b 04 25 00 00 00 00 48 8b 4f 08 48 8b 50 08 48 03 04 ca c3",
            None,
        );
    }

    #[test]
    fn glibc_is_not_musl() {
        let objects = Process::open(std::process::id()).unwrap().objects().unwrap();
        for object in objects {
            assert_eq!(thread_layout(&ElfFile::open(&object.open_path).unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn any_code_is_survived(code in proptest::collection::vec(any::<u8>(), 0..CODE_BYTES)) {
            let _any = indexed_array(&code, Value::Argument);
        }
    }
}
