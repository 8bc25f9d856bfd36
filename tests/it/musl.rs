//! What is found in musl, which is a C library and its dynamic loader in one file.

use memray_ebpf::follow::HoldPlace;
use memray_tests::container::musl_root;
use memray_user::{
    cpython::{CLibrary, c_library},
    probes::{ProbePlan, hold_points},
    target::{
        elf::ElfFile,
        process::{Device, MappedObject},
    },
};

fn musl() -> (MappedObject, ElfFile) {
    let path = musl_root().join("lib/ld-musl-x86_64.so.1");
    let elf = ElfFile::open(&path).unwrap();
    let object = MappedObject {
        open_path: path.clone(),
        path,
        bias: 0,
        avma_range: elf.base_svma()..elf.end_svma(),
        device: Device { major: 8, minor: 1 },
        inode: 7,
        is_deleted: false,
    };
    (object, elf)
}

#[test]
fn it_is_known_by_its_code() {
    assert_eq!(c_library(&musl().1), Some(CLibrary::Musl));
}

/// Its loader's functions are the C library's, and all of them are cheap.
#[test]
fn functions_of_the_allocator() {
    let (object, elf) = musl();
    let plan = ProbePlan::new([(&object, &elf)].into_iter(), &[]);
    let names: Vec<&str> = plan.points.iter().map(|point| point.function.as_str()).collect();
    let expected = [
        "malloc",
        "calloc",
        "realloc",
        "reallocarray",
        "posix_memalign",
        "aligned_alloc",
        "memalign",
        "valloc",
        "free",
    ];
    assert_eq!(names, expected, "{plan}");
    assert_eq!(plan.single_stepped().count(), 0, "{plan}");
    assert_eq!(plan.skipped, []);
}

#[test]
fn places_where_threads_are_held() {
    let mut places: Vec<HoldPlace> = hold_points(&musl().1).iter().map(|point| point.place).collect();
    places.sort();
    assert_eq!(places, [HoldPlace::Birth, HoldPlace::Exec, HoldPlace::Loader]);
}
