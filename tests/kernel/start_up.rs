//! What the interpreter allocates before the program's own code, left out or counted.

use std::process::Command;

use memray_tests::{Capture, Python, Recording, Script};

/// The views that users may build on.
const VIEWS: [&str; 9] = [
    "allocations",
    "peak",
    "leaks",
    "temporary",
    "hotspots",
    "memory",
    "locations",
    "stack_frames",
    "stack_text",
];

/// Rows that begin in another frame than the script's, and are made while it runs.
fn before_the_script(capture: &Capture) -> usize {
    let script = capture.script.as_ref().unwrap();
    let rows = capture.all_rows();
    let first = rows
        .iter()
        .position(|row| capture.stack(row.stack_id)[0].file == script.path.to_str().unwrap());
    first.unwrap_or_else(|| panic!("{}: no row of the script", capture.name()))
}

#[test]
fn start_up_is_left_out_unless_asked_for() {
    let script = Script::new("start_up.py");
    Python::each(|python| {
        let expected = ["1234577 malloc live: <module>@malloc"];
        let without = Recording::script(python, &script).ends_with(3).run();
        let name = without.name();
        without.expect(&without.rows(|size| size == 1_234_577), &expected);
        assert_eq!(before_the_script(&without), 0, "{name}");
        let started = without.number("SELECT script_started_ns FROM processes");
        assert_eq!(
            started,
            without.number("SELECT MIN(alloc_ts) FROM allocations"),
            "{name}"
        );
        let left_out = without.number("SELECT startup_count FROM state").unwrap();
        let left_out_bytes = without.number("SELECT startup_bytes FROM state").unwrap();
        assert!(
            left_out > 100 && left_out_bytes > 100_000,
            "{name}: {left_out} of {left_out_bytes} bytes"
        );

        let with = Recording::script(python, &script)
            .option("--include-startup")
            .ends_with(3)
            .run();
        with.expect(&with.rows(|size| size == 1_234_577), &expected);
        assert!(before_the_script(&with) > 100, "{name}");
        let imports = "SELECT COUNT(*) FROM hotspots WHERE file LIKE '%importlib._bootstrap%'";
        assert!(with.number(imports) > without.number(imports), "{name}");
        assert_eq!(with.number("SELECT startup_count FROM state"), Some(0), "{name}");
    });
}

/// Also those that SQLite's own program is older than.
#[test]
fn views_answer_in_the_shell_of_sqlite() {
    let script = Script::new("start_up.py");
    let python = &Python::all()[0];
    let capture = Recording::script(python, &script).ends_with(3).run();
    for view in VIEWS {
        let sql = format!("SELECT COUNT(*) FROM {view}");
        let output = Command::new("sqlite3")
            .args(["-readonly"])
            .arg(&capture.path)
            .arg(&sql)
            .output();
        let output =
            output.unwrap_or_else(|error| panic!("cannot run `sqlite3`: {error}; `apt-get install sqlite3`"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{view}: {errors}");
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(vec![found.clone()], capture.query(&sql), "{view}");
        assert!(found != "0" || view == "temporary", "{view} is empty");
    }
}
