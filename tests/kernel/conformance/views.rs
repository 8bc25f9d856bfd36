//! The high water mark, leaks and temporary allocations of known steps. Each case is a child with a peak of its own, so
//! that one recording has all of them.

use memray_tests::{Capture, Python, Recording, Script};

use super::extension;

/// Of `conformance_views.py`.
const UNIT: i64 = 3 << 20;

/// What each case holds at its peak: units and allocations of a line, most units first.
const PEAKS: &[(&str, &[&str])] = &[
    ("same_size_again", &["1 1 again"]),
    ("larger_at_the_end", &["2 1 larger last"]),
    ("smaller_at_the_end", &["2 1 larger first"]),
    ("one_line", &["6 2 loop"]),
    ("two_lines", &["2 1 line two", "1 1 line one"]),
    ("last_of_all", &["2 1 last"]),
    (
        "spiky",
        &[
            "10 1 kept",
            "8 1 kept",
            "6 1 kept",
            "4 1 kept",
            "2 1 kept",
            "1 1 kept",
        ],
    ),
    ("hundred_blocks", &["1 100 hundred"]),
    ("half_unmapped", &["10 1 after half", "1 1 half"]),
    ("ends_unmapped", &["10 1 after ends", "2 1 without ends"]),
    ("two_unmapped_at_once", &["10 1 after two"]),
    ("four_unmapped_by_twos", &["10 1 after four"]),
    ("holes", &["10 1 after holes", "3 1 with holes"]),
    ("one_hole", &["10 1 after the hole", "7 1 with a hole"]),
    ("leak_in_the_middle", &["10 10 ten leaks", "2 1 leaked"]),
    ("leaks_of_two_threads", &["2 2 by a thread", "2 2 by a thread"]),
    ("nested", &["5 5 nested"]),
    ("in_two_threads_by_turns", &["1 1 by turns", "1 1 by turns"]),
    ("freed_by_another_thread", &["1 1 freed elsewhere"]),
    ("mixed_allocators", &["1 1 mixed", "1 1 mixed", "1 1 mixed"]),
];

/// What is left at the end of the case, in the same form. All others leave what they hold.
const LEAKS: &[(&str, &[&str])] = &[
    ("same_size_again", &[]),
    ("larger_at_the_end", &[]),
    ("smaller_at_the_end", &[]),
    ("one_line", &[]),
    ("two_lines", &[]),
    ("spiky", &[]),
    ("nested", &[]),
    ("in_two_threads_by_turns", &[]),
    ("freed_by_another_thread", &[]),
];

/// What was freed while among the last two allocations of its thread.
const TEMPORARY: &[(&str, &[&str])] = &[
    ("same_size_again", &["2 2 again"]),
    ("larger_at_the_end", &["2 1 larger last", "1 1 smaller first"]),
    ("smaller_at_the_end", &["2 1 larger first", "1 1 smaller last"]),
    // Of the two blocks the first is freed first.
    ("one_line", &["6 2 loop"]),
    ("two_lines", &["2 1 line two", "1 1 line one"]),
    ("last_of_all", &["1 1 before"]),
    (
        "spiky",
        &[
            "10 1 spike",
            "8 1 spike",
            "6 1 spike",
            "4 1 spike",
            "2 1 spike",
            "1 1 spike",
            "1 1 kept",
        ],
    ),
    // Pages count as any other block: ended at once.
    ("two_unmapped_at_once", &["8 1 area", "8 2 side by side"]),
    ("four_unmapped_by_twos", &["8 1 area", "4 2 side by side"]),
    ("leak_in_the_middle", &["3 1 not leaked either", "1 1 not leaked"]),
    ("nested", &["2 2 nested"]),
    ("in_two_threads_by_turns", &["3 3 by turns", "3 3 by turns"]),
    // In memray it would not be: another thread frees it.
    ("freed_by_another_thread", &["1 1 freed elsewhere"]),
];

