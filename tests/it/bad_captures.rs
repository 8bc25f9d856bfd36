//! Every report command meets every kind of file that is no capture: one clear error each, the same from all, and no
//! report.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use memray_tests::{behavior::names, memray, memray::memray_binary, transcript};
use memray_user::{
    model::Batch,
    store::{CaptureWriter, Overwrite},
};
use nix::unistd::Uid;
use rusqlite::Connection;
use tempfile::TempDir;

const REPORTS: [&str; 8] = [
    "stats",
    "stats --json -o report",
    "summary",
    "tree",
    "table -o report",
    "flamegraph -o report",
    "flamegraph --format svg -o report",
    "flamegraph --format folded -o -",
];

/// A folder with a capture without allocations at `good.db`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = CaptureWriter::create(&folder.path().join("good.db"), Overwrite::Refuse, None).unwrap();
    writer.write(&Batch::default()).unwrap();
    writer.finish().unwrap();
    folder
}

/// What all reports say of the file, which must be the same.
fn message(folder: &Path, name: &str) -> String {
    let before = names(folder);
    let mut messages: Vec<String> = REPORTS
        .iter()
        .map(|report| {
            let mut command = memray(folder);
            command.args(report.split(' ')).arg(name).stdin(Stdio::null());
            transcript(&command.output().unwrap())
        })
        .collect();
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert_eq!(names(folder), before, "{name}");
    messages.remove(0)
}

#[test]
fn files_that_are_no_captures() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let good = fs::read(path("good.db")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(path(name), bytes).unwrap();
    write("empty.db", b"");
    write("text.db", b"not a capture\n");
    write("short.db", &good[..100]);
    write("half.db", &good[..8192]);
    write(
        "noise.db",
        &[&good[..4096], &vec![0xa5; good.len() - 4096]].concat(),
    );
    write(
        "memray.bin",
        b"memray\0\x0d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    write("newer.db", &good);
    let newer = Connection::open(path("newer.db")).unwrap();
    newer
        .execute_batch("PRAGMA user_version = 4; UPDATE meta SET value = '4' WHERE key = 'schema_version'")
        .unwrap();
    drop(newer);
    write("tables.db", &good);
    let tables = Connection::open(path("tables.db")).unwrap();
    tables
        .execute_batch("DROP TABLE sites; CREATE TABLE sites(x)")
        .unwrap();
    drop(tables);
    let foreign = Connection::open(path("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(foreign);
    fs::create_dir(path("folder")).unwrap();

    let all = [
        "none.db",
        "none/a.db",
        "empty.db",
        "text.db",
        "short.db",
        "half.db",
        "noise.db",
        "memray.bin",
        "newer.db",
        "tables.db",
        "foreign.db",
        "folder",
        "/dev/null",
    ];
    let messages = all.map(|name| format!("$ memray ... {name}\n{}\n", message(folder.path(), name)));
    let size = format!("of {} bytes", good.len());
    insta::assert_snapshot!(messages.concat().replace(&size, "of [size] bytes"));
}

/// Root may read all, so this is tried as somebody else.
#[test]
fn a_capture_that_may_not_be_read() {
    const NOBODY: u32 = 65534;
    if !Uid::effective().is_root() {
        return;
    }
    let folder = folder();
    fs::copy(memray_binary(), folder.path().join("memray")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder.path().join("good.db"), fs::Permissions::from_mode(0o600)).unwrap();
    for report in REPORTS {
        let mut command = Command::new(folder.path().join("memray"));
        command
            .args(report.split(' '))
            .arg("good.db")
            .current_dir(folder.path());
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        let expected = "exit status: 1\n--- stderr\nerror: cannot read the capture `good.db`\n  caused by: Permission \
                        denied (os error 13)\nhint: read it as its owner, or ask for permission to read it\n";
        assert_eq!(transcript(&output), expected, "{report}");
    }
}

#[test]
fn a_capture_without_allocations_has_every_report() {
    for report in REPORTS {
        let folder = folder();
        let output = memray(folder.path())
            .args(report.split(' '))
            .arg("good.db")
            .output()
            .unwrap();
        let text =
            transcript(&output) + &fs::read_to_string(folder.path().join("report")).unwrap_or_default();
        assert!(
            output.status.success() && (text.len() > 20 || report.contains("folded")),
            "{report}: {text}"
        );
    }
}

#[test]
fn a_report_that_is_there_already() {
    let folder = folder();
    let path = folder.path().join("report");
    for report in REPORTS.iter().filter(|report| report.ends_with("-o report")) {
        fs::write(&path, "older").unwrap();
        let run = |more: &[&str]| {
            let mut command = memray(folder.path());
            transcript(
                &command
                    .args(report.split(' '))
                    .args(more)
                    .arg("good.db")
                    .output()
                    .unwrap(),
            )
        };
        let refused = "exit status: 1\n--- stderr\nerror: `report` exists already\nhint: overwrite it with `--force`, or \
                       name another file with `--output`\n";
        assert_eq!(run(&[]), refused, "{report}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "older", "{report}");
        assert_eq!(
            run(&["-f"]),
            "exit status: 0\n--- stdout\nWrote report\n",
            "{report}"
        );
        assert_ne!(fs::read_to_string(&path).unwrap(), "older", "{report}");
    }
    assert_eq!(names(folder.path()), ["good.db", "report"]);
}
