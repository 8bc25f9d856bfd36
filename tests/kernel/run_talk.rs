//! What memray says, and where: never on the program's standard output, nothing on a closed pipe, colors and progress
//! on a terminal only.

use std::{fs, path::Path};

use memray_tests::{
    behavior::{folder_with, memray_run, plain, run_with_input, usual_python},
    memray::memray_binary,
    program, transcript,
};

/// Enough lines for every report to be cut off by its reader.
const DEEP: &str =
    "def f(n):\n    blocks.append(bytearray(1000 + n))\n    if n: f(n - 1)\n\n\nblocks = []\nf(300)\n";

fn recorded() -> tempfile::TempDir {
    let folder = folder_with(&[("a.py", DEEP)]);
    let output = run_with_input(memray_run(folder.path(), &["a.py"]), b"");
    assert_eq!(transcript(&output), "exit status: 0\n");
    folder
}

fn shell(folder: &Path, line: &str) -> String {
    let mut command = plain(folder, "bash");
    command.env("M", memray_binary()).args(["-c", line]);
    transcript(&run_with_input(command, b""))
}

/// What a report shows on a terminal.
fn on_terminal(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> String {
    let mut terminal = plain(folder, &usual_python().program);
    terminal
        .arg(program("terminal.py"))
        .arg("expect:")
        .arg(memray_binary())
        .args(words);
    terminal.env("TERM", "xterm").envs(environment.iter().copied());
    let output = run_with_input(terminal, b"");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = recorded();
    for report in [
        "stats",
        "summary -r 1000",
        "tree",
        "flamegraph -o -",
        "table -o -",
        "stats --json -o -",
        "--help",
    ] {
        let said = shell(
            folder.path(),
            &format!("\"$M\" {report} c.db | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"),
        );
        assert_eq!(said, "exit status: 0\n--- stdout\n0\n", "{report}");
        let said = shell(
            folder.path(),
            &format!("\"$M\" {report} c.db | true; echo ${{PIPESTATUS[0]}}"),
        );
        assert_eq!(said, "exit status: 0\n--- stdout\n0\n", "{report}");
    }
}

#[test]
fn colors_are_for_terminals() {
    let folder = recorded();
    for report in ["stats", "summary", "tree"] {
        let with = on_terminal(folder.path(), &[report, "c.db"], &[]);
        let without = on_terminal(folder.path(), &[report, "c.db"], &[("NO_COLOR", "1")]);
        let piped = shell(folder.path(), &format!("\"$M\" {report} c.db"));
        assert!(
            with.ends_with("status 0\n") && without.ends_with("status 0\n"),
            "{with}{without}"
        );
        assert!(
            !without.contains('\x1b') && !piped.contains('\x1b'),
            "{without}{piped}"
        );
        assert!(with.contains('\x1b'), "{with}");
    }
}

#[test]
fn quick_work_has_no_progress_line() {
    let folder = recorded();
    let shown = on_terminal(folder.path(), &["table", "-o", "t.html", "c.db"], &[]);
    assert_eq!(shown, "Wrote t.html\nstatus 0\n");
    assert!(
        fs::read_to_string(folder.path().join("t.html"))
            .unwrap()
            .contains("a.py")
    );
}
