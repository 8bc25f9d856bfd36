//! A CPython on musl, as in Alpine's containers: another C library, whose loader it is too, with other places for what
//! threads have of their own.

use std::process::Command;

use memray_tests::{
    Attach, Capture, Compiled, Python, Recording, Script, Target,
    capture::Row,
    container::{Container, Inside, Kind, musl_root},
    memray,
};

use super::{
    allocators::{self, CLibrary},
    attach::{allocated, in_main_thread, is_known},
    families::{self, CALLER, processes, tree},
};

/// Of the Python that `scripts/build-musl-python` builds.
const MINOR: u8 = 13;

fn expect(capture: &Capture, rows: &[Row], expected: &[impl AsRef<str>]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    capture.expect(rows, &expected);
}

#[test]
fn attach_from_outside() {
    for kind in Kind::ALL {
        let container = Container::musl(kind);
        let mut target = container.start(MINOR);
        let attachment = Attach::to(&target).start();
        target.obey("allocate");
        let capture = attachment.finish();
        expect(&capture, &capture.rows(is_known), &allocated());
        assert_eq!(processes(&capture), ["1 attached python3.13 3.13"], "{kind:?}");
        assert_eq!(target.end().status, 0, "{kind:?}");
    }
}

/// All functions of its allocator. The last program of a chain is recorded, from its loader's last word on.
#[test]
fn run_with_every_function() {
    let container = Container::musl(Kind::Chroot);
    for gil in ["keeps_gil", "releases_gil"] {
        let Inside {
            python,
            script,
            command,
        } = container.program(MINOR, "allocators.py");
        let capture = Recording::leading_to(&command, &python, &script)
            .argument(gil)
            .run();
        allocators::check(&capture, CLibrary::Musl);
        let last = processes(&capture).pop().unwrap();
        assert!(last.contains(" executed python3.13 3.13 < "), "{last}");
    }
}

/// `_Fork` of musl, after which Python's pthread key has another number, its `vfork`, and its `posix_spawn`.
#[test]
fn children_are_followed() {
    let forked = [
        format!("1 1234701 malloc live: {CALLER} > fork@before"),
        format!("1 1234703 malloc freed: {CALLER} > fork@before"),
        format!("1 1234709 malloc live: {CALLER} > fork@after"),
        format!("2 1234705 malloc live: {CALLER} > fork@in child"),
        format!("2 1234707 malloc freed: {CALLER} > fork@freed by child"),
    ];
    let spawned = ["2 1234737 malloc live: <module> (child.py)".to_owned()];
    let started = [
        format!("1 1234733 malloc live: {CALLER} > by_subprocess@after subprocess"),
        "2 1234731 malloc live: <module> (child.py)".to_owned(),
    ];
    let python = "/usr/bin/python3.13";
    for (words, expected) in [
        (&["fork"] as &[&str], &forked as &[String]),
        (&["by_posix_spawn", python], &spawned),
        (&["by_subprocess", python], &started),
    ] {
        let capture = attached(words);
        let mut lines = vec!["1 attached python3.13 3.13", "2 forked python3.13 3.13 < 1"];
        lines.extend(expected.iter().map(String::as_str));
        capture.expect_lines(&tree(&capture), &lines);
    }
}

/// `families.py` from its first deed to its end, with its children.
fn attached(words: &[&str]) -> Capture {
    let container = Container::musl(Kind::Namespaces);
    let Inside {
        python,
        script,
        mut command,
    } = container.program(MINOR, "families.py");
    command.arg("wait").args(words);
    let mut target = Target::start(command, &python, Some(&script));
    let attach = Attach::to(&target).option("--follow-fork");
    let attachment = attach.tolerates("program_late").start();
    target.tell("go on");
    let capture = attachment.wait();
    assert_eq!(target.ended().status, 7, "{words:?}");
    capture
}

/// The first life of the recording is the shell that makes the container, the second is Python.
#[test]
fn run_follows_into_the_container() {
    let container = Container::musl(Kind::Namespaces);
    let Inside {
        python,
        script,
        command,
    } = container.program(MINOR, "families.py");
    let capture = Recording::leading_to(&command, &python, &script)
        .option("--follow-fork")
        .argument("grandchildren")
        .ends_with(7)
        .run();
    let rows: Vec<String> = capture
        .rows(families::is_known)
        .iter()
        .map(|row| capture.row_text(row))
        .collect();
    let expected: Vec<String> = (0..5)
        .map(|depth| {
            let above = " > grandchildren@deeper".repeat(depth);
            format!(
                "{} malloc live: {CALLER}{above} > grandchildren@level",
                1_234_714 - depth
            )
        })
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    capture.expect_lines(&rows, &expected);
}

/// musl tells of a library when it is relocated and none of its code has run.
#[test]
fn libraries_loaded_late() {
    let library = Compiled::library("bump.c");
    let container = Container::musl(Kind::Chroot);
    let Inside {
        python,
        script,
        mut command,
    } = container.program(MINOR, "bundled.py");
    command.arg(library.path());
    let mut target = Target::start(command, &python, Some(&script));
    let attachment = Attach::to(&target).start();
    target.obey("load");
    target.obey("allocate");
    let capture = attachment.finish();
    let expected = [
        "1234631 malloc live: <module>@obey > allocate@bundled",
        "1234633 malloc live: <module>@obey > allocate@libc",
        "1234635 malloc freed: <module>@obey > allocate@bundled freed",
    ];
    expect(&capture, &capture.rows(is_known), &expected);
    assert_eq!(target.end().status, 0);
}

/// The program is the loader here, and what it runs was not even built for musl.
#[test]
fn a_python_loaded_late() {
    let root = musl_root();
    let program = Compiled::program("loading.c");
    let script = Script::new("attached.py");
    let python = Python {
        program: root.join("usr/bin/python3.13"),
        version: (3, MINOR),
    };
    let mut command = Command::new(root.join("lib/ld-musl-x86_64.so.1"));
    command.arg("--library-path").arg(root.join("usr/lib"));
    command.args([
        program.path(),
        &root.join("usr/lib/libpython3.13.so.1.0"),
        &script.path,
    ]);
    command.env("PYTHONHOME", root.join("usr"));
    let mut target = Target::start(command, &python, Some(&script));
    let attachment = Attach::to(&target).option("--any-program").start();
    target.tell("go on");
    assert_eq!(target.answer(), "ready");
    target.obey("leak");
    let capture = attachment.finish();
    let rows = capture.rows(|size| [1_234_595, 1_234_615].contains(&size));
    let expected = [
        "1234615 malloc live: <no Python frames> (marker)".to_owned(),
        in_main_thread("1234595 malloc live: leak@one"),
    ]
    // The kernel's name of the program.
    .map(|row| row.replacen(" live:", " live [ld-musl-x86_64.]:", 1));
    expect(&capture, &rows, &expected);
    assert_eq!(target.end().status, 0);
}

#[test]
fn the_doctor_knows_it() {
    let container = Container::musl(Kind::Chroot);
    let target = container.start(MINOR);
    let folder = tempfile::tempdir().unwrap();
    let mut command = memray(folder.path());
    let output = command
        .args(["doctor", "--json", &target.pid().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for fact in [
        "CPython 3.13",
        "musl, `",
        "calls `_dl_debug_state`",
        "9 functions are probed in 1 file",
    ] {
        assert!(text.contains(fact), "no {fact} in\n{text}");
    }
}
