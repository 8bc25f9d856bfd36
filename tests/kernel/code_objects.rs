//! Code objects that die, and others that take their place. No event is shown under the name of another code object:
//! many kinds of functions, threads, lost records, names and line tables that do not fit into a record.

#![expect(clippy::print_stdout, reason = "figures of tests")]

use memray_tests::{Attach, Capture, Compiled, Python, Recording, Script, Target, capture::Frame};

/// Of `dying_code.py`.
const FIRST_SIZE: i64 = 1_000_001;
/// The kind whose name is longer than what the kernel sends of it.
const LONG_KIND: usize = 5;
const KINDS: usize = 6;

fn script() -> Script {
    Script::new("dying_code.py")
}

/// What the function with this number must be shown as.
fn expected(python: &Python, number: usize) -> Frame {
    let long = "n".repeat(600);
    let (qualified, line) = match number % KINDS {
        0 => (format!("name_{number}"), 2),
        1 => (format!("outer_{number}.<locals>.inner_{number}"), 3),
        2 => ("<lambda>".to_owned(), 2),
        3 => (format!("gen_{number}"), 2),
        4 => (format!("Class_{number}.method_{number}"), 3),
        _ => (format!("{long}_{number}"), 2),
    };
    frame(python, number, &qualified, line)
}

fn frame(python: &Python, number: usize, qualified: &str, line: usize) -> Frame {
    let bare = qualified.rsplit('.').next().unwrap();
    Frame {
        function: if python.has_qualified_names() {
            qualified
        } else {
            bare
        }
        .to_owned(),
        file: format!("<file {}>", number % 1009),
        line: u32::try_from(number % 97 + line).unwrap(),
        kind: "python".to_owned(),
    }
}

/// How rows are shown, and all that are wrong.
#[derive(Debug, Default)]
struct Shown {
    right: usize,
    /// The beginning of the name with a mark.
    cut: usize,
    /// A mark in place of the name.
    unknown: usize,
}

/// Looks at the innermost frames of the functions `0..count`.
fn look(capture: &Capture, count: usize, expected: impl Fn(usize) -> Frame) -> Shown {
    let mut shown = Shown::default();
    let mut wrong = Vec::new();
    let last = FIRST_SIZE + i64::try_from(count).unwrap();
    for row in capture.rows(|size| (FIRST_SIZE..last).contains(&size)) {
        let number = usize::try_from(row.size - FIRST_SIZE).unwrap();
        let stack = capture.stack(row.stack_id);
        let (found, expected) = (*stack.last().unwrap(), expected(number));
        let cut = format!("{}…<cut>", &expected.function[..expected.function.len().min(512)]);
        let is_long = expected.function.len() > 512;
        if *found == expected {
            shown.right += 1;
        } else if is_long
            && (&found.function, &found.file, found.line) == (&cut, &expected.file, expected.line)
        {
            shown.cut += 1;
        } else if ["<stack lost>", "<unknown function>"].contains(&found.function.as_str()) {
            shown.unknown += 1;
        } else {
            wrong.push(format!("{number}: {found:?}"));
        }
    }
    let name = capture.name();
    println!("{name}: {shown:?}, {} wrong", wrong.len());
    assert!(
        wrong.is_empty(),
        "{name}: {} wrong, first {:?}",
        wrong.len(),
        wrong[0]
    );
    shown
}

fn events(capture: &Capture, reason: &str) -> usize {
    let sql = format!("SELECT coalesce(sum(events), 0) FROM losses WHERE reason = '{reason}'");
    usize::try_from(capture.number(&sql).unwrap()).unwrap()
}

/// Functions by several threads; each row is there, and nothing but a long name can be marked.
fn check_all_there(python: &Python, count: usize) {
    let script = script();
    let capture = Recording::script(python, &script)
        .argument("made")
        .argument(count.to_string())
        .tolerates("name_incomplete")
        .run();
    let (n_functions, n_rows) = (count + count / 4, count * 2);
    let shown = look(&capture, n_functions, |number| expected(python, number));
    let name = capture.name();
    assert_eq!((shown.right + shown.cut, shown.unknown), (n_rows, 0), "{name}");
    let n_long = (0..n_functions)
        .filter(|number| number % KINDS == LONG_KIND)
        .count();
    let n_cut = events(&capture, "name_incomplete");
    assert!(
        n_cut <= n_long && shown.cut <= 4 * n_cut,
        "{name}: {n_cut} of {n_long}"
    );
    let n_addresses: usize = capture.stdout.trim().parse().unwrap();
    assert!(
        n_addresses < n_functions / 2,
        "{name}: {n_addresses} addresses; nothing was used again"
    );
}

