//! Allocators other than the C library's: in its place, beside it, and loaded while the recording runs.

use std::{fs, path::Path, process::Command};

use memray_tests::{
    Attach, Compiled, Script, Target,
    behavior::{folder_with, usual_python},
    target::Ended,
};

use super::attach::{in_main_thread, is_known};

/// Files of Debian's packages `libjemalloc2`, `libtcmalloc-minimal4` and `libmimalloc2.0`, which set-up installs.
const ALLOCATORS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0",
];

fn expect(capture: &memray_tests::Capture, expected: &[String]) {
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let mut rows = capture.rows(is_known);
    // What the allocator itself maps is its own affair.
    rows.retain(|row| !row.allocator.starts_with('m') || row.allocator == "malloc");
    capture.expect(&rows, &expected);
}

#[test]
fn preloaded() {
    for allocator in ALLOCATORS {
        let script = Script::new("attached.py");
        let mut command = usual_python().command();
        command.arg(&script.path).env("LD_PRELOAD", allocator);
        let mut target = Target::start(command, usual_python(), Some(&script));
        let attachment = Attach::to(&target).start();
        for request in ["free", "leak", "temporary"] {
            target.obey(request);
        }
        let capture = attachment.finish();
        let mut expected = vec![in_main_thread("1234591 realloc freed: free_before@moved")];
        expected.extend(vec![in_main_thread("1234593 malloc live: leak@ten"); 10]);
        expected.push(in_main_thread("1234595 malloc live: leak@one"));
        expected.extend(vec![in_main_thread("1234597 malloc freed: temporary@pairs"); 7]);
        expect(&capture, &expected);
        assert_eq!(target.end().status, 0, "{allocator}");
    }
}

/// Attaches to `obeying.c`, and compares what it allocates from then on.
fn check_obeying(program: &Compiled, name: &str) {
    let mut target = Target::start(Command::new(program.path()), usual_python(), None);
    let attachment = Attach::to(&target).option("--any-program").start();
    for request in ["allocate 1234641", "pair 1234643", "free", "free"] {
        target.obey(request);
    }
    let capture = attachment.finish();
    expect(
        &capture,
        &[
            "1234641 malloc freed [compiled]: <no Python frames> (marker)".to_owned(),
            "1234643 malloc freed [compiled]: <no Python frames> (marker)".to_owned(),
        ],
    );
    let expected = Ended {
        status: 0,
        rest: vec!["end".to_owned()],
    };
    assert_eq!(target.end(), expected, "{name}");
}

#[test]
fn linked_into_a_program_without_python() {
    for allocator in ALLOCATORS {
        let program = Compiled::program_with("obeying.c", Path::new(allocator));
        check_obeying(&program, allocator);
    }
}

#[test]
fn in_the_same_file_as_the_program() {
    check_obeying(&Compiled::static_program("obeying.c"), "static");
}

/// Wheels bring libraries of their own, whose names carry a hash; beside them the C library's allocator is in use.
#[test]
fn brought_by_a_package() {
    for allocator in ALLOCATORS {
        for is_loaded_before in [true, false] {
            let folder = folder_with(&[]);
            let name = Path::new(allocator).file_name().unwrap().to_str().unwrap();
            let (stem, version) = name.split_once(".so").unwrap();
            let copy = folder.path().join(format!("{stem}-5f2ad31c.so{version}"));
            fs::copy(allocator, &copy).unwrap();
            let script = Script::new("bundled.py");
            let mut command = usual_python().command();
            command.args([&script.path, &copy]);
            // jemalloc's variables of threads want a place that libraries loaded late get only on request.
            command.env("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384");
            let mut target = Target::start(command, usual_python(), Some(&script));
            if is_loaded_before {
                target.obey("load");
            }
            let attachment = Attach::to(&target).start();
            if !is_loaded_before {
                target.obey("load");
            }
            target.obey("allocate");
            let capture = attachment.finish();
            expect(
                &capture,
                &[
                    "1234631 malloc live: <module>@obey > allocate@bundled".to_owned(),
                    "1234633 malloc live: <module>@obey > allocate@libc".to_owned(),
                    "1234635 malloc freed: <module>@obey > allocate@bundled freed".to_owned(),
                ],
            );
            assert_eq!(target.end().status, 0, "{allocator}");
        }
    }
}

/// An extension that is imported while the recording runs calls an allocator that was there before.
#[test]
fn extensions_loaded_late() {
    let library = Compiled::library("native.c");
    let script = Script::new("bundled.py");
    let mut target = Target::script(usual_python(), &script, &[library.path().to_str().unwrap()]);
    let attachment = Attach::to(&target).start();
    target.obey("load");
    target.obey("extension");
    let capture = attachment.finish();
    expect(
        &capture,
        &["1234637 malloc live: <module>@obey > extension@extension".to_owned()],
    );
    assert_eq!(target.end().status, 0);
}
