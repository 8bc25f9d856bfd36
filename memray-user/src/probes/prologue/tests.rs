use Register::{R12, Rax, Rbx, Rcx, Rdi, Rdx, Rsi};
use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_ascii_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// Checks the offset, the reason and as many operands as were asked for.
fn check(
    name: &str,
    code: &str,
    operands: &[Register],
    wants_return: bool,
    expect: (u64, Reason, &[Register]),
) {
    let placement = place(&bytes(code), operands, wants_return).unwrap();
    let found = (
        placement.offset,
        placement.reason,
        &placement.operands[..operands.len()],
    );
    assert_eq!(found, expect, "{name}");
}

#[test]
fn glibc_2_36() {
    // Debian 12, libc.so.6 of package libc6 2.36-9+deb12u14.
    use Reason::{Entry, OperandLost, Shifted};
    let malloc = "41 54 55 53 48 89 fb 48 83 ec 10 80 3d 46 1b 14 00 00 0f 84 f8 01 00 00";
    check("malloc", malloc, &[Rdi], true, (0, Entry, &[Rdi]));
    let calloc = "41 55 48 89 f8 41 54 55 53 48 83 ec 18 48 f7 e6 48 89 c3 0f 90 c0";
    check("calloc", calloc, &[Rdi, Rsi], true, (0, Entry, &[Rdi, Rsi]));
    let realloc = "41 57 41 56 41 55 41 54 55 48 89 f5 53 48 89 fb 48 83 ec 28";
    check("realloc", realloc, &[Rdi, Rsi], true, (0, Entry, &[Rdi, Rsi]));
    let free = "48 85 ff 0f 84 bf 00 00 00 55 48 8d 77 f0 53 48 83 ec 18";
    check("free", free, &[Rdi], false, (3, Shifted, &[Rdi]));
    let posix_memalign = "80 3d 01 02 14 00 00 41 54 49 89 d4 55 48 89 fd 53 48 89 f3 74 5a";
    check(
        "posix_memalign",
        posix_memalign,
        &[Rdi, Rdx],
        true,
        (7, Shifted, &[Rdi, Rdx]),
    );
    let aligned_alloc = "80 3d 71 0e 14 00 00 74 07 e9 32 f6 ff ff 66 90 48 83 ec 18 48 89 74 24 08";
    check("aligned_alloc", aligned_alloc, &[Rsi], true, (7, Shifted, &[Rsi]));
    let valloc = "80 3d 31 0e 14 00 00 53 48 89 fb 74 1b 48 8b 05 34 98 13 00";
    check("valloc", valloc, &[Rdi], true, (7, Shifted, &[Rdi]));
    let pvalloc = "80 3d 01 0e 14 00 00 53 48 89 fb 74 2b 48 8b 05 04 98 13 00";
    check("pvalloc", pvalloc, &[Rdi], true, (7, Shifted, &[Rdi]));
    let reallocarray =
        "48 89 f0 48 f7 e2 48 89 c6 70 05 e9 40 b8 f8 ff 48 8b 05 e9 85 13 00 64 c7 00 0c 00 00 00 31 c0 c3";
    check(
        "reallocarray",
        reallocarray,
        &[Rdi, Rsi, Rdx],
        true,
        (0, OperandLost, &[Rdi, Rsi, Rdx]),
    );
    // Emulated instructions come only after the system call.
    let munmap = "b8 0b 00 00 00 0f 05 48 3d 01 f0 ff ff 73 01 c3";
    check(
        "munmap",
        munmap,
        &[Rdi, Rsi],
        false,
        (0, Reason::ControlLeaves, &[Rdi, Rsi]),
    );
    let mmap = "41 89 ca 41 f7 c1 ff 0f 00 00 75 14 b8 09 00 00 00 0f 05";
    check("mmap", mmap, &[Rsi], true, (10, Shifted, &[Rsi]));
}