/// Rows of a case, which is the process after as many others.
fn rows(capture: &Capture, process_id: usize, columns: &str) -> Vec<String> {
    let script = capture.script.as_ref().unwrap();
    let sql = format!(
        "SELECT stack_id, bytes, allocations FROM ({columns}) WHERE process_id = {process_id} AND bytes > {UNIT} * 3 / 4
         ORDER BY bytes DESC, stack_id"
    );
    let lines = capture.query(&sql);
    let rows = lines.iter().map(|line| {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [stack_id, bytes, count] = numbers[..] else {
            panic!("{line}")
        };
        // Blocks of a hundredth do not fill the unit.
        assert!(
            bytes % UNIT == 0 || UNIT - bytes < 100,
            "{}: {line}",
            capture.name()
        );
        let stack = capture.stack(stack_id);
        // The line of the case, which is above the function that allocates for all.
        let markers: Vec<&str> = stack
            .iter()
            .filter_map(|frame| script.marker(frame.line))
            .filter(|marker| !["take", "map", "case", "deeper"].contains(marker))
            .collect();
        format!(
            "{} {count} {}",
            (bytes + UNIT / 2) / UNIT,
            markers.last().unwrap_or(&"nothing")
        )
    });
    rows.collect()
}

fn of<'table>(table: &'table [(&str, &'table [&'table str])], case: &str) -> Option<&'table [&'table str]> {
    table
        .iter()
        .find(|(name, _)| *name == case)
        .map(|(_, rows)| *rows)
}

#[test]
fn of_known_steps() {
    const PEAK: &str = "SELECT process_id, stack_id, bytes, allocations FROM site_peaks";
    const OF_SITES: &str = "SELECT process_id, stack_id, BYTES AS bytes, COUNT AS allocations
        FROM sites JOIN threads USING (thread_id)";
    let live = OF_SITES
        .replace("BYTES", "live_bytes")
        .replace("COUNT", "live_count");
    let temporary = OF_SITES
        .replace("BYTES", "temp_bytes")
        .replace("COUNT", "temp_count");
    let extension = extension();
    let script = Script::new("conformance_views.py");
    // Not several at a time: each makes all programs of the machine wait where they fork.
    for python in Python::all() {
        let capture = Recording::script(python, &script)
            .option("--follow-fork")
            .argument(extension.folder())
            .run();
        let cases: Vec<String> = PEAKS.iter().map(|(case, _)| format!("{case} 0")).collect();
        assert_eq!(
            capture.stdout.lines().collect::<Vec<_>>(),
            cases,
            "{}",
            capture.name()
        );
        for (process_id, &(case, peak)) in (2..).zip(PEAKS) {
            let name = format!("{}: {case}", capture.name());
            assert_eq!(rows(&capture, process_id, PEAK), peak, "{name}: peak");
            let leaks = of(LEAKS, case).unwrap_or(peak);
            assert_eq!(rows(&capture, process_id, &live), leaks, "{name}: leaks");
            let expected = of(TEMPORARY, case).unwrap_or_default();
            assert_eq!(
                rows(&capture, process_id, &temporary),
                expected,
                "{name}: temporary"
            );
        }
        check_threads(&capture);
        check_allocators(&capture);
    }
}

/// Blocks of two threads at one place are those of each.
fn check_threads(capture: &Capture) {
    let by_thread = capture.query(&format!(
        "SELECT SUM(live_bytes) / {UNIT}, SUM(live_count) FROM sites JOIN threads h USING (thread_id)
         JOIN allocators a USING (allocator_id) WHERE a.name = 'posix_memalign' AND live_bytes = 2 * {UNIT}
         GROUP BY h.thread_id"
    ));
    assert_eq!(by_thread, ["2 2", "2 2"], "{}", capture.name());
}

/// One line that allocates in three ways has each.
fn check_allocators(capture: &Capture) {
    let line = capture.script.as_ref().unwrap().line("mixed");
    let allocators = capture.query(&format!(
        "SELECT a.name, live_bytes / {UNIT} FROM sites JOIN allocators a USING (allocator_id)
         JOIN locations USING (stack_id) WHERE line = {line} AND live_bytes = {UNIT} ORDER BY a.name"
    ));
    assert_eq!(
        allocators,
        ["malloc 1", "posix_memalign 1", "valloc 1"],
        "{}",
        capture.name()
    );
}
