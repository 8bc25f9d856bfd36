//! `memray attach --follow-fork`: children that are born after the attachment are processes of the same capture.

use memray_tests::{Attach, Compiled, Python, behavior::usual_python};

use super::families::{CALLER, attached, expect, is_known, process, tree};

fn follow(attach: Attach<'static>) -> Attach<'static> {
    attach.option("--follow-fork")
}

/// Of a program that is executed under attach the beginning may be missing, which is counted.
fn follow_programs(attach: Attach<'static>) -> Attach<'static> {
    follow(attach).tolerates("program_late")
}

#[test]
fn parents_and_children_go_on_with_their_own_blocks() {
    // One after the other: a child that waits for too long is let go, and that is counted.
    for python in &[8, 10, 12, 13].map(Python::of_pyenv) {
        let capture = attached(python, &["fork"], follow);
        expect(
            &capture,
            &[
                process(1, "attached", python, None),
                process(2, "forked", python, Some(1)),
                format!("1 1234701 malloc live: {CALLER} > fork@before"),
                format!("1 1234703 malloc freed: {CALLER} > fork@before"),
                format!("1 1234709 malloc live: {CALLER} > fork@after"),
                format!("2 1234705 malloc live: {CALLER} > fork@in child"),
                format!("2 1234707 malloc freed: {CALLER} > fork@freed by child"),
            ],
        );
    }
}

#[test]
fn the_first_act_of_a_child_is_an_allocation() {
    let library = Compiled::library("families.c");
    let path = library.path().to_str().unwrap();
    let capture = attached(usual_python(), &["at_once", path], follow);
    let mut processes: Vec<i64> = capture.rows(is_known).iter().map(|row| row.process_id).collect();
    processes.sort_unstable();
    assert_eq!(processes, (2..=21).collect::<Vec<_>>());
}

/// The daemon outlives who was attached to, and the recording lasts until it ends.
#[test]
fn daemons() {
    let python = usual_python();
    let capture = attached(python, &["daemon"], follow);
    expect(
        &capture,
        &[
            process(1, "attached", python, None),
            process(2, "forked", python, Some(1)),
            process(3, "forked", python, Some(2)),
            format!("3 1234721 malloc live: {CALLER} > daemon@daemon"),
        ],
    );
}

#[test]
fn programs_that_are_started() {
    let (python, other) = (usual_python(), Python::of_pyenv(9));
    let words = ["by_subprocess", other.program.to_str().unwrap()];
    let capture = attached(python, &words, follow_programs);
    expect(
        &capture,
        &[
            process(1, "attached", python, None),
            process(2, "forked", &other, Some(1)),
            format!("1 1234733 malloc live: {CALLER} > by_subprocess@after subprocess"),
            "2 1234731 malloc live: <module> (child.py)".to_owned(),
        ],
    );
}

#[test]
fn multiprocessing() {
    for method in ["fork", "spawn", "forkserver"] {
        let capture = attached(usual_python(), &["by_multiprocessing", method], follow_programs);
        let mut sizes: Vec<i64> = capture.rows(is_known).iter().map(|row| row.size).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1_234_751, 1_234_753], "{method}");
    }
}

/// Children meet their parent's breakpoints, and are none the worse for it.
#[test]
fn children_are_left_alone_unless_asked_for() {
    let library = Compiled::library("families.c");
    let path = library.path().to_str().unwrap();
    for words in [
        &["at_once", path] as &[&str],
        &["grandchildren"],
        &["daemon"],
        &["by_pool", "fork"],
    ] {
        let capture = attached(usual_python(), words, |attach| attach);
        let lines = tree(&capture);
        let processes: Vec<_> = lines.iter().filter(|line| !line.contains(": ")).collect();
        assert_eq!(processes.len(), 1, "{words:?}: {lines:?}");
        assert!(
            lines.iter().all(|line| line.starts_with("1 ")),
            "{words:?}: {lines:?}"
        );
    }
}