#[test]
fn functions_that_end_at_once() {
    Python::each(|python| check_all_there(python, 400));
}

#[test]
#[ignore = "long"]
fn twenty_thousand_functions_that_end_at_once() {
    Python::each(|python| check_all_there(python, 20_000));
}

/// Whenever the recorder sleeps the ring is full at once: events are lost, and names and deaths where the ring's reserve
/// for them is not enough.
fn check_lossy(python: &Python) {
    let script = script();
    let mut recording = Recording::script(python, &script)
        .option("--lossy")
        .option("--ring-size=256K")
        .argument("stopped")
        .argument("1001")
        .degrades("allocation_ring_full");
    for reason in [
        "code_ring_full",
        "code_unknown",
        "free_ring_full",
        "implicit_free",
        "line_table_incomplete",
        "map_ring_full",
        "name_incomplete",
        "stack_ring_full",
        "thread_ring_full",
        "unmap_ring_full",
    ] {
        recording = recording.tolerates(reason);
    }
    let capture = recording.run();
    let shown = look(&capture, 1102, |number| expected(python, number));
    let lost =
        ["allocation_ring_full", "code_ring_full", "stack_ring_full"].map(|reason| events(&capture, reason));
    println!("{}: lost {lost:?}", capture.name());
    // How many are lost depends on who gets a CPU; that none is wrong has been checked.
    assert!(shown.right > 50, "{}: {shown:?}", capture.name());
}

#[test]
fn functions_whose_records_are_lost() {
    for python in &[8, 11, 13].map(Python::of_pyenv) {
        check_lossy(python);
    }
}

#[test]
#[ignore = "long"]
fn functions_whose_records_are_lost_everywhere() {
    Python::each(check_lossy);
}

fn served(python: &Python, arguments: &[&str]) -> Target {
    Target::script(python, &script(), &[&["served"], arguments].concat())
}

/// What does not fit into records is read from the program, and is whole where the functions live.
#[test]
fn long_names_and_huge_line_tables_of_functions_that_live() {
    const COUNT: usize = 4;
    for python in &[8, 10, 13].map(Python::of_pyenv) {
        let mut target = served(python, &[]);
        let attachment = Attach::to(&target).start();
        target.obey(&format!("kept {COUNT}"));
        let capture = attachment.finish();
        let shown = look(&capture, COUNT, |number| {
            let (name, line) = if number % 2 == 0 {
                (format!("huge_{number}"), 70_003)
            } else {
                (format!("{}_{number}", "n".repeat(600)), 2)
            };
            frame(python, number, &name, line)
        });
        assert_eq!(shown.right, COUNT, "{}", capture.name());
        target.end();
    }
}

/// An extension has put a function of its own before the one that ends code objects; or it is in no file, and the
/// programs cannot see code objects end. They say so and remember nothing.
#[test]
fn code_objects_that_end_elsewhere() {
    let library = Compiled::library("dealloc.c");
    let library = library.path().to_str().unwrap();
    for python in &[8, 12].map(Python::of_pyenv) {
        for (place, reasons) in [(library, &[][..]), ("nowhere", &["code_deaths_unseen"])] {
            let mut target = served(python, &[place]);
            let mut attach = Attach::to(&target).tolerates("name_incomplete");
            for reason in reasons {
                attach = attach.degrades(reason);
            }
            let attachment = attach.start();
            target.tell("made 160");
            target.answer();
            assert_eq!(target.answer(), "done");
            let capture = attachment.finish();
            let shown = look(&capture, 200, |number| expected(python, number));
            assert_eq!(shown.right + shown.cut, 320, "{}", capture.name());
            target.end();
        }
    }
}
