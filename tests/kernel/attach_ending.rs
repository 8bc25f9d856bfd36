//! How a recording by `memray attach` ends, by memray or by the program, and that the program is as before.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use memray_tests::{
    Attach, Capture, Python, Script, Target,
    behavior::{ending, folder_with, run_with_input, wait_until},
    memray,
    probed::changed_bytes,
    target::{Ended, process_id},
    transcript,
};
use nix::sys::signal::{Signal, kill};
use rusqlite::{Connection, OpenFlags};

use super::attach::{in_main_thread, is_known};

fn attached() -> Target {
    Target::script(&Python::of_pyenv(12), &Script::new("attached.py"), &[])
}

/// The allocation that the program makes before it ends.
fn expect_last(capture: &Capture, row: &str) {
    let rows = capture.rows(is_known);
    capture.expect(&rows, &[&in_main_thread(row)]);
}

/// The end of the process, as the capture has it.
fn exit_status(capture: &Capture) -> Vec<String> {
    capture.query("SELECT ended_ns IS NOT NULL, exit_status FROM processes")
}

#[test]
fn signals_to_memray() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut target = attached();
        let attachment = Attach::to(&target).start();
        target.obey("leak");
        attachment.signal(signal);
        let capture = attachment.wait();
        assert_eq!(capture.rows(is_known).len(), 11, "{signal}");
        assert_eq!(exit_status(&capture), ["0 NULL"], "{signal}");
        target.obey("leak");
        let ended = target.end();
        assert_eq!(
            (ended.status, ended.rest),
            (0, vec!["end".to_owned()]),
            "{signal}"
        );
    }
}

#[test]
fn the_end_of_a_duration() {
    let mut target = attached();
    let attachment = Attach::to(&target).option("--duration").option("2").start();
    let start = Instant::now();
    target.obey("leak");
    let capture = attachment.wait();
    assert_eq!(capture.rows(is_known).len(), 11);
    // The time counts from when the probes are in.
    assert!(
        start.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(target.end().status, 0);
}

/// Where the capture goes when nobody says so, and what is said.
#[test]
fn without_options() {
    let target = attached();
    let folder = folder_with(&[]);
    let pid = target.pid().to_string();
    let attach = |options: &[&str]| {
        let mut command = memray(folder.path());
        command.args(["attach", "--duration", "0.2"]).args(options);
        run_with_input(command, b"")
    };
    let output = attach(&[&pid]);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}: {output:?}")
    };
    assert!(
        name.starts_with(&format!("memray-{pid}.")) && name.split('.').count() == 3,
        "{name}"
    );
    assert!(ending(&folder.path().join(name)).finished);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with(&format!("Recording process {pid} ")) && said.contains(name.as_str()),
        "{said}"
    );
    assert_eq!(output.stdout, b"");

    let output = attach(&["--quiet", "--force", "--output", name, &pid]);
    assert_eq!(transcript(&output), "exit status: 0\n");
    assert!(ending(&folder.path().join(name)).finished);
    assert_eq!(target.end().status, 0);
}

#[test]
fn detach_from_another_shell() {
    let mut target = attached();
    let attachment = Attach::to(&target).start();
    target.obey("leak");
    let output = memray(Path::new("/"))
        .args(["detach", &target.pid().to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // It comes back when the capture is complete.
    let capture = Connection::open_with_flags(attachment.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let finished: String = capture
        .query_row("SELECT value FROM meta WHERE key = 'finished'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(finished, "1");
    drop(capture);
    let capture = attachment.wait();
    assert_eq!(capture.rows(is_known).len(), 11);
    assert_eq!(target.end().status, 0);
}

#[test]
fn the_program_ends() {
    for (request, row, status) in [
        ("leave", "1234603 malloc live: leave@leave", 7),
        ("kill", "1234605 malloc live: kill@kill", 128 + 9),
        ("crash", "1234601 malloc live: crash@crash", 128 + 11),
    ] {
        let mut target = attached();
        let attachment = Attach::to(&target).start();
        target.tell(request);
        let capture = attachment.wait();
        expect_last(&capture, row);
        assert_eq!(exit_status(&capture), [format!("1 {status}")], "{request}");
        assert_eq!(target.ended().status, status, "{request}");
    }
}

/// One of two goes; the recording goes on until the other has gone too.
#[test]
fn the_last_program_ends() {
    let mut targets = [attached(), attached()];
    let attachment = Attach::to(&targets[0]).and(&targets[1]).start();
    targets[0].tell("leave");
    let [first, mut second] = targets;
    assert_eq!(first.ended().status, 7);
    second.obey("leak");
    assert_eq!(second.end().status, 0);
    let capture = attachment.wait();
    let processes = capture.query(
        "SELECT COUNT(*), ended_ns IS NOT NULL FROM allocations JOIN processes USING (process_id)
         WHERE size IN (1234593, 1234595, 1234603)
         GROUP BY process_id ORDER BY process_id",
    );
    assert_eq!(processes, ["1 1", "11 1"]);
}

#[test]
fn memray_is_killed() {
    let mut target = attached();
    let attachment = Attach::to(&target).start();
    target.obey("leak");
    let count = |path: &Path| -> Option<u32> {
        let capture = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let sql = "SELECT COUNT(*) FROM allocations WHERE size IN (1234593, 1234595)";
        capture.query_row(sql, [], |row| row.get(0)).ok()
    };
    wait_until("a commit with all blocks", || {
        (count(attachment.path()) == Some(11)).then_some(())
    });
    let killed = attachment.killed();
    for request in ["leak", "allocate", "free"] {
        target.obey(request);
    }
    assert_eq!(count(&killed.path), Some(11));
    let expected = Ended {
        status: 0,
        rest: vec!["end".to_owned()],
    };
    assert_eq!(target.end(), expected);
}

/// A program that was attached to can be recorded, stopped and ended like any other.
#[test]
fn nothing_of_memray_stays_in_the_program() {
    let target = attached();
    let facts = || {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", target.pid())).unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", target.pid()))
            .unwrap()
            .count();
        let status = read("status");
        let lines = status.lines().filter(|line| {
            [
                "State",
                "TracerPid",
                "Threads",
                "SigPnd",
                "ShdPnd",
                "SigBlk",
                "SigIgn",
                "SigCgt",
            ]
            .iter()
            .any(|name| line.starts_with(name))
        });
        (lines.collect::<Vec<_>>().join("\n"), descriptors, read("environ"))
    };
    let before = facts();
    let attachment = Attach::to(&target).start();
    // Only the instructions under probes differ while it lasts.
    assert_eq!(facts(), before);
    assert_ne!(changed_bytes(target.pid()), 0);
    let _capture = attachment.finish();
    assert_eq!(facts(), before);
    kill(process_id(target.pid()), Signal::SIGSTOP).unwrap();
    kill(process_id(target.pid()), Signal::SIGCONT).unwrap();
    assert_eq!(target.end().status, 0);
}
