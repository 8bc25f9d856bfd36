//! Names of threads: Python's, those of `prctl`, and those of threads that Python does not know.

use std::{collections::BTreeSet, path::Path};

use memray_tests::{Compiled, Python, Recording, Script, capture::Row};

use super::threads::{Noted, rows};

#[test]
fn names_of_threads() {
    let library = Compiled::library("native.c");
    let script = Script::new("known_threads.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument(library.path()).run();
        // As the kernel names a process: after the file that was executed.
        let program = python.command().get_program().to_owned();
        let comm = Path::new(&program)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let rows = rows(&capture);
        // On a machine without a free CPU a short thread can be gone before its name is read. Then it has the
        // kernel's name, never another's, and is counted. From 3.14 on that is the beginning of Python's.
        let is_missed = |noted: &Noted, row: &Row| {
            let beginning = row.thread.trim_end_matches(char::REPLACEMENT_CHARACTER);
            let is_told_to_kernel = python.version >= (3, 14) && !beginning.is_empty();
            Some(&row.thread) == comm.as_ref() || is_told_to_kernel && noted.1.starts_with(beginning)
        };
        let missed: BTreeSet<i64> = rows
            .iter()
            .filter(|(noted, row)| row.thread != noted.1 && is_missed(noted, row))
            .map(|(_, row)| row.thread_id)
            .collect();
        let wrong: Vec<String> = rows
            .iter()
            .filter(|(noted, row)| row.thread != noted.1 && !is_missed(noted, row))
            .map(|(noted, row)| format!("{}: {:?}, not {:?}", noted.0, row.thread, noted.1))
            .collect();
        assert!(wrong.is_empty(), "{}\n{}", capture.name(), wrong.join("\n"));
        let counted = capture.number("SELECT sum(events) FROM losses WHERE reason = 'thread_name_unknown'");
        let n_missed = i64::try_from(missed.len()).unwrap();
        assert!(
            n_missed <= counted.unwrap_or(0),
            "{}: {missed:?}, {counted:?}",
            capture.name()
        );
    });
}
