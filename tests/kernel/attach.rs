//! `memray attach` on a program that has run for a while: whole stacks from the first event on, no trouble with
//! memory from before, exact figures.

use memray_tests::{Attach, Capture, Python, Script, Target, capture::Row};

/// Sizes of `attached.py`.
pub(super) fn is_known(size: i64) -> bool {
    (1_234_500..1_234_700).contains(&size) || [401 * 4096, 809 * 4096, 907 * 4096].contains(&size)
}

/// Frames of a thread of Python's module.
const THREAD: &str =
    "Thread._bootstrap (threading.py) > Thread._bootstrap_inner (threading.py) > Thread.run (threading.py)";

fn descended(depth: usize) -> String {
    format!("{}descend@bottom", "descend@deeper > ".repeat(depth))
}

/// What the main thread of `attached.py` has called when it reads lines.
pub(super) fn in_main_thread(row: &str) -> String {
    let (head, frames) = row.split_once(": ").unwrap();
    format!(
        "{head}: <module>@start > {} > obey@obey > {frames}",
        descended(200)
    )
}

/// What `attached.py` allocates when it is told to.
pub(super) fn allocated() -> [String; 5] {
    let [first, second] = [("first", 5), ("second", 60)].map(|(name, depth)| {
        format!(
            "malloc live [{name} worker]: {THREAD} > {} > Worker.serve@request > \
             allocate.<locals>.<lambda>@by the {name}",
            descended(depth)
        )
    });
    [
        in_main_thread("1234577 malloc live: allocate@by main"),
        format!("1234579 {first}"),
        format!("1234587 {second} > <genexpr>@started > generate@in a generator"),
        format!("1234581 {first} again"),
        in_main_thread("1234583 malloc freed: allocate@freed"),
    ]
}

fn expect(capture: &Capture, rows: &[Row], expected: &[String]) {
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    capture.expect(rows, &expected);
}

fn attached(python: &Python) -> Target {
    Target::script(python, &Script::new("attached.py"), &[])
}

#[test]
fn threads_that_are_deep_in_calls() {
    Python::each(|python| {
        let mut target = attached(python);
        let attachment = Attach::to(&target).start();
        target.obey("allocate");
        let capture = attachment.finish();
        expect(&capture, &capture.rows(is_known), &allocated());
        assert_eq!(target.end(), ended(0), "{}", capture.name());
    });
}

/// An end at which the program says so.
fn ended(status: i32) -> memray_tests::target::Ended {
    memray_tests::target::Ended {
        status,
        rest: vec!["end".to_owned()],
    }
}

/// Blocks and pages from before are unknown when they end, and nothing is wrong with that. A block that is moved is a
/// new one; pages that are moved stay unknown, since nothing tells whether they were of a file.
#[test]
fn memory_from_before() {
    for python in &[8, 12].map(Python::of_pyenv) {
        let mut target = attached(python);
        let attachment = Attach::to(&target).start();
        target.obey("free");
        let capture = attachment.finish();
        let expected = [in_main_thread("1234591 realloc freed: free_before@moved")];
        expect(&capture, &capture.rows(is_known), &expected);
        let unknown = capture.number("SELECT SUM(events) FROM losses WHERE reason = 'free_of_unknown'");
        // Twenty blocks, one that was moved, and one that could not be.
        assert!(unknown >= Some(22), "{}: {unknown:?}", capture.name());
        assert_eq!(target.end(), ended(0), "{}", capture.name());
    }
}

#[test]
fn leaks_and_temporary_allocations() {
    for python in &[8, 12].map(Python::of_pyenv) {
        let mut target = attached(python);
        let attachment = Attach::to(&target).start();
        target.obey("leak");
        target.obey("temporary");
        let capture = attachment.finish();
        check_view(
            &capture,
            "leaks",
            &[
                in_main_thread("12345930 10: leak@ten"),
                in_main_thread("1234595 1: leak@one"),
            ],
        );
        check_view(
            &capture,
            "temporary",
            &[in_main_thread("8642179 7: temporary@pairs")],
        );
    }
}

/// Rows of a view as `bytes allocations: stack`.
fn check_view(capture: &Capture, view: &str, expected: &[String]) {
    let sql =
        format!("SELECT stack_id, bytes, allocations FROM {view} WHERE bytes > 1234000 ORDER BY stack_id");
    let rows: Vec<String> = capture
        .query(&sql)
        .iter()
        .map(|row| {
            let (stack_id, figures) = row.split_once(' ').unwrap();
            format!("{figures}: {}", capture.stack_text(stack_id.parse().unwrap()))
        })
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    capture.expect_lines(&rows, &expected);
}

/// What was made before its end in the recording is not in the recording of the next.
#[test]
fn one_recording_after_another() {
    let python = Python::of_pyenv(12);
    let mut target = attached(&python);
    for round in 0..3 {
        let attachment = Attach::to(&target).start();
        target.obey("leak");
        let capture = attachment.finish();
        target.obey("leak");
        assert_eq!(capture.rows(is_known).len(), 11, "round {round}");
    }
    assert_eq!(target.end(), ended(0));
}

#[test]
fn several_processes_in_one_capture() {
    let pythons = [9, 12].map(Python::of_pyenv);
    let mut targets = pythons.each_ref().map(attached);
    let attachment = Attach::to(&targets[0]).and(&targets[1]).start();
    for target in &mut targets {
        target.obey("leak");
    }
    let capture = attachment.finish();
    let pids = targets.each_ref().map(|target| i64::from(target.pid()));
    let processes = capture.query(
        "SELECT pid, origin, substr(python_version, 1, 4), ifnull(parent_process_id, 'none'),
                ifnull(ended_ns, 'runs'), ifnull(exit_status, 'runs')
         FROM processes ORDER BY process_id",
    );
    let expected = [
        format!("{} attached 3.9. none runs runs", pids[0]),
        format!("{} attached 3.12 none runs runs", pids[1]),
    ];
    assert_eq!(processes, expected);
    let rows = capture.query(
        "SELECT processes.pid, size, COUNT(*) FROM allocations JOIN processes USING (process_id)
         WHERE size IN (1234593, 1234595) GROUP BY process_id, size ORDER BY process_id, size",
    );
    let expected: Vec<String> = pids
        .iter()
        .flat_map(|pid| [format!("{pid} 1234593 10"), format!("{pid} 1234595 1")])
        .collect();
    assert_eq!(rows, expected);
    for target in targets {
        assert_eq!(target.end(), ended(0));
    }
}
