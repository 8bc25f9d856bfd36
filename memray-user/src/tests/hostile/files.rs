//! ELF files that lie: real ones with their headers, tables and notes changed, through all that reads them.

use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

use proptest::{prelude::*, sample::Index};

use super::{
    Bounds,
    bytes::{Mutation, hostile_number, mutated, mutations},
    fuzz_test,
};
use crate::{
    cpython::{c_library, glibc, musl, thread_state::LoadedFile},
    probes::{ProbePlan, hold_points, python_hold_points},
    target::{
        elf::ElfFile,
        loader,
        process::{Device, MappedObject, Process},
        testing::compile,
    },
};

const BOUNDS: Bounds = Bounds {
    // The file itself, of at most a few megabytes, and copies of its tables.
    memory_bytes: 96 << 20,
    time: Duration::from_secs(20),
};

const SOURCE: &str = "
#include <stddef.h>
__thread int variable = 7;
static char arena[64];
void *malloc(size_t size) { variable++; return arena + size % 32; }
void *calloc(size_t count, size_t size) { return malloc(count * size); }
void *realloc(void *old, size_t size) { return old ? old : malloc(size); }
void free(void *block) { if (block) variable--; }
long _PyRuntime[80] = {1};
const char *gnu_get_libc_version(void) { return \"2.36\"; }
void *pthread_getspecific(unsigned key) { return arena + key; }
";

/// A small library that says it is everything that is looked for, the loader of this process, its C library, and this
/// machine's Python, in which `_PyRuntime` and the machine code around it are real; without one the test's own file.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let flags = [
            "-shared",
            "-fPIC",
            "-O1",
            "-nostdlib",
            "-Wl,--hash-style=both,--build-id",
        ];
        let library = compile(directory.path(), "library.so", SOURCE, &flags);
        let mut seeds = vec![fs::read(library).unwrap()];
        let objects = Process::open(std::process::id()).unwrap().objects().unwrap();
        for object in objects {
            let name = object
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("ld-") || name.starts_with("libc.") {
                seeds.push(fs::read(&object.open_path).unwrap());
            }
        }
        assert!(seeds.len() > 2, "the loader and the C library of this process");
        let python = PathBuf::from("/usr/bin/python3");
        let python = python
            .canonicalize()
            .unwrap_or_else(|_none| std::env::current_exe().unwrap());
        seeds.push(fs::read(python).unwrap());
        seeds
    })
}

/// The small ones are fed more often: in them changes meet structure.
fn seed(at: Index) -> &'static [u8] {
    let seeds = seeds();
    match at.index(12) {
        index @ 8.. => &seeds[(index - 7).min(seeds.len() - 1)],
        _ => &seeds[0],
    }
}

/// Everything that memray asks of a file.
fn ask(bytes: Vec<u8>, address: u64) {
    let Ok(elf) = ElfFile::parse(bytes) else { return };
    for svma in [0, address, u64::MAX, elf.entry_svma()] {
        let offset = elf.svma_to_file_offset(svma);
        elf.file_offset_to_svma(offset.unwrap_or(svma));
        elf.bytes_at(svma, 4096);
        elf.bytes_up_to(svma, usize::MAX);
        elf.bias_of_mapping(svma, offset.unwrap_or(0));
    }
    elf.section(".text");
    elf.section_bytes(".dynstr");
    elf.interpreter();
    elf.soname();
    assert!(elf.needed().len() <= 4096);
    elf.build_id();
    elf.tls_segment();
    elf.dynamic_svma();
    loader::is_library(&elf);
    c_library(&elf);
    glibc::thread_layout(&elf);
    musl::thread_layout(&elf);
    hold_points(&elf);
    python_hold_points(&elf);
    let loaded = LoadedFile {
        file: &elf,
        bias: address,
    };
    for name in ["_PyRuntime", "PyGILState_GetThisThreadState", "Py_GetVersion"] {
        loaded.avma(name);
        loaded.function(name);
    }
    let object = MappedObject {
        path: "/library.so".into(),
        open_path: "/library.so".into(),
        bias: address,
        avma_range: elf.base_svma().wrapping_add(address)..elf.end_svma().wrapping_add(address),
        device: Device::default(),
        inode: 1,
        is_deleted: false,
    };
    let plan = ProbePlan::new(std::iter::once((&object, &elf)), &[]);
    assert!(plan.points.len() + plan.skipped.len() < 1000);
}

fuzz_test!(
    elf_files,
    elf_files_long,
    BOUNDS,
    (
        any::<Index>(),
        mutations(1..12),
        prop::sample::select(vec![64, 1024, 4096, usize::MAX]),
        hostile_number()
    ),
    |(at, changes, reach, address): (Index, Vec<Mutation>, usize, u64)| {
        ask(mutated(seed(at), &changes, reach), address);
    }
);

/// Every field of every header holds every number that may break something, one at a time.
#[test]
fn every_field_of_the_headers() {
    let small = &seeds()[0];
    let word = |at: usize| u64::from_le_bytes(small[at..at + 8].try_into().unwrap());
    let half = |at: usize| usize::from(u16::from_le_bytes([small[at], small[at + 1]]));
    let programs = usize::try_from(word(32)).unwrap();
    let sections = usize::try_from(word(40)).unwrap();
    let ranges = [
        0..64,
        programs..programs + half(54) * half(56),
        sections..sections + half(58) * half(60),
    ];
    let mut tried = 0;
    for place in ranges.into_iter().flatten().step_by(4) {
        for value in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff_fff8, 0x1000, 64] {
            let mut bytes = small.clone();
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            ask(bytes, 0x7f00_0000_0000);
            tried += 1;
        }
    }
    println!("{tried} files");
    assert!(tried > 4000);
}
