//! Functions as compilers wrote them, with the addresses they had.

use memray_ebpf::memory::Fault;
use proptest::prelude::*;

use super::*;

/// Words of 8 bytes by address; all else is unreadable.
struct Words<'words>(&'words [(u64, u64)]);

impl RemoteMemory for Words<'_> {
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        let (_, word) = self.0.iter().find(|(known, _)| *known == address).ok_or(Fault)?;
        destination.copy_from_slice(&word.to_le_bytes()[..destination.len()]);
        Ok(())
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn check(
    name: &str,
    avma: u64,
    code: &str,
    runtime: Range<u64>,
    words: &[(u64, u64)],
    expect: Option<Place>,
) {
    assert_eq!(
        place(&bytes(code), avma, &runtime, &Words(words)),
        expect,
        "{name}"
    );
}

const fn key(address: u64) -> Place {
    Place::PthreadKey { address }
}

const fn variable(mode: u32, module_id: u64, offset: i64) -> Place {
    Place::Variable(TlsVariable {
        mode,
        slot_bytes: 0,
        module_id,
        offset,
    })
}

#[test]
fn pthread_keys() {
    check(
        "3.8 library: tail call, the runtime by the offset table",
        0x1b_25b0,
        "48 8b 05 c1 86 16 00 48 83 b8 68 05 00 00 00 74 0f 48 8d b8 70 05 00 00 e9 23 7a eb ff 0f 1f 00 31 c0 c3",
        0x37_2e00..0x37_33b8,
        &[(0x31_ac78, 0x37_2e00)],
        Some(key(0x37_2e00 + 1392)),
    );
    check(
        "3.13 library: kept in rbx over a call",
        0x29_40c0,
        "48 8b 05 e9 6b 25 00 53 48 8d 98 70 08 00 00 48 89 df e8 d9 59 df ff 85 c0 74 0d 48 89 df 5b e9 \
         5c 6d df ff 0f 1f 40 00 31 c0 5b c3",
        0x52_94c0..0x56_e778,
        &[(0x4e_acb0, 0x52_94c0)],
        Some(key(0x52_94c0 + 2160)),
    );
    check(
        "Debian's 3.11: pthread_getspecific with the key itself",
        0x4f_7c30,
        "48 83 3d 50 3d 56 00 00 0f 84 1f c8 f2 ff 8b 3d 50 3d 56 00 e9 a7 8a f2 ff",
        0xa5_b740..0xa8_4260,
        &[],
        Some(key(0xa5_b740 + 592)),
    );
    check(
        "Debian's 3.14: a constant",
        0x42_c07c,
        "f3 0f 1e fa 83 3d 59 90 76 00 00 74 0a bf e0 50 b9 00 e9 ed 1b 11 00 31 c0 c3",
        0xb9_47c0..0xbe_1c88,
        &[],
        Some(key(0xb9_47c0 + 2336)),
    );
}

#[test]
fn thread_local_variables() {
    check(
        "Debian's 3.14: local executable model",
        0x83_ad30,
        "f3 0f 1e fa 64 48 8b 04 25 e8 ff ff ff c3",
        0xb9_47c0..0xbe_1c88,
        &[],
        Some(variable(TlsVariable::STATIC, 0, -0x18)),
    );
    check(
        "3.13 library: general dynamic model",
        0x29_33a0,
        "48 83 ec 08 66 48 8d 3d 14 7b 25 00 66 66 48 e8 7c 4f df ff 48 8b 00 48 83 c4 08 c3",
        0x52_94c0..0x56_e778,
        &[(0x4e_aec0, 3), (0x4e_aec8, 0x18)],
        Some(variable(TlsVariable::DYNAMIC, 3, 0x18)),
    );
    check(
        "3.15 library: local dynamic model, with a frame pointer",
        0x3c_a570,
        "f3 0f 1e fa 55 48 89 e5 48 8d 3d 31 52 4a 00 e8 0c e9 cf ff 5d 48 8b 80 28 00 00 00 c3",
        0x8c_74c0..0x91_be88,
        &[(0x86_f7b0, 1), (0x86_f7b8, 0)],
        Some(variable(TlsVariable::DYNAMIC, 1, 0x28)),
    );
    check(
        "initial executable model: mov GOT(%rip),%rax; mov %fs:(%rax),%rax; ret",
        0x1000,
        "48 8b 05 f9 0f 00 00 64 48 8b 00 c3",
        0..0,
        &[(0x2000, (-0x28_i64).cast_unsigned())],
        Some(variable(TlsVariable::STATIC, 0, -0x28)),
    );
    check(
        "mov %fs:0,%rax; mov -0x10(%rax),%rax; ret",
        0x1000,
        "64 48 8b 04 25 00 00 00 00 48 8b 40 f0 c3",
        0..0,
        &[],
        Some(variable(TlsVariable::STATIC, 0, -0x10)),
    );
}

#[test]
fn other_code_is_not_understood() {
    let runtime = 0x52_94c0..0x56_e778;
    check("nothing", 0x1000, "", runtime.clone(), &[], None);
    check(
        "xor %eax,%eax; ret",
        0x1000,
        "31 c0 c3",
        runtime.clone(),
        &[],
        None,
    );
    check("jmp to itself", 0x1000, "eb fe", runtime.clone(), &[], None);
    check("no instruction", 0x1000, "06 06 06", runtime.clone(), &[], None);
    check(
        "a call with the runtime itself",
        0x1000,
        "bf c0 94 52 00 e8 00 10 00 00 c3",
        runtime.clone(),
        &[],
        None,
    );
    check(
        "a descriptor (TLSDESC): lea; call *(%rax); mov %fs:(%rax),%rax; ret",
        0x1000,
        "48 8d 05 f9 0f 00 00 ff 10 64 48 8b 00 c3",
        runtime.clone(),
        &[(0x2000, 0x7000_0000), (0x2008, 0x10)],
        None,
    );
    check(
        "an offset table that is not relocated",
        0x29_33a0,
        "48 83 ec 08 66 48 8d 3d 14 7b 25 00 66 66 48 e8 7c 4f df ff 48 8b 00 48 83 c4 08 c3",
        runtime,
        &[(0x4e_aec0, 0), (0x4e_aec8, 0)],
        None,
    );
}

#[test]
fn constants_of_a_function() {
    // Py_GetVersion of 3.10: the format, the version, and the buffer.
    let code = bytes(
        "53 e8 6a ba e8 ff 48 89 c3 e8 32 b7 e8 ff 49 89 d9 be fa 00 00 00 48 8d 1d 13 37 1d 00 49 89 c0 48 89 df \
         48 8d 0d ec 7f 10 00 31 c0 48 8d 15 d7 b4 0f 00 e8 98 86 e8 ff 48 89 d8 5b c3",
    );
    assert_eq!(
        constants(&code, 0x1d_7f50),
        [0xfa, 0x3a_b680, 0x2d_ff66, 0x2d_345a]
    );
}

proptest! {
    #[test]
    fn any_code_is_survived(code in proptest::collection::vec(any::<u8>(), 0..CODE_BYTES), avma: u64) {
        let found = place(&code, avma, &(0x1000..0x9000), &Words(&[(0x2000, 1)]));
        if let Some(Place::PthreadKey { address }) = found {
            prop_assert!((0x1000..0x9000).contains(&address));
        }
        prop_assert!(constants(&code, avma).len() <= MAX_INSTRUCTIONS);
    }
}
