//! Where a thread is held before its process does something that probes must precede ([`HoldPlace`]).

use iced_x86::{Code, Decoder, DecoderOptions, OpKind, Register as Machine};
use memray_ebpf::{
    cookie::{Cookie, Register, Role},
    follow::HoldPlace,
};

use crate::target::{
    elf::{ElfFile, Symbol, SymbolKind},
    loader::{STATE_FUNCTION, is_library},
};

/// One place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldPoint {
    pub file_offset: u64,
    pub place: HoldPlace,
    /// A packed [`Cookie`].
    pub cookie: u64,
}

/// Functions that fork. In glibc from 2.34 on `fork` calls `_Fork`, before it is the system call itself; musl has both
/// likewise.
const FORKS: [&str; 3] = ["_Fork", "__libc_fork", "fork"];
/// Those whose first argument is the path of a program; glibc's others (`execv`, `execvp`, `posix_spawn`) come here.
const EXEC: &str = "execve";
/// What makes an interpreter of a library that was loaded: whatever a program calls first.
const PYTHON_STARTS: [&str; 6] = [
    "Py_InitializeEx",
    "Py_InitializeFromConfig",
    "Py_PreInitialize",
    "Py_PreInitializeFromBytesArgs",
    "Py_BytesMain",
    "Py_Main",
];

/// Numbers of system calls (`arch/x86/entry/syscalls/syscall_64.tbl`).
const CLONE: u64 = 56;
const FORK: u64 = 57;

/// Most bytes of a function that forks; glibc 2.43 has 300.
const FORK_BYTES: u64 = 2048;

/// Places in a C library and a dynamic loader, which with musl are one file.
pub fn hold_points(elf: &ElfFile) -> Vec<HoldPoint> {
    let mut points = Vec::new();
    let symbols = elf.symbols_named(&FORKS);
    for symbol in symbols.into_iter().flatten().filter(is_function) {
        let size = if symbol.size == 0 {
            256
        } else {
            symbol.size.min(FORK_BYTES)
        };
        let code = usize::try_from(size)
            .ok()
            .and_then(|size| elf.bytes_up_to(symbol.svma, size));
        if let Some(offset) = code.and_then(|code| behind_fork(&code)) {
            points.extend(point(elf, symbol.svma.wrapping_add(offset), HoldPlace::Birth));
        }
    }
    if let Some(symbol) = elf.symbol(EXEC).filter(is_function) {
        points.extend(point(elf, symbol.svma, HoldPlace::Exec));
    }
    if is_library(elf)
        && let Some(symbol) = elf.symbol(STATE_FUNCTION).filter(is_function)
    {
        points.extend(point(elf, symbol.svma, HoldPlace::Loader));
    }
    points.sort_by_key(|point| point.file_offset);
    points.dedup_by_key(|point| point.file_offset);
    points
}

/// Places in a libpython that was loaded late, by which all of it is in place: when it was mapped it was not relocated.
pub fn python_hold_points(elf: &ElfFile) -> Vec<HoldPoint> {
    let symbols = elf.symbols_named(&PYTHON_STARTS);
    symbols
        .into_iter()
        .flatten()
        .filter(is_function)
        .filter_map(|symbol| point(elf, symbol.svma, HoldPlace::Interpreter))
        .collect()
}

fn is_function(symbol: &Symbol) -> bool {
    symbol.kind == SymbolKind::Function
}

fn point(elf: &ElfFile, svma: u64, place: HoldPlace) -> Option<HoldPoint> {
    let cookie = Cookie {
        role: Role::Hold,
        allocator: place as u8,
        operands: [Register::Rdi; 3],
    };
    Some(HoldPoint {
        file_offset: elf.svma_to_file_offset(svma)?,
        place,
        cookie: cookie.pack(),
    })
}

/// The offset of the instruction behind the system call that forks: the first that a child executes.
fn behind_fork(code: &[u8]) -> Option<u64> {
    let mut number = None;
    for instruction in Decoder::new(64, code, DecoderOptions::NONE) {
        let is_move = matches!(
            instruction.code(),
            Code::Mov_r32_imm32 | Code::Mov_rm32_imm32 | Code::Mov_rm64_imm32
        );
        if is_move
            && instruction.op0_kind() == OpKind::Register
            && matches!(instruction.op0_register(), Machine::EAX | Machine::RAX)
        {
            number = Some(instruction.immediate(1));
        }
        if instruction.code() == Code::Syscall && matches!(number, Some(CLONE | FORK)) {
            return Some(instruction.next_ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_instruction_behind_a_fork() {
        // mov $0xe,%eax; syscall; mov $0x38,%eax; xor %edx,%edx; syscall; cmp $-4096,%rax
        let code = [
            0xb8, 0x0e, 0, 0, 0, 0x0f, 0x05, 0xb8, 0x38, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x05, 0x48, 0x3d, 0,
            0xf0, 0xff, 0xff,
        ];
        assert_eq!(behind_fork(&code), Some(16));
        assert_eq!(behind_fork(&code[..7]), None);
        assert_eq!(behind_fork(&[]), None);
    }

    #[test]
    fn the_c_library_and_the_loader_of_this_machine() {
        let places = |path: &str| -> Vec<HoldPlace> {
            let elf = ElfFile::open(Path::new(path)).unwrap();
            let mut places: Vec<_> = hold_points(&elf).iter().map(|point| point.place).collect();
            places.sort();
            places
        };
        assert_eq!(
            places("/lib/x86_64-linux-gnu/libc.so.6"),
            [HoldPlace::Birth, HoldPlace::Exec]
        );
        assert_eq!(places("/lib64/ld-linux-x86-64.so.2"), [HoldPlace::Loader]);
    }
}
