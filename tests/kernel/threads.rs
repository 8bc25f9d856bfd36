//! Threads: their names, and their stacks with and without the GIL, known to Python or not.

use memray_tests::{Capture, Compiled, Python, Recording, Script, capture::Row};
use serde::Deserialize;

/// What `known_threads.py` says of one allocation: size, name of the thread, stack.
#[derive(Debug, Deserialize)]
pub(super) struct Noted(pub(super) i64, pub(super) String, Vec<(String, String, u32)>);

/// What a stack without Python frames shows.
const NO_PYTHON: &str = "<no Python frames>";

/// The noted allocations and their rows, in order of size.
pub(super) fn rows(capture: &Capture) -> Vec<(Noted, Row)> {
    let name = capture.name();
    let mut noted: Vec<Noted> = serde_json::from_str(capture.stdout.lines().last().unwrap()).unwrap();
    assert!(noted.len() > 35, "{name}: {} allocations", noted.len());
    noted.sort_by_key(|&Noted(size, ..)| size);
    let mut rows = capture.rows(|size| noted.iter().any(|&Noted(noted, ..)| size == noted));
    rows.sort_by_key(|row| row.size);
    let found: Vec<i64> = rows.iter().map(|row| row.size).collect();
    let sizes: Vec<i64> = noted.iter().map(|&Noted(size, ..)| size).collect();
    assert_eq!(found, sizes, "{name}");
    noted.into_iter().zip(rows).collect()
}

fn check_stacks(capture: &Capture) {
    let name = capture.name();
    for (Noted(size, thread, stack), row) in rows(capture) {
        let mut found: Vec<_> = capture
            .stack(row.stack_id)
            .into_iter()
            .map(|frame| (frame.function.clone(), frame.file.clone(), frame.line))
            .collect();
        if found == [(NO_PYTHON.to_owned(), String::new(), 0)] {
            found.clear();
        }
        assert_eq!(found, stack, "{name}: {size} in {thread}");
        assert_eq!(row.allocator, "malloc", "{name}: {size}");
    }
}

#[test]
fn stacks_of_threads_of_every_kind() {
    let library = Compiled::library("native.c");
    let script = Script::new("known_threads.py");
    Python::each(|python| {
        let recording = Recording::script(python, &script).argument(library.path());
        let capture = recording.argument("many").run();
        check_stacks(&capture);

        let many =
            "SELECT COUNT(*), COUNT(free_ts), COUNT(DISTINCT thread_id), COUNT(DISTINCT stack_id), name
            FROM allocations JOIN allocators USING (allocator_id) WHERE size = 1444577 GROUP BY name";
        assert_eq!(
            capture.query(many),
            ["10000 10000 100 1 posix_memalign"],
            "{}",
            capture.name()
        );
        let stack = capture
            .number("SELECT stack_id FROM allocations WHERE size = 1444577 LIMIT 1")
            .unwrap();
        assert_eq!(
            capture.stack_text(stack),
            format!("{NO_PYTHON} (marker)"),
            "{}",
            capture.name()
        );
    });
}