#[test]
fn glibc_2_43() {
    // Debian forky, libc.so.6.
    use Reason::{Entry, Shifted};
    check(
        "malloc",
        "48 85 ff 78 71 48 8d 47 17",
        &[Rdi],
        true,
        (3, Shifted, &[Rdi]),
    );
    let calloc = "48 89 f8 48 f7 e6 0f 80 9c 01 00 00 0f 90 c1 48 85 c0";
    check("calloc", calloc, &[Rdi, Rsi], true, (6, Shifted, &[Rdi, Rsi]));
    let realloc = "49 89 f1 48 85 ff 0f 84 44 03 00 00 41 57 49 89 f8";
    check("realloc", realloc, &[Rdi, Rsi], true, (6, Shifted, &[Rdi, Rsi]));
    check(
        "free",
        "48 85 ff 0f 84 e7 00 00 00 40 f6 c7 0f",
        &[Rdi],
        false,
        (3, Shifted, &[Rdi]),
    );
    let posix_memalign =
        "48 89 f1 48 c1 e9 03 48 8d 41 ff 48 21 c8 48 89 f1 83 e1 07 48 09 c8 75 2f 48 85 f6";
    check(
        "posix_memalign",
        posix_memalign,
        &[Rdi, Rdx],
        true,
        (23, Shifted, &[Rdi, Rdx]),
    );
    let aligned_alloc = "48 8d 47 ff 48 85 f8 75 0f 48 85 ff 74 0a e9 5d f4 ff ff";
    check("aligned_alloc", aligned_alloc, &[Rsi], true, (7, Shifted, &[Rsi]));
    check("memalign", "e9 7b f4 ff ff", &[Rsi], true, (0, Entry, &[Rsi]));
    let valloc = "48 8b 05 d1 14 14 00 48 89 fe 48 8b 78 18 e9 0d f4 ff ff";
    check("valloc", valloc, &[Rdi], true, (14, Shifted, &[Rsi]));
    let pvalloc = "48 8b 05 b1 14 14 00 48 89 fa 48 8b 78 18 48 8d 47 ff 48 01 d0 72 0e 48 89 fe";
    check("pvalloc", pvalloc, &[Rdi], true, (21, Shifted, &[Rdx]));
    assert_eq!(jump_target(&bytes("e9 0b 2a f8 ff")), Some(-0x7_d5f0));
}

#[test]
fn instructions_that_change_registers_only_are_passed() {
    let shifted = |name, code, operand, offset, found| {
        check(name, code, &[operand], true, (offset, Reason::Shifted, &[found]));
    };
    shifted("endbr64; push", "f3 0f 1e fa 55 48 89 e5", Rdi, 4, Rdi);
    shifted(
        "endbr64; nop5; push",
        "f3 0f 1e fa 0f 1f 44 00 00 53",
        Rdi,
        9,
        Rdi,
    );
    let moved = "48 89 fe 48 8b 05 10 20 30 00 64 48 8b 38 48 81 fe 00 04 00 00 77 10";
    shifted("mimalloc: size moved to rsi", moved, Rdi, 21, Rsi);
    shifted("copied twice", "48 89 fb 49 89 dc 31 db 89 ff 55", Rdi, 10, R12);
    shifted("another argument overwritten", "31 ff 55", Rsi, 2, Rsi);
    shifted("xchg r8, rax is no nop", "41 90 53", Rdi, 2, Rdi);
    shifted(
        "a jump to the entry is a call",
        "85 ff 74 02 eb fa c3",
        Rdi,
        2,
        Rdi,
    );
    let many = "48 89 f8 48 89 f3 48 89 d1 49 89 f9 31 ff 31 f6 31 d2 48 89 dd 74 00";
    let expect = (21, Reason::Shifted, &[Rax, Rbx, Rcx][..]);
    check("all arguments moved", many, &[Rdi, Rsi, Rdx], true, expect);
    let expect = (6, Reason::Shifted, &[Rdi][..]);
    check(
        "stack moved, entry only",
        "48 83 ec 18 85 ff 74 02",
        &[Rdi],
        false,
        expect,
    );
}

