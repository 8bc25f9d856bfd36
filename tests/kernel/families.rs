//! What the tests of followed processes share: `families.py` run plainly and recorded, and a capture of many processes
//! as text.

use std::process::Command;

use memray_tests::{
    Attach, Attachment, Capture, Python, Recording, Script, Target,
    target::{Ended, as_a_shell_shows},
};

/// Sizes of `families.py` and its children.
pub(super) fn is_known(size: i64) -> bool {
    (1_234_700..1_234_800).contains(&size)
}

/// Where `families.py` calls the function that its first argument names.
pub(super) const CALLER: &str = "<module>@main > main@way";

fn command(python: &Python, script: &Script, words: &[&str]) -> Command {
    let mut command = python.command();
    command.arg(&script.path).args(words);
    command
}

/// Runs `families.py` plainly and recorded, each to the same end.
pub(super) fn recorded(python: &Python, options: &[&str], words: &[&str]) -> Capture {
    recorded_with(python, options, words, |recording| recording)
}

/// As [`recorded`], with what `prepare` adds.
pub(super) fn recorded_with(
    python: &Python,
    options: &[&str],
    words: &[&str],
    prepare: impl for<'test> FnOnce(Recording<'test>) -> Recording<'test>,
) -> Capture {
    let script = Script::new("families.py");
    let plain = command(python, &script, words).output().unwrap();
    let mut recording = Recording::script(python, &script).ends_with(as_a_shell_shows(plain.status));
    for option in options {
        recording = recording.option(option);
    }
    for word in words {
        recording = recording.argument(word);
    }
    let capture = prepare(recording).run();
    assert_eq!(
        capture.stdout,
        String::from_utf8(plain.stdout).unwrap(),
        "{}: {words:?}",
        capture.name()
    );
    capture
}

/// Attaches to `families.py` before it does anything, and records it to its end, which must be that of a plain run.
pub(super) fn attached(
    python: &Python,
    words: &[&str],
    prepare: impl FnOnce(Attach<'static>) -> Attach<'static>,
) -> Capture {
    let script = Script::new("families.py");
    let plain = command(python, &script, words).output().unwrap();
    let mut waiting = vec!["wait"];
    waiting.extend(words);
    let mut target = Target::start(command(python, &script, &waiting), python, Some(&script));
    let attachment: Attachment<'static> = prepare(Attach::to(&target)).start();
    target.tell("go on");
    let capture = attachment.wait();
    let text = String::from_utf8(plain.stdout).unwrap();
    let expected = Ended {
        status: as_a_shell_shows(plain.status),
        rest: text.lines().map(str::to_owned).collect(),
    };
    assert_eq!(target.ended(), expected, "{}: {words:?}", capture.name());
    capture
}

/// A line for each process, then one for each known allocation with the number of its process before it, both in
/// order of processes.
pub(super) fn tree(capture: &Capture) -> Vec<String> {
    let mut lines = processes(capture);
    let mut rows = capture.rows(is_known);
    rows.sort_by_key(|row| row.process_id);
    let rows = rows
        .iter()
        .map(|row| format!("{} {}", row.process_id, capture.row_text(row)));
    lines.extend(rows);
    lines
}

/// `number origin program version < number of the parent`; of a version only what tests know.
pub(super) fn processes(capture: &Capture) -> Vec<String> {
    let sql = "SELECT process_id, origin,
            replace(executable, rtrim(executable, replace(executable, '/', '')), ''),
            CASE WHEN python_version = '' THEN 'none'
                ELSE substr(python_version, 1, instr(substr(python_version, 3), '.') + 1) END,
            CASE WHEN parent_process_id IS NULL THEN '' ELSE '< ' || parent_process_id END
        FROM processes ORDER BY process_id";
    let lines = capture.query(sql);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Process numbers and exit statuses.
pub(super) fn statuses(capture: &Capture) -> Vec<String> {
    capture.query("SELECT process_id, exit_status FROM processes ORDER BY process_id")
}

/// Compares [`tree`].
pub(super) fn expect(capture: &Capture, expected: &[impl AsRef<str>]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    capture.expect_lines(&tree(capture), &expected);
}

/// A process of `python` in [`processes`].
pub(super) fn process(number: u32, origin: &str, python: &Python, parent: Option<u32>) -> String {
    // An executable is known by its file and not by a link to it.
    let program = python.program.canonicalize().unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let (major, minor) = python.version;
    let parent = parent.map_or_else(String::new, |parent| format!(" < {parent}"));
    format!("{number} {origin} {name} {major}.{minor}{parent}")
}
