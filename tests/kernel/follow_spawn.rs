//! `memray run --follow-fork` on programs that start others: by subprocess, a shell, `posix_spawn`, `vfork` and
//! multiprocessing.

use std::collections::BTreeMap;

use memray_tests::{Capture, Compiled, Python, behavior::usual_python};

use super::families::{CALLER, expect, is_known, process, processes, recorded, statuses, tree};

const FOLLOW: &[&str] = &["--follow-fork"];

/// The interpreter that is started is another one than that which starts it.
fn pairs() -> Vec<(Python, Python)> {
    let all = Python::all();
    let next = all.iter().cycle().skip(1);
    all.iter().cloned().zip(next.cloned()).collect()
}

#[test]
fn subprocess() {
    for (python, other) in pairs() {
        let capture = recorded(
            &python,
            FOLLOW,
            &["by_subprocess", other.program.to_str().unwrap()],
        );
        expect(
            &capture,
            &[
                process(1, "launched", &python, None),
                process(2, "forked", &python, Some(1)),
                process(3, "executed", &other, Some(2)),
                format!("1 1234733 malloc live: {CALLER} > by_subprocess@after subprocess"),
                "3 1234731 malloc live: <module> (child.py)".to_owned(),
            ],
        );
        assert_eq!(statuses(&capture), ["1 7", "2 NULL", "3 4"], "{}", capture.name());
    }
}

#[test]
fn posix_spawn() {
    let (python, other) = (usual_python(), Python::of_pyenv(9));
    let capture = recorded(
        python,
        FOLLOW,
        &["by_posix_spawn", other.program.to_str().unwrap()],
    );
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            process(2, "forked", python, Some(1)),
            process(3, "executed", &other, Some(2)),
            "3 1234737 malloc live: <module> (child.py)".to_owned(),
        ],
    );
}

/// The shell is a process too; it forks once more, as it has something to do afterwards.
#[test]
fn shells_that_wait() {
    let (python, other) = (usual_python(), Python::of_pyenv(9));
    let capture = recorded(python, FOLLOW, &["by_shell", other.program.to_str().unwrap()]);
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            process(2, "forked", python, Some(1)),
            "3 executed dash none < 2".to_owned(),
            "4 forked dash none < 3".to_owned(),
            process(5, "executed", &other, Some(4)),
            "5 1234735 malloc live: <module> (child.py)".to_owned(),
        ],
    );
    assert_eq!(statuses(&capture), ["1 7", "2 NULL", "3 6", "4 NULL", "5 4"]);
}

/// The child lives in its parent's memory until it executes; what it allocates there stays.
#[test]
fn vfork() {
    let library = Compiled::library("families.c");
    let (python, other) = (usual_python(), Python::of_pyenv(9));
    let words = [
        "by_vfork",
        other.program.to_str().unwrap(),
        library.path().to_str().unwrap(),
    ];
    let capture = recorded(python, FOLLOW, &words);
    let expected = [
        process(1, "launched", python, None),
        process(2, "forked", python, Some(1)),
        process(3, "executed", &other, Some(2)),
    ];
    assert_eq!(processes(&capture), expected);
    let rows: Vec<String> = tree(&capture)
        .split_off(3)
        .iter()
        // Whose it is can be seen both ways.
        .map(|row| {
            row.strip_prefix("1 1234739")
                .map_or(row.clone(), |rest| format!("2 1234739{rest}"))
        })
        .collect();
    let expected = [
        format!("2 1234739 malloc live: {CALLER} > by_vfork@vfork"),
        "3 1234741 malloc live: <module> (child.py)".to_owned(),
    ];
    assert_eq!(rows, expected);
}

/// Allocations of `work` by size: processes, and rows.
fn by_size(capture: &Capture) -> BTreeMap<i64, (usize, usize)> {
    let mut by_size = BTreeMap::<i64, Vec<i64>>::new();
    for row in capture.rows(is_known) {
        let stack = capture.stack_text(row.stack_id);
        assert!(stack.ends_with(" > work@work"), "{}: {stack}", capture.name());
        assert_ne!(row.process_id, 1, "{}: {row:?}", capture.name());
        by_size.entry(row.size).or_default().push(row.process_id);
    }
    let counts = by_size.into_iter().map(|(size, mut processes)| {
        let n_rows = processes.len();
        processes.sort_unstable();
        processes.dedup();
        (size, (processes.len(), n_rows))
    });
    counts.collect()
}

#[test]
fn multiprocessing() {
    let each = BTreeMap::from([(1_234_751, (1, 1)), (1_234_753, (1, 1))]);
    for python in [usual_python(), &Python::of_pyenv(8)] {
        for method in ["fork", "spawn", "forkserver"] {
            let capture = recorded(python, FOLLOW, &["by_multiprocessing", method]);
            assert_eq!(by_size(&capture), each, "{}: {method}", capture.name());
            let capture = recorded(python, FOLLOW, &["by_pool", method]);
            let [(size, (n_processes, n_rows))] = by_size(&capture).into_iter().collect::<Vec<_>>()[..]
            else {
                panic!("{}: {method}", capture.name());
            };
            assert!(
                size == 1_234_755 && (1..=2).contains(&n_processes) && n_rows == 8,
                "{}: {method}: {n_rows} in {n_processes}",
                capture.name()
            );
        }
    }
}
