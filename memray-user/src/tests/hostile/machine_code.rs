//! Machine code of functions that are not what they are called, through all that follows code.

use std::{sync::OnceLock, time::Duration};

use memray_ebpf::cookie::Register;
use proptest::{prelude::*, sample::Index};

use super::{
    Bounds,
    bytes::{Mutation, mutated, mutations},
    fuzz_test,
    memory::{HostileMemory, Overwrites, overwrite, overwrites},
};
use crate::{
    cpython::accessor,
    probes::{jump_target, place},
    target::{elf::ElfFile, process::Process},
};

const BOUNDS: Bounds = Bounds {
    memory_bytes: 16 << 20,
    time: Duration::from_secs(10),
};

/// CPython 3.12's and 3.15's ways to a thread state: a key behind a tail call, a variable behind a descriptor, one at `fs`.
const ACCESSORS: &[&[u8]] = &[
    b"\xf3\x0f\x1e\xfa\x48\x83\xec\x08\x48\x8b\x05\x01\x10\x00\x00\x8b\x78\x04\xe8\x10\x20\x00\x00\x48\x83\xc4\x08\xc3",
    b"\xf3\x0f\x1e\xfa\x48\x8d\x3d\x10\x20\x00\x00\xe9\x00\x10\x00\x00",
    b"\x66\x48\x8d\x3d\x00\x10\x00\x00\x66\x66\x48\xe8\x00\x00\x00\x00\x48\x8b\x00\xc3",
    b"\x48\x8b\x05\x00\x10\x00\x00\x64\x48\x8b\x00\xc3",
    b"\x31\xc0\x83\x3d\x00\x10\x00\x00\x00\x74\x0a\x8b\x3d\x00\x10\x00\x00\xe9\x00\x00\x10\x00\xc3\xeb\xe0",
];

/// Real functions of this process's C library, and [`ACCESSORS`].
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let objects = Process::open(std::process::id()).unwrap().objects().unwrap();
        let names = [
            "malloc",
            "calloc",
            "realloc",
            "free",
            "memalign",
            "posix_memalign",
            "valloc",
            "mmap",
            "munmap",
            "fork",
            "pthread_getspecific",
            "qsort",
            "printf",
            "strlen",
            "setcontext",
            "longjmp",
        ];
        let mut seeds: Vec<Vec<u8>> = ACCESSORS.iter().map(|code| code.to_vec()).collect();
        for object in &objects {
            let elf = ElfFile::open(&object.open_path).unwrap();
            for symbol in elf.symbols_named(&names).into_iter().flatten() {
                let length = usize::try_from(symbol.size.clamp(16, 512)).unwrap();
                seeds.extend(
                    elf.bytes_up_to(symbol.svma, length)
                        .map(std::borrow::Cow::into_owned),
                );
            }
        }
        assert!(seeds.len() > 12, "functions of the C library");
        seeds
    })
}

fuzz_test!(
    code,
    code_long,
    BOUNDS,
    (
        any::<Index>(),
        prop_oneof![3 => mutations(0..12), 1 => mutations(20..60)],
        prop::collection::vec(prop::sample::select(Register::ALL.to_vec()), 0..4),
        any::<bool>(),
        overwrites(0..64),
    ),
    |(at, changes, operands, wants_return, words): (
        Index,
        Vec<Mutation>,
        Vec<Register>,
        bool,
        Overwrites
    )| {
        let seeds = seeds();
        let code = mutated(&seeds[at.index(seeds.len())], &changes, usize::MAX);
        if let Ok(placement) = place(&code, &operands, wants_return) {
            assert!(
                placement.offset == 0 || placement.offset < code.len() as u64,
                "inside of the function"
            );
        }
        jump_target(&code);
        let mut memory = HostileMemory::new(2);
        overwrite(&mut memory, &words);
        let avma = super::memory::BASE;
        let runtime = avma + 0x1000..avma + 0x1800;
        accessor::place(&code, avma, &runtime, &memory);
        assert!(
            memory.reads() <= accessor::MAX_INSTRUCTIONS as u64 * 2,
            "{} reads",
            memory.reads()
        );
        accessor::place(&code, u64::MAX - 16, &(0..u64::MAX), &memory.failing(0, true));
        assert!(accessor::constants(&code, avma).len() <= accessor::MAX_INSTRUCTIONS);
    }
);
