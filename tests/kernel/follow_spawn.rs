//! `memray run --follow-fork` on programs that start others: by subprocess, a shell, `posix_spawn`, `vfork` and
//! multiprocessing.

use std::collections::BTreeMap;

use memray_tests::{
    Capture, Compiled, Python,
    behavior::{for_each_case, usual_python},
};

use super::families::{CALLER, expect, is_known, process, processes, recorded, statuses};

const FOLLOW: &[&str] = &["--follow-fork"];

/// The interpreter that is started is another one than that which starts it.
fn pairs() -> Vec<(Python, Python)> {
    let all = Python::all();
    let next = all.iter().cycle().skip(1);
    all.iter().cloned().zip(next.cloned()).collect()
}

#[test]
fn subprocess() {
    for_each_case(&pairs(), |(python, other)| {
        let capture = recorded(
            python,
            FOLLOW,
            &["by_subprocess", other.program.to_str().unwrap()],
        );
        let mut expected = vec![process(1, "launched", python, None)];
        let after = format!("1 1234733 malloc live: {CALLER} > by_subprocess@after subprocess");
        // From 3.10 on it is by vfork (Modules/_posixsubprocess.c).
        let expected_statuses = if python.version < (3, 10) {
            expected.push(process(2, "forked", python, Some(1)));
            expected.push(process(3, "executed", other, Some(2)));
            expected.extend([after, "3 1234731 malloc live: <module> (child.py)".to_owned()]);
            vec!["1 7", "2 NULL", "3 4"]
        } else {
            expected.push(process(2, "forked", other, Some(1)));
            expected.extend([after, "2 1234731 malloc live: <module> (child.py)".to_owned()]);
            vec!["1 7", "2 4"]
        };
        expect(&capture, &expected);
        assert_eq!(statuses(&capture), expected_statuses, "{}", capture.name());
    });
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
            process(2, "forked", &other, Some(1)),
            "2 1234737 malloc live: <module> (child.py)".to_owned(),
        ],
    );
}

/// The shell is a process too.
#[test]
fn shells_that_wait() {
    let (python, other) = (usual_python(), Python::of_pyenv(9));
    let capture = recorded(python, FOLLOW, &["by_shell", other.program.to_str().unwrap()]);
    expect(
        &capture,
        &[
            process(1, "launched", python, None),
            "2 forked dash none < 1".to_owned(),
            process(3, "forked", &other, Some(2)),
            "3 1234735 malloc live: <module> (child.py)".to_owned(),
        ],
    );
    assert_eq!(statuses(&capture), ["1 7", "2 6", "3 4"]);
}

/// The child lives in its parent's memory until it executes, and has no life of its own before. What it allocates there
/// nobody sees: the kernel runs programs only for threads of the process that a link is for (`uprobe_prog_run`,
/// `kernel/trace/bpf_trace.c`).
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
        process(2, "forked", &other, Some(1)),
    ];
    assert_eq!(processes(&capture), expected);
    let rows = capture.rows(|size| size == 1_234_741);
    capture.expect(&rows, &["1234741 malloc live: <module> (child.py)"]);
    assert_eq!(rows[0].process_id, 2);
}

/// Allocations of `work` by size: processes, and rows.
fn by_size(capture: &Capture) -> BTreeMap<i64, (usize, usize)> {
    let mut by_size = BTreeMap::<i64, Vec<i64>>::new();
    for row in capture.rows(is_known) {
        let stack = capture.stack_text(row.stack_id);
        // A spawned child names the file otherwise.
        assert!(
            stack.ends_with(" > work@work") || stack.ends_with(" > work (families.py)"),
            "{}: {stack}",
            capture.name()
        );
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
    let old = Python::of_pyenv(8);
    let cases = [
        (usual_python(), "fork"),
        (usual_python(), "spawn"),
        (usual_python(), "forkserver"),
        (&old, "forkserver"),
    ];
    for (python, method) in cases {
        let capture = recorded(python, FOLLOW, &["by_multiprocessing", method]);
        assert_eq!(by_size(&capture), each, "{}: {method}", capture.name());
    }
}

/// Which of them works more depends on who is faster.
#[test]
fn pools() {
    for method in ["fork", "spawn"] {
        let capture = recorded(usual_python(), FOLLOW, &["by_pool", method]);
        let [(size, (n_processes, n_rows))] = by_size(&capture).into_iter().collect::<Vec<_>>()[..] else {
            panic!("{method}");
        };
        assert!(
            size == 1_234_755 && (1..=2).contains(&n_processes) && n_rows == 8,
            "{method}: {n_rows} in {n_processes}"
        );
    }
}
