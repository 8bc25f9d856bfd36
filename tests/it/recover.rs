//! `memray recover` as a user meets it: what it says, how it ends, and what it leaves.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use memray_tests::{behavior::names, memray, memray::memray_binary, transcript};
use memray_user::{
    model::{Batch, FrameKind, FrameRow},
    store::{CaptureWriter, Overwrite},
};
use nix::unistd::Uid;
use rusqlite::Connection;
use tempfile::TempDir;

/// A folder with a finished capture at `good.db`, and at `killed.db` with its log what SIGKILL would have left of it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut writer = CaptureWriter::create(&path("good.db"), Overwrite::Refuse, None).unwrap();
    let frames = (1..=2000).map(|frame_id| FrameRow {
        frame_id,
        function: format!("function {frame_id} with a long name that takes some room"),
        file: "a.py".to_owned(),
        line: frame_id,
        kind: FrameKind::Python,
    });
    writer
        .write(&Batch {
            frames: frames.collect(),
            ..Batch::default()
        })
        .unwrap();
    for suffix in ["", "-wal"] {
        let name = |name: &str| path(&format!("{name}.db{suffix}"));
        fs::copy(name("good"), name("killed")).unwrap();
    }
    writer.finish().unwrap();
    let mut bytes = fs::read(path("good.db")).unwrap();
    let page = bytes.len() / 4096 / 2;
    bytes[4096 * page..4096 * (page + 1)].fill(0xa5);
    fs::write(path("damaged.db"), bytes).unwrap();
    fs::write(path("text.db"), "this is no capture\n").unwrap();
    folder
}

fn run(folder: &Path, line: &str) -> String {
    let mut command = memray(folder);
    command.args(line.split_whitespace()).stdin(Stdio::null());
    format!("$ memray {line}\n{}\n", transcript(&command.output().unwrap()))
}

#[test]
fn what_it_says() {
    let folder = folder();
    let lines = [
        "recover --help",
        "recover",
        "recover -f killed.db",
        "recover none.db",
        "recover text.db",
        "recover good.db",
        "recover killed.db -o copy.db",
        "recover killed.db -o copy.db",
        "recover -f killed.db -o copy.db",
        "recover killed.db -o killed.db -f",
        "recover killed.db -o none/copy.db",
        "recover killed.db",
        "recover killed.db",
        "recover damaged.db",
        "recover damaged.db -o saved.db",
        "tree saved.db",
    ];
    let text = lines.map(|line| run(folder.path(), line)).concat();
    // Where a page lies is the schema's affair.
    insta::with_settings!({filters => vec![(r"Tree \d+ page \d+", "Tree N page N")]}, {
        insta::assert_snapshot!(text);
    });
    assert_eq!(
        names(folder.path()),
        [
            "copy.db",
            "damaged.db",
            "good.db",
            "killed.db",
            "saved.db",
            "text.db"
        ]
    );
}

#[test]
fn recovered_captures_are_whole() {
    let folder = folder();
    run(folder.path(), "recover killed.db -o copy.db");
    run(folder.path(), "recover damaged.db -o saved.db");
    let frames = |name: &str| -> i64 {
        let capture = Connection::open(folder.path().join(name)).unwrap();
        let sound: String = capture
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok", "{name}");
        capture
            .query_row("SELECT count(*) FROM frames", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((frames("good.db"), frames("copy.db")), (2000, 2000));
    // A page of some 4 KB holds as many as this.
    let saved = frames("saved.db");
    assert!((1900..2000).contains(&saved), "{saved}");
}

/// Somebody who may not write to the folder of a killed capture is led to a copy of their own.
#[test]
fn a_capture_in_a_folder_of_somebody_else() {
    const NOBODY: u32 = 65534;
    if !Uid::effective().is_root() {
        return;
    }
    let folder = folder();
    let own = tempfile::tempdir().unwrap();
    fs::copy(memray_binary(), own.path().join("memray")).unwrap();
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    for name in ["killed.db", "killed.db-wal"] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o444)).unwrap();
    }
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(own.path().join("memray"));
        command
            .args(words)
            .arg(folder.path().join("killed.db"))
            .current_dir(own.path());
        transcript(&command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    let refused = as_nobody(&["stats"]);
    assert!(
        refused.starts_with("exit status: 1\n") && refused.contains("memray recover --output"),
        "{refused}"
    );
    let refused = as_nobody(&["recover"]);
    assert!(
        refused.starts_with("exit status: 1\n") && refused.contains("--output"),
        "{refused}"
    );
    assert_eq!(
        as_nobody(&["recover", "-o", "copy.db"]),
        "exit status: 0\n--- stdout\nWrote copy.db\n"
    );
}
