//! Programs that allocate while probes come and go, and programs of very many threads.

use std::path::Path;

use memray_tests::{
    Attach, Compiled, Script, Target,
    behavior::{usual_python, wait_until},
    target::Ended,
};
use rusqlite::{Connection, OpenFlags};

/// In a capture that is being written.
fn threads_with_blocks(path: &Path) -> Option<u32> {
    let capture = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let sql = "SELECT COUNT(DISTINCT thread_id) FROM sites WHERE alloc_count > 10 AND alloc_bytes / alloc_count > 1234000";
    capture.query_row(sql, [], |row| row.get(0)).ok()
}

/// Calls are under way in every thread when the first probe is in and when the last is taken away. What was seen of
/// them is whole: nothing counts as lost, and of each thread no more than one block seems to live.
#[test]
fn calls_under_way() {
    let library = Compiled::library("native.c");
    let script = Script::new("busy.py");
    let target = Target::script(usual_python(), &script, &[library.path().to_str().unwrap()]);
    for round in 0..5 {
        let attachment = Attach::to(&target).start();
        wait_until("blocks of every thread", || {
            (threads_with_blocks(attachment.path())? == 4).then_some(())
        });
        let capture = attachment.finish();
        for (size, marker) in [(1_234_671, "in C"), (1_234_673 + 33, "in Python")] {
            let rows = capture.rows(|row| (size - 40..=size).contains(&row));
            let rows: Vec<_> = rows
                .iter()
                .filter(|row| capture.stack_text(row.stack_id).ends_with(marker))
                .collect();
            let n_live = rows.iter().filter(|row| row.free_ts.is_none()).count();
            assert!(
                rows.len() > 10 && n_live <= 2,
                "round {round}, {marker}: {} rows, {n_live} live",
                rows.len()
            );
        }
    }
    let expected = Ended {
        status: 0,
        rest: vec!["end True".to_owned()],
    };
    assert_eq!(target.end(), expected);
}

#[test]
fn threads_from_before() {
    let script = Script::new("many_waiting.py");
    let mut target = Target::script(usual_python(), &script, &[]);
    let attachment = Attach::to(&target).start();
    target.obey("now");
    let capture = attachment.finish();
    let mut names = capture.query(
        "SELECT threads.name FROM allocations JOIN threads USING (thread_id) WHERE size = 1234661
         ORDER BY alloc_ts",
    );
    let expected: Vec<String> = (0..400).map(|number| format!("thread {number}")).collect();
    assert_eq!(names.len(), expected.len());
    // They all live on, so none is too late to be asked.
    names.retain(|name| !expected.contains(name));
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(target.end().status, 0);
}
