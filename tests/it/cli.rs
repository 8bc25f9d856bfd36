//! What the command line says: the help of every command, and what it answers to input that cannot be right.
//!
//! Each snapshot is a whole transcript: exit status, standard output, standard error. To accept a change, run
//! `INSTA_UPDATE=always cargo nextest run --package memray-tests` and read the difference.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use memray_tests::{memray, memray::memray_binary, transcript};
use nix::unistd::Uid;
use tempfile::TempDir;

/// A folder with the files that the cases name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("script.py"), "print('hello')\n").unwrap();
    fs::write(path("exists.db"), "").unwrap();
    fs::write(path("empty.db"), "").unwrap();
    fs::write(path("text.db"), "this is no capture\n").unwrap();
    fs::write(path("short.db"), "SQLite format 3\0").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink("/bin/true", path("program")).unwrap();
    folder
}

fn run(folder: &Path, line: &str) -> String {
    let output = memray(folder)
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    transcript(&output).replace(&*folder.to_string_lossy(), "[folder]")
}

/// Runs each line in one folder; the snapshot has all transcripts.
fn session(lines: &[&str]) -> String {
    let folder = folder();
    let before = names(folder.path());
    let mut text = String::new();
    for line in lines {
        text.extend(["$ memray ", line, "\n", &run(folder.path(), line), "\n"]);
    }
    assert_eq!(
        names(folder.path()),
        before,
        "a command that fails leaves nothing behind"
    );
    text
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn help() {
    assert_snapshot!(session(&[
        "--help",
        "run --help",
        "flamegraph --help",
        "table --help",
        "tree --help",
        "summary --help",
        "stats --help",
        "doctor --help",
    ]));
}

#[test]
fn version() {
    let expected = format!(
        "exit status: 0\n--- stdout\nmemray {}\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(run(folder().path(), "--version"), expected);
}

#[test]
fn usage_that_makes_no_sense() {
    assert_snapshot!(session(&[
        "",
        "fly",
        "run",
        "run --fast script.py",
        "run -m -c pass",
        "run -m -- module",
        "run -c script.py",
        "run --memory-interval 0 script.py",
        "run --memory-interval ten script.py",
        "attach --memory-interval 10001 1",
        "flamegraph",
        "flamegraph --format pdf exists.db",
        "flamegraph --leaks --temporary-allocations exists.db",
        "tree -b many exists.db",
        "summary -s 9 exists.db",
        "summary --temporary-allocation-threshold=-1 exists.db",
        "stats -n 0 exists.db",
        "doctor 0",
        "doctor --json python",
    ]));
}

#[test]
fn programs_that_cannot_be_run() {
    assert_snapshot!(session(&[
        "run none.py",
        "run program",
        "run --python none script.py",
        "run --python ./script.py script.py",
        "run -- none",
        "run -- ./script.py",
    ]));
}

#[test]
fn captures_that_cannot_be_written() {
    assert_snapshot!(session(&[
        "run -o exists.db script.py",
        "run -o none/a.db script.py",
        "run -o script.py/a.db script.py",
        "run -o directory script.py",
    ]));
}

#[test]
fn captures_that_cannot_be_read() {
    assert_snapshot!(session(&[
        "flamegraph none.db",
        "table empty.db",
        "tree text.db",
        "summary directory",
        "stats short.db",
        "stats --json none/a.db",
    ]));
}

/// Nobody may record, but the message says what it takes.
#[test]
fn recording_without_privilege() {
    let folder = folder();
    // Both must be within reach of a user who may not enter our home.
    let binary = folder.path().join("memray");
    fs::copy(memray_binary(), &binary).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(binary);
    command
        .args(["run", "--python", "/usr/bin/python3", "-o", "a.db", "script.py"])
        .current_dir(folder.path());
    if Uid::effective().is_root() {
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY);
    }
    // Whether tracefs is mounted is the machine's affair.
    let text = transcript(&command.stdin(Stdio::null()).output().unwrap());
    assert_snapshot!(text.replace(", CAP_SYS_ADMIN", "").replace(",cap_sys_admin", ""));
    assert!(!folder.path().join("a.db").exists());
}
