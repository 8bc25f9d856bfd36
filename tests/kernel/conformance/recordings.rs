//! Programs that are killed, pools of children, and what a capture says of its recording.

use memray_tests::{Capture, Python, Recording, Script, behavior::usual_python};

use super::extension;

fn recorded(python: &Python, way: &str, prepare: impl Fn(Recording<'_>) -> Recording<'_>) -> Capture {
    let extension = extension();
    let script = Script::new("conformance_processes.py");
    let recording = Recording::script(python, &script)
        .argument(extension.folder())
        .argument(way);
    prepare(recording).run()
}

fn rows_of_valloc(capture: &Capture) -> Vec<String> {
    let mut rows = capture.all_rows();
    rows.retain(|row| row.allocator == "valloc");
    rows.iter().map(|row| capture.row_text(row)).collect()
}

/// What was allocated before is all there, and lives.
#[test]
fn a_program_that_kills_itself() {
    Python::each(|python| {
        let capture = recorded(python, "kill", |recording| recording.ends_with(137));
        let expected = ["1024 valloc live: <module>@start > kill@before the end"; 3];
        capture.expect_lines(&rows_of_valloc(&capture), &expected);
    });
}

/// Which child does which task is their affair; together they do them all.
#[test]
fn a_pool_of_children() {
    Python::each(|python| {
        let capture = recorded(python, "pool", |recording| recording.option("--follow-fork"));
        let name = capture.name();
        let sums = capture.query(
            "SELECT process_id = 1, SUM(alloc_count), SUM(alloc_bytes), SUM(live_count) FROM sites
             JOIN allocators a USING (allocator_id) JOIN threads USING (thread_id)
             WHERE a.name = 'valloc' GROUP BY 1 ORDER BY 1",
        );
        assert_eq!(capture.stdout, "15111\n", "{name}");
        assert_eq!(
            sums,
            [format!("0 15111 {} 0", 15_111 * 1234), "1 1 1234 1".to_owned()],
            "{name}"
        );
        let processes = capture.number("SELECT COUNT(*) FROM processes WHERE origin = 'forked'");
        assert_eq!(processes, Some(3), "{name}");
    });
    // Nobody asked for the children.
    let capture = recorded(usual_python(), "pool", |recording| recording);
    let expected = ["1234 valloc live: <module>@start > pool@in the parent"];
    capture.expect_lines(&rows_of_valloc(&capture), &expected);
    assert_eq!(capture.query("SELECT origin FROM processes"), ["launched"]);
}

/// Command, times, allocator, and a peak of which every byte is known.
#[test]
fn what_a_capture_says_of_its_recording() {
    for allocator in ["malloc", "malloc_debug", "pymalloc", "pymalloc_debug"] {
        let capture = recorded(usual_python(), "header", |recording| {
            recording.environment("PYTHONMALLOC", allocator)
        });
        let peak = capture.query(
            "SELECT SUM(bytes), SUM(allocations) FROM site_peaks JOIN allocators USING (allocator_id)
             WHERE name = 'valloc'",
        );
        assert_eq!(peak, ["102400 100"]);
        let python_allocator = capture.query("SELECT python_allocator FROM processes");
        assert_eq!(python_allocator, [allocator]);
        let command_line = &capture.query("SELECT command_line FROM processes")[0];
        assert!(
            command_line.contains("conformance_processes.py /") && command_line.ends_with(" header"),
            "{command_line}"
        );
        // The clock of the wall, not that of the records.
        let seconds = capture.number(
            "SELECT (SELECT value FROM meta WHERE key = 'ended_at_ms')
                  - (SELECT value FROM meta WHERE key = 'started_at_ms')",
        );
        assert!((1..60_000).contains(&seconds.unwrap()), "{seconds:?} ms");
    }
}
