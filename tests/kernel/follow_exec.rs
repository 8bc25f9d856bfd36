//! A process that executes another program goes on as a new life of the same process, whether children are followed
//! or not.

use memray_tests::{
    Attach, Capture, Compiled, Python, Script, Target,
    behavior::{for_each_case, usual_python, wait_until},
};
use rusqlite::{Connection, OpenFlags};

use super::families::{CALLER, attached, expect, process, processes, recorded, recorded_with, statuses};

/// Each interpreter and the one after it.
fn pairs() -> Vec<(Python, Python)> {
    let all = Python::all();
    let next = all.iter().cycle().skip(1);
    all.iter().cloned().zip(next.cloned()).collect()
}

fn check(capture: &Capture, origin: &str, python: &Python, other: &Python) {
    expect(
        capture,
        &[
            process(1, origin, python, None),
            process(2, "executed", other, Some(1)),
            format!("1 1234761 malloc live: {CALLER} > execute@before exec"),
            "2 1234763 malloc live: <module> (child.py)".to_owned(),
        ],
    );
    let pids = capture.query("SELECT COUNT(DISTINCT pid) FROM processes");
    assert_eq!(pids, ["1"], "{}", capture.name());
    let overlaps = "SELECT COUNT(*) FROM processes AS life JOIN processes AS before
        ON before.process_id = life.parent_process_id WHERE before.ended_ns > life.started_ns";
    assert_eq!(capture.number(overlaps), Some(0), "{}", capture.name());
}

#[test]
fn of_another_python() {
    for_each_case(&pairs(), |(python, other)| {
        let words = ["execute", other.program.to_str().unwrap()];
        let capture = recorded(python, &[], &words);
        check(&capture, "launched", python, other);
        assert_eq!(statuses(&capture), ["1 NULL", "2 7"], "{}", capture.name());
    });
}

#[test]
fn of_another_python_when_attached() {
    for_each_case(&pairs(), |(python, other)| {
        let words = ["execute", other.program.to_str().unwrap()];
        let capture = attached(python, &words, |attach| attach.tolerates("program_late"));
        check(&capture, "attached", python, other);
    });
}

/// A program that the kernel cannot tie to the process in time is seen whole, or its lateness is counted.
fn expect_other_thread(capture: &Capture, origin: &str) {
    let late = "SELECT SUM(events) FROM losses WHERE reason = 'program_late'";
    let mut expected = vec![process(1, origin, usual_python(), None)];
    let is_late = capture.number(late).is_some();
    if processes(capture).len() == 2 || !is_late {
        expected.push(process(2, "executed", &Python::of_pyenv(10), Some(1)));
    }
    assert_eq!(processes(capture), expected);
    let blocks = [1_234_765, 1_234_767].map(|wanted| capture.rows(|size| size == wanted).len());
    assert!(
        blocks == [1, 1] || is_late && blocks == [1, 0],
        "{blocks:?}, late: {is_late}"
    );
}

#[test]
fn from_another_thread_than_the_first() {
    let other = Python::of_pyenv(10).program;
    let words = ["execute_in_a_thread", other.to_str().unwrap()];
    for options in [&[] as &[&str], &["--follow-fork"]] {
        let capture = recorded_with(usual_python(), options, &words, |recording| {
            recording.tolerates("program_late")
        });
        expect_other_thread(&capture, "launched");
    }
    let capture = attached(usual_python(), &words, |attach| attach.tolerates("program_late"));
    expect_other_thread(&capture, "attached");
}

/// However late it is noticed, a program that goes on is recorded from then on.
#[test]
fn from_another_thread_than_the_first_and_for_long() {
    let (python, other) = (usual_python(), Python::of_pyenv(10));
    let script = Script::new("families.py");
    let mut command = python.command();
    command
        .arg(&script.path)
        .args(["execute_in_a_thread", other.program.to_str().unwrap()])
        .arg(Script::new("attached.py").path)
        .arg("wait");
    let mut target = Target::start(command, python, Some(&script));
    let attachment = Attach::to(&target).tolerates("program_late").start();
    target.tell("go on");
    assert_eq!(target.answer(), "ready");
    let count = || -> Option<u32> {
        let capture =
            Connection::open_with_flags(attachment.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let sql = "SELECT COUNT(*) FROM allocations WHERE process_id = 2 AND size = 1234593";
        capture.query_row(sql, [], |row| row.get(0)).ok()
    };
    wait_until("a block of the second program", || {
        target.obey("leak");
        (count()? > 0).then_some(())
    });
    let capture = attachment.finish();
    let expected = [
        process(1, "attached", python, None),
        process(2, "executed", &other, Some(1)),
    ];
    assert_eq!(processes(&capture), expected);
    assert_eq!(target.end().status, 0);
}

/// What it allocates is recorded as that of any program.
#[test]
fn of_a_program_that_is_no_python() {
    let program = Compiled::program("child.c");
    let python = usual_python();
    let words = ["execute", program.path().to_str().unwrap()];
    let expected = |origin: &str| {
        [
            process(1, origin, python, None),
            "2 executed compiled none < 1".to_owned(),
            format!("1 1234761 malloc live: {CALLER} > execute@before exec"),
            "2 1234763 malloc live [compiled]: <no Python frames> (marker)".to_owned(),
        ]
    };
    expect(&recorded(python, &[], &words), &expected("launched"));
    let capture = attached(python, &words, |attach| attach.tolerates("program_late"));
    expect(&capture, &expected("attached"));
}

/// Every interpreter in one process, each executing the next.
#[test]
fn of_every_python_in_turn() {
    let all = Python::all();
    let programs: Vec<&str> = all[1..]
        .iter()
        .map(|python| python.program.to_str().unwrap())
        .collect();
    let words = [&["execute_many"], programs.as_slice()].concat();
    let capture = recorded(&all[0], &[], &words);
    let mut expected = vec![process(1, "launched", &all[0], None)];
    for (number, python) in (2..).zip(&all[1..]) {
        expected.push(process(number, "executed", python, Some(number - 1)));
    }
    assert_eq!(processes(&capture), expected);
    let blocks = capture.query(
        "SELECT process_id, COUNT(*) FROM allocations WHERE size = 1234769 GROUP BY process_id ORDER BY process_id",
    );
    let expected: Vec<String> = (1..=all.len()).map(|number| format!("{number} 1")).collect();
    assert_eq!(blocks, expected);
}

/// The program that takes its place fails before it has begun.
#[test]
fn that_fails_changes_nothing() {
    let python = usual_python();
    let capture = recorded(python, &[], &["execute", "/nonexistent"]);
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            format!("1 1234761 malloc live: {CALLER} > execute@before exec"),
        ],
    );
}
