//! memray is killed while the program runs: the program goes on as if nothing had been, and the capture is good.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::Stdio,
};

use memray_tests::{
    behavior::{ending, folder_with, memray_run, wait_until},
    memray,
    probed::changed_bytes,
    program,
    target::process_id,
    transcript,
};
use nix::sys::{
    prctl,
    wait::{WaitStatus, waitpid},
};
use rusqlite::{Connection, OpenFlags};

const BLOCK_BYTES: u32 = 1_234_577;

/// Blocks that the capture has while it is written.
fn blocks_in(capture: &Path) -> Option<u32> {
    let capture = Connection::open_with_flags(capture, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let sql = "SELECT count(*) FROM allocations WHERE size BETWEEN ?1 AND ?1 + 100";
    capture.query_row(sql, [BLOCK_BYTES], |row| row.get(0)).ok()
}

fn only_child(pid: u32) -> u32 {
    wait_until("the program", || {
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .ok()?
            .trim()
            .parse()
            .ok()
    })
}

#[test]
fn the_program_runs_on_and_the_capture_can_be_read() {
    // The program's end comes to us when memray is gone.
    prctl::set_child_subreaper(true).unwrap();
    let folder = folder_with(&[]);
    let capture = folder.path().join("c.db");
    let script = program("on_request.py");
    let mut memray_process = memray_run(folder.path(), &[script.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = memray_process.stdin.take().unwrap();
    let mut answers = BufReader::new(memray_process.stdout.take().unwrap());
    let mut request = |number: u32| {
        requests.write_all(b"x\n").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("block {number}\n"));
    };
    (1..=20).for_each(&mut request);
    let pid = only_child(memray_process.id());
    wait_until("a commit with all blocks", || {
        (blocks_in(&capture) == Some(20)).then_some(())
    });
    assert_ne!(changed_bytes(pid), 0);

    memray_process.kill().unwrap();
    memray_process.wait().unwrap();
    wait_until("the probes to go", || (changed_bytes(pid) == 0).then_some(()));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    (21..=25).for_each(&mut request);
    drop(requests);
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end after 25 blocks\n");
    let pid = process_id(pid);
    assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 0));

    assert_eq!(blocks_in(&capture), Some(20));
    let ending = ending(&capture);
    assert!(!ending.finished && ending.exit_status.is_none(), "{ending:?}");
    check_reports(folder.path());
}

/// Every report works and says what is wrong.
fn check_reports(folder: &Path) {
    const NOTICE: &str = "This capture is not finished";
    for line in [
        "stats c.db",
        "summary c.db",
        "tree c.db",
        "flamegraph --format folded -o - c.db",
    ] {
        let output = memray(folder).args(line.split(' ')).output().unwrap();
        let text = transcript(&output);
        assert!(output.status.success() && text.contains(NOTICE), "{line}: {text}");
        assert!(
            line.starts_with("stats") || text.contains("on_request.py"),
            "{line}: {text}"
        );
    }
    for line in [
        "stats --json -o r c.db",
        "table -o r c.db",
        "flamegraph -o r c.db",
        "flamegraph --format svg -o r c.db",
    ] {
        let output = memray(folder).args(line.split(' ')).arg("-f").output().unwrap();
        let text = transcript(&output) + &fs::read_to_string(folder.join("r")).unwrap();
        assert!(
            output.status.success()
                && (text.contains("not finished") || text.contains("\"finished\": false")),
            "{line}: {text}"
        );
    }
}
