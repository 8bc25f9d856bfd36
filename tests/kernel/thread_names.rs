//! Names of threads: Python's, those of `prctl`, and those of threads that Python does not know.

use memray_tests::{Compiled, Python, Recording, Script};

use super::threads::{Noted, rows};

#[test]
fn names_of_threads() {
    let library = Compiled::library("native.c");
    let script = Script::new("known_threads.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument(library.path()).run();
        let differences: Vec<String> = rows(&capture)
            .iter()
            .filter(|(Noted(_, expected, _), row)| &row.thread != expected)
            .map(|(Noted(size, expected, _), row)| format!("{size}: {:?}, not {expected:?}", row.thread))
            .collect();
        assert!(differences.is_empty(), "{}\n{}", capture.name(), differences.join("\n"));
    });
}
