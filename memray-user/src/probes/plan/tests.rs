use std::path::Path;

use tempfile::tempdir;

use super::*;
use crate::target::{process::Process, testing::compile};

const ALLOCATOR: &str = r#"
#include <stddef.h>
static char block[64];
void *malloc(size_t size) { return size > sizeof block ? NULL : block; }
void free(void *address) { block[0] = address != NULL; }
void free_sized(void *address, size_t size) { (void)size; free(address); }
void free_aligned_sized(void *address, size_t alignment, size_t size) { block[1] = size + alignment; free(address); }
static void *resolve(void) { return malloc; }
void *valloc(size_t size) __attribute__((ifunc("resolve")));
static void *__attribute__((used, noinline)) pvalloc(size_t size) { return malloc(size + 1); }
void *aligned_alloc(size_t alignment, size_t size) { return size + alignment > sizeof block ? NULL : block; }
void *memalign(size_t alignment, size_t size) __attribute__((alias("aligned_alloc")));
"#;

fn object(path: &Path, bias: u64) -> MappedObject {
    MappedObject {
        path: path.to_owned(),
        open_path: Path::new("/proc/7/root").join(path.strip_prefix("/").unwrap()),
        bias,
        avma_range: bias..bias + 0x10_0000,
        device: Device { major: 8, minor: 1 },
        inode: 77,
        is_deleted: false,
    }
}

fn names(plan: &ProbePlan) -> Vec<&str> {
    plan.points.iter().map(|point| point.function.as_str()).collect()
}

fn reasons(plan: &ProbePlan) -> Vec<(&str, SkipReason)> {
    let skipped = plan.skipped.iter();
    skipped
        .map(|skipped| (skipped.function.as_str(), skipped.reason.clone()))
        .collect()
}

#[test]
fn an_allocator_is_probed_where_it_is_defined() {
    let directory = tempdir().unwrap();
    for (name, flags) in [
        ("liblinked.so", &[][..]),
        ("libdirect.so", &["-Wl,-Bsymbolic"][..]),
    ] {
        let flags = [&["-shared", "-fPIC", "-O2", "-fno-builtin"], flags].concat();
        let path = compile(directory.path(), name, ALLOCATOR, &flags);
        let elf = ElfFile::open(&path).unwrap();
        let object = object(&path, 0x7f00_0000_0000);
        let plan = ProbePlan::new([(&object, &elf)].into_iter(), &[]);
        assert_eq!(
            names(&plan),
            ["malloc", "aligned_alloc", "free", "free_aligned_sized"],
            "{plan}"
        );
        let expect = [
            ("memalign", SkipReason::SameFunctionAs("aligned_alloc".to_owned())),
            ("valloc", SkipReason::NotAFunction),
            ("pvalloc", SkipReason::NotGlobal),
            ("free_sized", SkipReason::ForwardsTo("free")),
        ];
        assert_eq!(reasons(&plan), expect);

        for point in &plan.points {
            assert_eq!(point.object, object.open_path);
            let svma = elf.symbol(&point.function).unwrap().svma + point.placement.offset;
            assert_eq!(Some(point.file_offset), elf.svma_to_file_offset(svma));
            let cookie = Cookie::unpack(point.cookie).unwrap();
            assert_eq!(cookie.role, point.role);
            assert_eq!(Allocator::from_raw(cookie.allocator), point.allocator);
            assert_eq!(cookie.operands, point.placement.operands);
            assert_eq!(point.has_return, point.role != Role::Free);
        }
    }
}

#[test]
fn a_file_that_is_mapped_twice_is_probed_once() {
    let directory = tempdir().unwrap();
    let path = compile(directory.path(), "libtwice.so", ALLOCATOR, &["-shared", "-fPIC"]);
    let elf = ElfFile::open(&path).unwrap();
    let (first, second) = (object(&path, 0x7f00_0000_0000), object(&path, 0x7f10_0000_0000));
    let once = ProbePlan::new([(&first, &elf)].into_iter(), &[]);
    let twice = ProbePlan::new([(&first, &elf), (&second, &elf)].into_iter(), &[]);
    assert_eq!(once, twice);
}

#[test]
fn a_function_of_the_process_is_found_by_its_address() {
    let directory = tempdir().unwrap();
    let source = "int used; void code_dealloc(void *code) { used = code != 0; }";
    let path = compile(
        directory.path(),
        "libcode.so",
        source,
        &["-shared", "-fPIC", "-O2", "-s"],
    );
    let elf = ElfFile::open(&path).unwrap();
    let object = object(&path, 0x7f00_0000_0000);
    let svma = elf.symbol("code_dealloc").unwrap().svma;
    let there = ExtraProbe::code_dealloc(svma + object.bias);
    let nowhere = ExtraProbe::code_dealloc(0x1000);
    let plan = ProbePlan::new([(&object, &elf)].into_iter(), &[there, nowhere]);
    assert_eq!(names(&plan), ["code_dealloc"]);
    let point = &plan.points[0];
    assert_eq!(
        (point.role, point.allocator, point.has_return),
        (Role::CodeDealloc, None, false)
    );
    assert_eq!(
        point.file_offset,
        elf.svma_to_file_offset(svma).unwrap() + point.placement.offset
    );
    assert_eq!(reasons(&plan), [("code_dealloc", SkipReason::NoCode)]);
}

#[test]
fn the_libc_of_this_machine_is_planned() {
    let process = Process::open(std::process::id()).unwrap();
    let objects = process.objects().unwrap();
    let files: Vec<ElfFile> = objects
        .iter()
        .map(|object| ElfFile::open(&object.open_path).unwrap())
        .collect();
    let plan = ProbePlan::new(objects.iter().zip(&files), &[]);
    println!("{plan}");
    let libc: Vec<&ProbePoint> = plan
        .points
        .iter()
        .filter(|point| point.path.ends_with("libc.so.6"))
        .collect();
    let find = |name: &str| libc.iter().find(|point| point.function == name);
    for name in [
        "malloc",
        "calloc",
        "realloc",
        "posix_memalign",
        "aligned_alloc",
        "valloc",
        "pvalloc",
        "free",
    ] {
        assert!(find(name).unwrap().placement.is_emulated(), "{name}");
    }
    assert!(find("reallocarray").is_some());
    assert!(
        objects
            .iter()
            .all(|object| !object.path.ends_with("ld-linux-x86-64.so.2")
                || plan.points.iter().all(|point| point.path != object.path))
    );

    // Offsets measured with glibc 2.36 of Debian 12, by build id.
    let (_, elf) = objects
        .iter()
        .zip(&files)
        .find(|(object, _)| object.path.ends_with("libc.so.6"))
        .unwrap();
    let is_measured = elf.bytes_at(elf.symbol("free").unwrap().svma, 9).unwrap()[..]
        == [0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0];
    if is_measured {
        let offsets: Vec<(&str, u64)> = libc
            .iter()
            .map(|point| (point.function.as_str(), point.placement.offset))
            .collect();
        let expect = [
            ("malloc", 0),
            ("calloc", 0),
            ("realloc", 0),
            ("reallocarray", 0),
            ("posix_memalign", 7),
            ("aligned_alloc", 7),
            ("valloc", 7),
            ("pvalloc", 7),
            ("free", 3),
        ];
        assert_eq!(offsets, expect);
        assert_eq!(plan.single_stepped().count(), 1, "reallocarray alone");
    }
}
