use std::{
    io::{BufRead as _, BufReader},
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::tempdir;

use super::*;
use crate::{
    target::{elf::ElfFile, testing::compile},
    tests::hostile::{
        Bounds,
        bytes::{Mutation, mutated, mutations},
        fuzz_test,
        names::name,
    },
};

const PRINT_ADDRESS: &str = r#"
#include <stdio.h>
#include <unistd.h>
char message[] = "a message in the data segment";
int main(void) { printf("%p\n", (void *)message); fflush(stdout); pause(); }
"#;

/// A child that is ended when the test is, also when the test fails.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts a program and returns it with the address that it prints.
fn start(path: &Path) -> (Target, u64) {
    let mut child = Command::new(path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
    (Target(child), address)
}

#[test]
fn lines_of_maps_are_parsed() {
    let check = |line: &str, path: Option<&str>, file: Option<(&str, bool)>| {
        let mapping = parse_mappings(line.as_bytes()).unwrap().pop().unwrap();
        assert_eq!(mapping.path.as_deref(), path.map(Path::new), "{line}");
        assert_eq!(
            mapping.file_path(),
            file.map(|(path, deleted)| (Path::new(path), deleted)),
            "{line}"
        );
    };
    check("7f00-7f10 rw-p 00000000 00:00 0 \n", None, None);
    check("7f00-7f10 rw-p 00000000 00:00 0", None, None);
    check(
        "7f00-7f10 rw-p 00000000 00:00 0                  [heap]\n",
        Some("[heap]"),
        None,
    );
    check(
        "7f00-7f10 r-xp 00001000 fe:01 77      /a b/c\n",
        Some("/a b/c"),
        Some(("/a b/c", false)),
    );
    check(
        "7f00-7f10 r-xp 00001000 fe:01 77 /a\\012b",
        Some("/a\nb"),
        Some(("/a\nb", false)),
    );
    check(
        "7f00-7f10 r-xp 0 fe:01 77 /lib (deleted)",
        Some("/lib (deleted)"),
        Some(("/lib", true)),
    );

    let mapping = parse_mappings(b"55d0a000-55d0b000 r-xs 0001f000 103:0a 4242 /\xff")
        .unwrap()
        .remove(0);
    assert_eq!(
        (mapping.start, mapping.end, mapping.file_offset),
        (0x55d0_a000, 0x55d0_b000, 0x1f000)
    );
    assert_eq!(
        mapping.device,
        Device {
            major: 0x103,
            minor: 0x0a
        }
    );
    assert_eq!(mapping.inode, 4242);
    let expect = Permissions {
        read: true,
        write: false,
        execute: true,
        shared: true,
    };
    assert_eq!(mapping.permissions, expect);

    for damaged in [
        "x",
        "7f00 rw-p",
        "7f00-7f10 rw 0 0:0 0",
        "7f00-7f10 rw-p 0 0 0",
        "7f00-7f10 rw-p 0 0:0 x",
    ] {
        assert_eq!(parse_mappings(damaged.as_bytes()), Err(damaged.to_owned()));
    }
}

#[test]
fn a_child_is_described() {
    let directory = tempdir().unwrap();
    let path = compile(directory.path(), "described", PRINT_ADDRESS, &[]);
    let (target, address) = start(&path);
    let process = Process::open(target.0.id()).unwrap();
    assert_eq!(process.command_line().unwrap(), [path.as_os_str()]);
    assert_eq!(process.executable().unwrap(), path);
    assert_eq!(process.thread_name(target.0.id()).unwrap(), "described");
    assert_eq!(process.threads().unwrap(), [target.0.id()]);
    let resident = process.resident().unwrap();
    assert!(resident.anon_bytes > 0 && resident.file_bytes > 0, "{resident:?}");
    assert!(process.auxiliary_value(libc::AT_BASE).unwrap().unwrap() > 0);
    assert_eq!(process.auxiliary_value(0xffff).unwrap(), None);

    let mut message = [0; 9];
    process.read_into(address, &mut message).unwrap();
    assert_eq!(&message, b"a message");
    assert_eq!(process.read_into(8, &mut message), Err(Fault));
    assert_eq!(process.read_into(u64::MAX, &mut message), Err(Fault));
    process.read_into(8, &mut []).unwrap();

    let objects = process.objects().unwrap();
    let names: Vec<_> = objects
        .iter()
        .filter_map(|object| object.path.file_name())
        .collect();
    assert_eq!(names, ["described", "libc.so.6", "ld-linux-x86-64.so.2"]);
    let main = process.main_executable().unwrap();
    assert_eq!(main, objects[0]);
    assert_eq!(main.open_path, process.path_in_root(&path));
    let svma = ElfFile::open(&main.open_path)
        .unwrap()
        .symbol("message")
        .unwrap()
        .svma;
    assert_eq!(svma.wrapping_add(main.bias), address);
    assert!(process.is_alive());
}

#[test]
fn a_deleted_program_is_still_read() {
    let directory = tempdir().unwrap();
    let path = compile(directory.path(), "deleted", PRINT_ADDRESS, &[]);
    let (target, address) = start(&path);
    // Another file under the same name must not be taken for it.
    std::fs::rename(&path, directory.path().join("moved")).unwrap();
    compile(directory.path(), "deleted", "int main(void) { return 0; }", &[]);
    std::fs::remove_file(directory.path().join("moved")).unwrap();

    let process = Process::open(target.0.id()).unwrap();
    let main = process.main_executable().unwrap();
    assert!(main.is_deleted);
    let svma = ElfFile::open(&main.open_path)
        .unwrap()
        .symbol("message")
        .unwrap()
        .svma;
    assert_eq!(svma.wrapping_add(main.bias), address);
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    let mut child = Command::new("true").spawn().unwrap();
    let process = Process::open(child.id()).unwrap();
    child.wait().unwrap();
    assert!(!process.is_alive());
    assert!(matches!(
        process.mappings(),
        Err(ProcessError::NoSuchProcess { .. })
    ));
    assert!(matches!(
        Process::open(child.id()),
        Err(ProcessError::NoSuchProcess { .. })
    ));
    assert_eq!(process.read_into(0x40_0000, &mut [0; 4]), Err(Fault));
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    // The test harness runs tests in threads of its own.
    let own = Process::open(std::process::id()).unwrap();
    let thread = *own.threads().unwrap().last().unwrap();
    assert_ne!(thread, std::process::id());
    let error = Process::open(thread).unwrap_err();
    assert!(matches!(error, ProcessError::IsThread { tid, pid } if tid == thread && pid == own.pid()));
    assert_eq!(error.hint().unwrap(), format!("use {}", own.pid()));
}

#[test]
fn a_kernel_thread_has_no_executable() {
    // kthreadd is always 2, unless a pid namespace hides it.
    if let Ok(process) = Process::open(2)
        && process.command_line().is_ok_and(|arguments| arguments.is_empty())
    {
        assert!(process.main_executable().is_err());
    }
}

const MAPS: &[u8] = b"\
55d0c8a2b000-55d0c8a2c000 r--p 00000000 fd:01 1835113                    /usr/bin/python3.11
7f2c00000000-7f2c00021000 rw-p 00000000 00:00 0
7f2c1c1d5000-7f2c1c1d6000 r-xs 00001000 00:2e 77   /tmp/a b\\012c (deleted)
7ffd2a3f0000-7ffd2a411000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

fuzz_test!(
    hostile_maps,
    hostile_maps_long,
    Bounds {
        memory_bytes: 4 << 20,
        time: Duration::from_secs(10),
    },
    (mutations(0..8), name()),
    |(changes, name): (Vec<Mutation>, String)| {
        let mut text = mutated(MAPS, &changes, usize::MAX);
        // A path as the kernel writes it, of any other bytes.
        let path = format!("/{}", name.replace(['\n', '\0'], "?"));
        text.extend_from_slice(b"\n7f0000000000-7f0000001000 r-xp 00000000 fd:01 99 ");
        text.extend_from_slice(path.as_bytes());
        if let Ok(mappings) = parse_mappings(&text) {
            let last = mappings.last().unwrap();
            let found = last.path.as_deref().unwrap().as_os_str().as_bytes();
            assert!(found == path.as_bytes() || path.contains("\\012"), "{found:?}");
            for mapping in &mappings {
                let _path = mapping.file_path();
            }
        } else {
            assert!(!changes.is_empty());
        }
    }
);