#[test]
fn an_emulated_first_instruction_is_taken() {
    for code in [
        "55",
        "41 57",
        "90 c3",
        "e8 00 00 00 00 55",
        "e9 00 00 00 00",
        "eb 10",
        "74 05",
        "0f 84 00 00 00 00",
        "55 5d eb fc",
    ] {
        check(code, code, &[Rdi], true, (0, Reason::Entry, &[Rdi]));
    }
}

#[test]
fn the_entry_is_taken_where_nothing_better_is_right() {
    use Reason::{ControlLeaves, JumpedTo, NotFound, OperandLost, StackMoved, Store};
    let stepped = |name, code, reason| check(name, code, &[Rdi], true, (0, reason, &[Rdi]));
    stepped("call later", "31 c0 e8 00 00 00 00 55", ControlLeaves);
    stepped("return", "31 c0 c3 55", ControlLeaves);
    stepped("indirect jump", "ff 25 00 00 00 00 55", ControlLeaves);
    stepped("system call", "b8 0c 00 00 00 0f 05 55", ControlLeaves);
    stepped("jrcxz is not emulated", "e3 02 55 55", ControlLeaves);
    stepped("store", "48 89 3d 00 00 00 00 55", Store);
    stepped("16-bit push is not emulated", "66 55 55", Store);
    stepped("read-modify-write", "48 ff 05 00 00 00 00 55", Store);
    stepped("stack moved", "48 83 ec 18 85 ff 74 02", StackMoved);
    stepped("argument overwritten", "31 ff 55", OperandLost);
    stepped("argument truncated", "89 ff 55", OperandLost);
    stepped("arguments exchanged", "48 87 fe 55", OperandLost);
    stepped("loop to the place", "85 ff 74 03 ff cf eb fa c3", JumpedTo);
    stepped(
        "loop between entry and place",
        "85 ff 31 c0 74 02 eb fa c3",
        JumpedTo,
    );
    let moves = "89 c0 ".repeat(40);
    stepped("nothing but moves", &moves, NotFound);
    stepped("the code ends", "89 c0", NotFound);
}

#[test]
fn a_probe_that_the_kernel_refuses_is_not_planned() {
    let check = |code: &str| assert_eq!(place(&bytes(code), &[Rdi], true), Err(Unplaceable), "{code}");
    check("");
    check("06");
    check("cc");
    check("f4");
    check("f0 48 ff 07 55");
    // A nop of ten bytes has a `cs` prefix; behind it is a good place, but an argument is lost.
    check("66 2e 0f 1f 84 00 00 00 00 00 31 ff 55");
}

#[test]
fn only_a_function_that_is_nothing_but_a_jump_has_a_target() {
    let check = |code: &str, expect| assert_eq!(jump_target(&bytes(code)), expect, "{code}");
    check("e9 00 00 00 00", Some(5));
    check("eb fe", Some(0));
    check("f3 0f 1e fa e9 10 00 00 00", Some(25));
    check("ff 25 00 00 00 00", None);
    check("74 05", None);
    check("48 85 ff e9 00 00 00 00", None);
    check("", None);
    assert!(is_linkage_stub(&bytes("ff 25 10 20 00 00 68 00 00 00 00")));
    assert!(is_linkage_stub(&bytes("f3 0f 1e fa f2 ff 25 10 20 00 00")));
    assert!(!is_linkage_stub(&bytes("ff e0")));
    assert!(!is_linkage_stub(&bytes("55")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn any_bytes_have_an_answer(code in prop::collection::vec(any::<u8>(), 0..64), wants_return: bool) {
        if let Ok(placement) = place(&code, &[Rdi, Rsi], wants_return) {
            let offset = usize::try_from(placement.offset).unwrap();
            prop_assert!(offset < code.len());
            let starts_well = matches!(code[offset], 0x50..=0x57 | 0x90 | 0x41 | 0x70..=0x7f | 0xeb | 0xe8 | 0xe9 | 0x0f);
            prop_assert!(starts_well || !placement.is_emulated());
            prop_assert!(placement.is_emulated() || offset == 0);
        }
        let _target = jump_target(&code);
    }
}
