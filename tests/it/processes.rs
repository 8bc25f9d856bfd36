//! Reports of a capture with several processes: all of them, those of one pid, and a pid that is not there.

use std::{fs, path::Path, process::Stdio};

use memray_tests::{memray, transcript};
use memray_user::{
    model::{
        Allocator, Batch, FrameKind, FrameRow, LiveRow, ProcessOrigin, ProcessRow, SiteRow, StackRow,
        StateRow, ThreadRow,
    },
    store::{CaptureWriter, Overwrite, meta_key},
};
use rusqlite::Connection;
use tempfile::TempDir;

const REPORTS: [&str; 6] = [
    "stats",
    "summary",
    "tree",
    "table -o -",
    "flamegraph -o -",
    "flamegraph --format svg -o -",
];

/// A shell that became a Python, which forked a worker; once both had ended, the pid of the first came again. Each held
/// a block of a size of its own.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut writer = CaptureWriter::create(&path, Overwrite::Refuse, None).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    folder
}

fn batch() -> Batch {
    let process = |process_id, pid, origin, parent_process_id, command_line: &str| ProcessRow {
        process_id,
        pid,
        parent_process_id,
        command_line: command_line.to_owned(),
        executable: "/usr/bin/env".to_owned(),
        python_version: "3.12.1".to_owned(),
        started_ns: u64::from(process_id) * 1_000_000_000,
        ended_ns: Some(u64::from(process_id + 1) * 1_000_000_000),
        origin,
        ..ProcessRow::default()
    };
    let ids = 1..=4;
    let bytes = |id: u32| 1000 * u64::from(id * id) + 1;
    Batch {
        processes: vec![
            process(1, 500, ProcessOrigin::Launched, None, "/bin/sh start.sh"),
            process(2, 500, ProcessOrigin::Executed, Some(1), "python3 app.py"),
            process(3, 501, ProcessOrigin::Forked, Some(2), "python3 app.py"),
            process(4, 500, ProcessOrigin::Attached, None, "python3 other.py"),
        ],
        threads: (ids.clone())
            .map(|id| ThreadRow {
                thread_id: id,
                process_id: id,
                tid: 500,
                name: String::new(),
            })
            .collect(),
        frames: vec![FrameRow {
            frame_id: 1,
            function: "main".to_owned(),
            file: "app.py".to_owned(),
            line: 3,
            kind: FrameKind::Python,
        }],
        stacks: vec![StackRow {
            stack_id: 1,
            parent_id: None,
            frame_id: 1,
            depth: 1,
        }],
        sites: (ids.clone())
            .map(|id| SiteRow {
                site_id: id,
                stack_id: 1,
                thread_id: id,
                allocator: Allocator::Malloc,
                alloc_count: 1,
                alloc_bytes: bytes(id),
                live_count: 1,
                live_bytes: bytes(id),
                temp_count: 0,
                temp_bytes: 0,
                peak_count: 1,
                peak_bytes: bytes(id),
                peak_epoch: 0,
            })
            .collect(),
        live_added: (ids.clone())
            .map(|id| LiveRow {
                allocation_id: u64::from(id),
                alloc_ts: 0,
                size: bytes(id),
                stack_id: 1,
                thread_id: id,
                allocator: Allocator::Malloc,
                address: 0x1000,
            })
            .collect(),
        states: ids
            .map(|id| StateRow {
                process_id: id,
                alloc_count: 1,
                alloc_bytes: bytes(id),
                live_count: 1,
                live_bytes: bytes(id),
                peak_count: 1,
                peak_bytes: bytes(id),
                min_size: bytes(id),
                max_size: bytes(id),
                ..StateRow::default()
            })
            .collect(),
        meta: vec![(meta_key::STARTED_AT_MS.to_owned(), "1767323045678".to_owned())],
        ..Batch::default()
    }
}

fn run(folder: &Path, line: &str) -> String {
    let mut command = memray(folder);
    command.args(line.split(' ')).stdin(Stdio::null());
    transcript(&command.output().unwrap())
}

#[test]
fn the_whole_tree_or_one_pid() {
    let folder = folder();
    let mut text = String::new();
    for line in [
        "tree c.db",
        "tree --process 500 c.db",
        "tree --process 501 c.db",
        "summary --process 501 c.db",
        "stats -n 1 --process 501 c.db",
        "flamegraph --format folded --process 500 -o - c.db",
    ] {
        text.extend(["$ memray ", line, "\n", &run(folder.path(), line), "\n"]);
    }
    insta::assert_snapshot!(text);
}

/// What a block's size looks like in each report.
#[test]
fn every_report_knows_one_process() {
    let folder = folder();
    for report in REPORTS {
        let all = run(folder.path(), &format!("{report} c.db"));
        let one = run(folder.path(), &format!("{report} --process 501 c.db"));
        assert!(all.starts_with("exit status: 0\n") && one.starts_with("exit status: 0\n"));
        let has_size = |text: &str, bytes: &str, size: &str| {
            text.contains(bytes) || text.contains(size) || text.contains(&bytes.replace(',', ""))
        };
        assert!(has_size(&one, "9,001", "9.001kB"), "{report}: {one}");
        for (bytes, size) in [("1,001", "1.001kB"), ("4,001", "4.001kB"), ("16,001", "16.001kB")] {
            assert!(!has_size(&one, bytes, size), "{report}: {one}");
        }
        assert!(all.contains("sh start.sh"), "{report}: {all}");
        assert!(!one.contains("start.sh"), "{report}: {one}");
    }
}

#[test]
fn files_are_named_after_the_process() {
    let folder = folder();
    for (line, expect) in [
        (
            "flamegraph --process 501 c.db",
            "memray-flamegraph-c.pid-501.html",
        ),
        ("table --process 501 c.db", "memray-table-c.pid-501.html"),
        (
            "stats --json --process 501 c.db",
            "memray-stats-c.db.pid-501.json",
        ),
    ] {
        assert_eq!(
            run(folder.path(), line),
            format!("exit status: 0\n--- stdout\nWrote {expect}\n"),
            "{line}"
        );
        assert!(fs::metadata(folder.path().join(expect)).unwrap().len() > 100);
    }
}

#[test]
fn a_pid_that_is_not_there() {
    let folder = folder();
    for report in REPORTS
        .iter()
        .chain(&["stats --json -o report", "flamegraph --format folded -o -"])
    {
        assert_eq!(
            run(folder.path(), &format!("{report} --process 7 c.db")),
            "exit status: 1\n--- stderr\nerror: the capture has no process with pid `7`\nhint: name one of its processes \
             with `--process`: 500 and 501\n",
            "{report}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// The examples of the documentation are answered, each by as many rows as this capture must give.
#[test]
fn documented_queries() {
    let folder = folder();
    let capture = Connection::open(folder.path().join("c.db")).unwrap();
    let page = include_str!("../../docs/concepts/processes.md");
    let examples = page
        .split_once("```sql\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    // Its names for what this capture has.
    let examples = examples
        .replace("parent_process_id = 1\n", "parent_process_id = 2\n")
        .replace("pid = 701 AND size > 1000000", "pid = 500 AND size > 4000");
    let counts: Vec<usize> = examples
        .split_terminator(";\n")
        .map(|query| {
            let mut statement = capture.prepare(query).unwrap();
            let mut rows = statement.query([]).unwrap();
            let mut count = 0;
            while rows.next().unwrap().is_some() {
                count += 1;
            }
            count
        })
        .collect();
    assert_eq!(counts, [4, 1, 2, 4]);
}
