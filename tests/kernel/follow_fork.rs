//! `memray run --follow-fork` on programs that fork: each child is a process of the same capture, nothing of its
//! beginning is missing, and blocks from before the fork belong to whom they belonged.

use memray_tests::{Compiled, Python, behavior::usual_python};

use super::families::{CALLER, expect, is_known, process, recorded, statuses, tree};

const FOLLOW: &[&str] = &["--follow-fork"];

#[test]
fn parents_and_children_go_on_with_their_own_blocks() {
    Python::each(|python| {
        let capture = recorded(python, FOLLOW, &["fork"]);
        expect(
            &capture,
            &[
                process(1, "launched", python, None),
                process(2, "forked", python, Some(1)),
                // What the child gave back was its own copy.
                format!("1 1234701 malloc live: {CALLER} > fork@before"),
                format!("1 1234703 malloc freed: {CALLER} > fork@before"),
                format!("1 1234709 malloc live: {CALLER} > fork@after"),
                format!("2 1234705 malloc live: {CALLER} > fork@in child"),
                format!("2 1234707 malloc freed: {CALLER} > fork@freed by child"),
            ],
        );
        assert_eq!(statuses(&capture), ["1 7", "2 3"], "{}", capture.name());
    });
}

#[test]
fn grandchildren() {
    let python = usual_python();
    let capture = recorded(python, FOLLOW, &["grandchildren"]);
    let mut expected = vec![process(1, "launched", python, None)];
    expected.extend((2..=5).map(|number| process(number, "forked", python, Some(number - 1))));
    for (number, size) in (1..=5).zip((1_234_710..=1_234_714).rev()) {
        let above = " > grandchildren@deeper".repeat(number - 1);
        expected.push(format!(
            "{number} {size} malloc live: {CALLER}{above} > grandchildren@level"
        ));
    }
    expect(&capture, &expected);
    assert_eq!(statuses(&capture), ["1 7", "2 4", "3 3", "4 2", "5 1"]);
}

/// Nobody that is recorded waits for it.
#[test]
fn daemons() {
    let python = usual_python();
    let capture = recorded(python, FOLLOW, &["daemon"]);
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            process(2, "forked", python, Some(1)),
            process(3, "forked", python, Some(2)),
            format!("3 1234721 malloc live: {CALLER} > daemon@daemon"),
        ],
    );
    assert_eq!(statuses(&capture), ["1 7", "2 0", "3 4"]);
}

#[test]
fn children_of_other_threads_than_the_first() {
    let python = usual_python();
    let capture = recorded(python, FOLLOW, &["from_a_thread"]);
    let lines = tree(&capture);
    assert_eq!(lines.len(), 3, "{}: {lines:?}", capture.name());
    let stack = lines[2].split_once(": ").unwrap().1;
    assert!(
        lines[2].starts_with("2 1234723 malloc live") && stack.ends_with("work@forked by a thread"),
        "{}: {lines:?}",
        capture.name()
    );
}

#[test]
fn the_first_act_of_a_child_is_an_allocation() {
    let library = Compiled::library("families.c");
    let path = library.path().to_str().unwrap();
    Python::each(|python| {
        let capture = recorded(python, FOLLOW, &["at_once", path]);
        let mut rows = capture.rows(is_known);
        rows.sort_by_key(|row| row.process_id);
        let processes: Vec<i64> = rows.iter().map(|row| row.process_id).collect();
        assert_eq!(processes, (2..=21).collect::<Vec<_>>(), "{}", capture.name());
        for row in rows {
            assert_eq!(
                capture.stack_text(row.stack_id),
                format!("{CALLER} > at_once@at once"),
                "{}",
                capture.name()
            );
        }
    });
}

#[test]
fn children_are_left_alone_unless_asked_for() {
    let library = Compiled::library("families.c");
    let path = library.path().to_str().unwrap();
    let python = usual_python();
    let capture = recorded(python, &[], &["fork"]);
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            format!("1 1234701 malloc live: {CALLER} > fork@before"),
            format!("1 1234703 malloc freed: {CALLER} > fork@before"),
            format!("1 1234709 malloc live: {CALLER} > fork@after"),
        ],
    );
    let capture = recorded(python, &[], &["at_once", path]);
    expect(&capture, &[process(1, "launched", python, None)]);
}
