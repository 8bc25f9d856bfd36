//! Programs that end at once: nothing of them is lost, and every name is there.

use memray_tests::{Python, Recording};

/// Recordings of each way to end on each interpreter.
const REPETITIONS: usize = 4;

const ALLOCATE: &str = "\
import os
class Short:
    def lived(self):
        return bytes(1234544)  # and 33 bytes around them
def größe(depth):
    return größe(depth - 1) if depth else Short().lived()
kept = größe(3)
";

fn check(python: &Python, end: &str, status: i32) {
    let capture = Recording::code(python, &format!("{ALLOCATE}{end}\n"))
        .ends_with(status)
        .run();
    let name = capture.name();
    let rows = capture.rows(|size| size == 1_234_577);
    assert_eq!(rows.len(), 1, "{name}: {rows:?}");
    assert!(
        rows[0].free_ts.is_none() && rows[0].thread == "MainThread",
        "{name}: {rows:?}"
    );

    let stack = capture.stack(rows[0].stack_id);
    let found: Vec<String> = stack
        .iter()
        .map(|frame| format!("{}:{}", frame.function, frame.line))
        .collect();
    let method = if python.has_qualified_names() {
        "Short.lived:4"
    } else {
        "lived:4"
    };
    let expected = ["<module>:7", "größe:6", "größe:6", "größe:6", "größe:6", method];
    assert_eq!(found, expected, "{name}");
    assert!(
        stack.iter().all(|frame| frame.file == "<string>"),
        "{name}: {stack:?}"
    );

    let status = i64::from(status);
    assert_eq!(
        capture.number("SELECT exit_status FROM processes"),
        Some(status),
        "{name}"
    );
    let unnamed = "SELECT COUNT(*) FROM frames WHERE function LIKE '<unknown%' OR kind = 'marker'";
    assert_eq!(capture.number(unnamed), Some(0), "{name}: frames without a name");
}

#[test]
fn programs_that_exit_at_once() {
    Python::each(|python| {
        for _ in 0..REPETITIONS {
            check(python, "os._exit(7)", 7);
        }
    });
}

#[test]
fn programs_that_kill_themselves_at_once() {
    Python::each(|python| {
        for _ in 0..REPETITIONS {
            check(python, "os.kill(os.getpid(), 9)", 128 + 9);
        }
    });
}
