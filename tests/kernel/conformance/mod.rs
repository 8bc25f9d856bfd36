//! The cases that memray's own tests check of memray, as a user of our binary sees them, and those in which memray is
//! known to be wrong.
//!
//! Which case is where (the numbers are those of a list that memray's suite was boiled down to):
//!
//! | case | what it shows | test |
//! |--:|---|---|
//! | 1, 2, 3 | each allocator function, sized frees, C++ | [`calls`] |
//! | 4, 5, 27 | the interpreter's domains, `mmap`, libraries loaded late | [`calls`] |
//! | 6, 18, 20, 21 | threads of C, 100 at a time, destructors, names | `threads`, `thread_names` |
//! | 7, 22, 25 | SIGKILL, pools, what is known of a recording | [`recordings`] |
//! | 8, 9, 10, 12, 13 | peaks, partly unmapped pages, leaks, temporary allocations | [`views`], `peaks`, `mappings` |
//! | 14, 16, 19 | exact lines, profile hooks, threads of C that call Python | [`stacks`], `stacks` |
//! | 11, 17 | native stacks do not exist yet: what holds without them | [`stacks`] |
//! | 15, 23 | threads that ran before an attachment, its stacks | `attach`, `attach_waiting` |
//! | 24 | greenlets | [`greenlets`] |
//! | 28 | the command line | `run_*`, `it::cli` |
//! | 29 | reports | [`reports`] |
//!
//! Calls by ctypes, cffi and `dlsym` are in [`calls`], `mremap` and raw system calls in `mappings`, children by spawn,
//! forkserver and exec in `follow_*`, sub-interpreters in [`stacks`].

mod calls;
mod greenlets;
mod recordings;
mod reports;
mod stacks;
mod views;

use std::path::PathBuf;

use memray_tests::{Capture, Compiled, Python, capture::Row, workspace};

/// The module `conformance`, for every version.
fn extension() -> Compiled {
    Compiled::extension("conformance.c", "conformance")
}

/// Where greenlet and cffi are, as made for a version.
fn packages(python: &Python) -> PathBuf {
    let (major, minor) = python.version;
    let folder = workspace().join(format!(".cache/extensions/{major}.{minor}"));
    assert!(
        folder.join("complete").exists(),
        "`{}` is not there: run `scripts/fetch-extensions`",
        folder.display()
    );
    folder
}

/// Rows made in a frame of the script itself, and not in a module that it calls.
fn of_script(capture: &Capture, is_wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
    let file = capture.script.as_ref().unwrap().path.to_str().unwrap();
    let mut rows = capture.all_rows();
    rows.retain(|row| is_wanted(row) && capture.stack(row.stack_id).last().unwrap().file == file);
    rows
}

/// Rows as text. Whether the name of a short thread is read in time depends on who gets a CPU; the tests of names look at
/// it.
fn without_names_of_threads(capture: &Capture, rows: &[Row]) -> Vec<String> {
    let texts = rows.iter().map(|row| {
        let mut row = row.clone();
        if row.thread != "MainThread" {
            "thread".clone_into(&mut row.thread);
        }
        capture.row_text(&row)
    });
    texts.collect()
}
