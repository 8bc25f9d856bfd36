//! Whole stacks, frame by frame, against the interpreter's own view of them.

use std::collections::BTreeSet;

use memray_tests::{
    Capture, Python, Recording, Script,
    capture::{Frame, Row},
};
use serde::Deserialize;

/// What `stacks.py` says of one allocation.
#[derive(Debug, Deserialize)]
struct Noted(i64, Vec<NotedFrame>);

/// Function, file and line.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct NotedFrame(String, String, u32);

/// `MAX_PYTHON_FRAMES` in memray-ebpf/src/limits.rs.
const MAX_FRAMES: usize = 4096;

fn noted(capture: &Capture) -> Vec<Noted> {
    serde_json::from_str(capture.stdout.lines().last().unwrap()).unwrap()
}

fn frame(frame: &Frame) -> NotedFrame {
    assert_eq!(frame.kind, "python", "{frame:?}");
    NotedFrame(frame.function.clone(), frame.file.clone(), frame.line)
}

/// The noted allocations, each once.
fn rows(capture: &Capture, noted: &[Noted]) -> Vec<Row> {
    let sizes: Vec<i64> = noted.iter().map(|&Noted(size, _)| size).collect();
    let rows = capture.rows(|size| sizes.contains(&size));
    let found: Vec<i64> = rows.iter().map(|row| row.size).collect();
    assert_eq!(found, sizes, "{}", capture.name());
    rows
}

/// Frames in which two stacks differ first.
fn check_frames(name: &str, found: &[NotedFrame], expected: &[NotedFrame]) {
    let difference = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    if let Some(index) = difference {
        panic!(
            "{name}, frame {index}\nfound    {:?}\nexpected {:?}",
            found[index], expected[index]
        );
    }
    assert_eq!(found.len(), expected.len(), "{name}: {:?}", expected.last());
}

#[test]
fn every_kind_of_frame() {
    let script = Script::new("stacks.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument("all").run();
        let noted = noted(&capture);
        assert!(
            noted.len() > 80,
            "{}: only {} allocations",
            capture.name(),
            noted.len()
        );
        for (Noted(size, expected), row) in noted.iter().zip(rows(&capture, &noted)) {
            let found: Vec<NotedFrame> = capture.stack(row.stack_id).into_iter().map(frame).collect();
            check_frames(&format!("{}: {size}", capture.name()), &found, expected);
        }
    });
}

#[test]
fn recursion_beyond_the_bound_is_cut_and_says_so() {
    let script = Script::new("stacks.py");
    Python::each(|python| {
        let recording = Recording::script(python, &script).argument("deep");
        let capture = recording.degrades("stack_truncated").run();
        let noted = noted(&capture);
        let rows = rows(&capture, &noted);
        let row = rows.last().unwrap();
        let stack = capture.stack(row.stack_id);
        let (cut, frames) = stack.split_first().unwrap();
        assert_eq!(
            (cut.kind.as_str(), cut.function.as_str()),
            ("marker", "<outer frames cut>")
        );
        let found: Vec<NotedFrame> = frames.iter().map(|&found| frame(found)).collect();
        let expected = &noted.last().unwrap().1;
        check_frames(&capture.name(), &found, &expected[expected.len() - MAX_FRAMES..]);

        // Two stacks count that differ in an instruction and show the same lines.
        let all = capture.all_rows();
        let is_cut = |row: &&Row| capture.stack(row.stack_id)[0].function == cut.function;
        let cut_rows: Vec<i64> = all.iter().filter(is_cut).map(|row| row.stack_id).collect();
        let shown: BTreeSet<i64> = cut_rows.iter().copied().collect();
        let counted = capture.number("SELECT SUM(events) FROM losses WHERE reason = 'stack_truncated'");
        let counted = usize::try_from(counted.unwrap()).unwrap();
        let range = shown.len()..=cut_rows.len();
        assert!(
            range.contains(&counted),
            "{}: {counted} not in {range:?}",
            capture.name()
        );
    });
}
