//! Programs of unusual kinds: of other users, whose files are gone or are others now, whose first thread has ended,
//! with other allocators inside of Python, that embed a Python or load one late.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use memray_tests::{
    Attach, Compiled, Python, Script, Target,
    behavior::{folder_with, usual_python},
};
use tempfile::TempDir;

use super::attach::{in_main_thread, is_known};

/// Attaches to `attached.py`, and compares what it allocates from then on.
fn check(mut target: Target, status: i32) {
    let attachment = Attach::to(&target).start();
    for request in ["free", "leak", "temporary"] {
        target.obey(request);
    }
    let capture = attachment.finish();
    let mut expected = vec![in_main_thread("1234591 realloc freed: free_before@moved")];
    expected.extend(vec![in_main_thread("1234593 malloc live: leak@ten"); 10]);
    expected.push(in_main_thread("1234595 malloc live: leak@one"));
    expected.extend(vec![in_main_thread("1234597 malloc freed: temporary@pairs"); 7]);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let rows = capture.rows(is_known);
    // A thread that is not the first has the kernel's name where Python's could not be read.
    let found: Vec<String> = rows
        .iter()
        .map(|row| capture.row_text(row).replace(" [compiled]", ""))
        .collect();
    capture.expect_lines(&found, &expected);
    assert_eq!(target.end().status, status, "{}", capture.name());
}

#[test]
fn of_another_user() {
    let python = Python::at(Path::new("/usr/bin/python3"), "apt-get install python3");
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = Script::new("attached.py");
    let path = folder.path().join("attached.py");
    fs::copy(&script.path, &path).unwrap();
    script.path = path;
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
    ]);
    command.arg(&python.program).arg(&script.path);
    check(Target::start(command, &python, Some(&script)), 0);
}

#[test]
fn with_other_allocators_inside() {
    let script = Script::new("attached.py");
    for python in [8, 12].map(Python::of_pyenv) {
        for (value, allocator) in [
            ("malloc", "malloc"),
            ("debug", "pymalloc_debug"),
            ("malloc_debug", "malloc_debug"),
        ] {
            let mut command = python.command();
            command.arg(&script.path).env("PYTHONMALLOC", value);
            let mut target = Target::start(command, &python, Some(&script));
            let attachment = Attach::to(&target).start();
            target.obey("leak");
            let capture = attachment.finish();
            assert_eq!(capture.rows(is_known).len(), 11, "{}", capture.name());
            let found = capture.query("SELECT python_allocator FROM processes");
            assert_eq!(found, [allocator], "{}", capture.name());
        }
    }
}

/// What becomes of the files of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Deleted,
    /// Other files have their names, as after an upgrade.
    Replaced,
    Renamed,
}

/// A copy of an interpreter with its libpython and its C library, all in one folder.
fn copied(folder: &Path) -> Vec<PathBuf> {
    let python = usual_python();
    let library = python.library();
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let copy = |from: &Path| {
        let to = folder.join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to
    };
    [python.program.as_path(), &library, libc].map(copy).to_vec()
}

#[test]
fn whose_files_are_gone() {
    let script = Script::new("attached.py");
    for fate in [Fate::Deleted, Fate::Replaced, Fate::Renamed] {
        let folder = folder_with(&[]);
        let files = copied(folder.path());
        let mut command = Command::new(&files[0]);
        command
            .arg(&script.path)
            .env("LD_LIBRARY_PATH", folder.path())
            .env("PYTHONHOME", usual_python().home());
        let target = Target::start(command, usual_python(), Some(&script));
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
        for file in &files {
            assert!(maps.contains(file.to_str().unwrap()), "{maps}");
        }
        for file in &files {
            match fate {
                Fate::Deleted => fs::remove_file(file).unwrap(),
                Fate::Replaced => {
                    // Of another version, with its functions elsewhere.
                    let other = folder.path().join("other");
                    fs::copy(Python::of_pyenv(9).library(), &other).unwrap();
                    fs::rename(other, file).unwrap();
                }
                Fate::Renamed => fs::rename(file, file.with_extension("old")).unwrap(),
            }
        }
        check(target, 0);
    }
}

#[test]
fn that_embed_a_python() {
    for minor in [8, 10, 12, 13] {
        let python = Python::of_pyenv(minor);
        let program = Compiled::program_with_python("embedding.c", &python);
        let script = Script::new("attached.py");
        let mut command = Command::new(program.path());
        command
            .arg("first")
            .arg(&script.path)
            .env("PYTHONHOME", python.home());
        check(Target::start(command, &python, Some(&script)), 0);
    }
}

/// Of such a process the kernel shows no maps, no executable and no memory under its own number, only under those of
/// its threads.
#[test]
fn whose_first_thread_has_ended() {
    let python = usual_python();
    let program = Compiled::program_with_python("embedding.c", python);
    let script = Script::new("attached.py");
    let mut command = Command::new(program.path());
    command
        .arg("second")
        .arg(&script.path)
        .env("PYTHONHOME", python.home());
    let target = Target::start(command, python, Some(&script));
    let status = fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
    assert!(status.contains("State:\tZ"), "{status}");
    check(target, 0);
}

#[test]
fn that_load_a_python_late() {
    for minor in [9, 12] {
        let python = Python::of_pyenv(minor);
        let program = Compiled::program("loading.c");
        let script = Script::new("attached.py");
        let mut command = Command::new(program.path());
        command
            .arg(python.library())
            .arg(&script.path)
            .env("PYTHONHOME", python.home());
        let mut target = Target::start(command, &python, Some(&script));
        let attachment = Attach::to(&target).option("--any-program").start();
        target.tell("go on");
        assert_eq!(target.answer(), "ready");
        target.obey("leak");
        let capture = attachment.finish();
        let rows = capture.rows(|size| [1_234_615, 1_234_595].contains(&size));
        // The thread has its name from before there was a Python.
        let expected = [
            "1234615 malloc live [compiled]: <no Python frames> (marker)".to_owned(),
            in_main_thread("1234595 malloc live [compiled]: leak@one"),
        ];
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        capture.expect(&rows, &expected);
        assert_eq!(target.end().status, 0, "{}", capture.name());
    }
}
