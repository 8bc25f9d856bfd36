//! More children and threads, one after another, than any table has room for at one time.

use memray_tests::{Compiled, Recording, Script, behavior::usual_python};

use super::families::{attached, is_known, recorded};

#[test]
fn short_children() {
    let launched = recorded(usual_python(), &["--follow-fork"], &["many", "300"]);
    let attached = attached(usual_python(), &["many", "1000"], |attach| {
        attach.option("--follow-fork")
    });
    for (capture, count) in [(launched, 300), (attached, 1_000)] {
        let rows = capture.rows(is_known);
        let mut processes: Vec<i64> = rows.iter().map(|row| row.process_id).collect();
        processes.sort_unstable();
        processes.dedup();
        assert_eq!((rows.len(), processes.len()), (count, count));
        let orphans = "SELECT COUNT(*) FROM processes WHERE parent_process_id IS NOT 1 AND process_id > 1";
        assert_eq!(capture.number(orphans), Some(0));
    }
}

#[test]
fn short_threads() {
    let library = Compiled::library("native.c");
    let script = Script::new("short_threads.py");
    let recording = Recording::script(usual_python(), &script).argument(library.path());
    let capture = recording.run();
    let counts = "SELECT COUNT(*), COUNT(free_ts), COUNT(DISTINCT thread_id) FROM allocations
        WHERE size = 1444577";
    assert_eq!(capture.query(counts), ["10000 10000 10000"]);
}
