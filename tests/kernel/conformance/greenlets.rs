//! greenlet switches between stacks by hand: each allocation has the stack of the greenlet that made it, as CPython itself
//! sees it. memray must hook greenlet's switches for that, and gives each greenlet the number of a thread.

use memray_tests::{Python, Recording, Script};

use super::{extension, packages, without_names_of_threads};

const THREAD: &str =
    "Thread._bootstrap (threading.py) > Thread._bootstrap_inner (threading.py) > Thread.run (threading.py)";

#[test]
fn stacks_of_greenlets() {
    let extension = extension();
    let script = Script::new("conformance_greenlets.py");
    let in_test = |rest: &str| format!("<module>@test > test@{rest} > allocate@valloc");
    let deep = format!("{}deep@", "deep@deeper > ".repeat(30));
    let key = "from_a_callback.<locals>.<lambda>@key";
    let expected = [
        (10_241, "apple@banana > banana@first > allocate@valloc".to_owned()),
        (10_242, "ant@second > allocate@valloc".to_owned()),
        (10_243, "apple@banana > banana@third > allocate@valloc".to_owned()),
        (10_244, "ant@fourth > allocate@valloc".to_owned()),
        (10_245, "ant@bat > bat@fifth > allocate@valloc".to_owned()),
        (10_246, "ant@sixth > allocate@valloc".to_owned()),
        (10_247, in_test("last")),
        (10_248, format!("{deep}deep > allocate@valloc")),
        (10_249, in_test("ends > ends_while_another_is_suspended@between")),
        (10_250, format!("{deep}deep again > allocate@valloc")),
        (10_251, in_test("ends > ends_while_another_is_suspended@end")),
        (
            10_252,
            in_test(&format!("callback > from_a_callback@key > {key}")),
        ),
        (
            10_253,
            "from_a_callback.<locals>.<lambda>@other > allocate@valloc".to_owned(),
        ),
        (
            10_254,
            in_test(&format!("callback > from_a_callback@key > {key}")),
        ),
        (
            10_255,
            "in_a_thread.<locals>.<lambda>@worker > allocate@valloc".to_owned(),
        ),
        (10_256, format!("{THREAD} > in_a_thread@thread > allocate@valloc")),
    ]
    .map(|(size, stack)| {
        // Greenlets run in the thread that switches to them.
        let thread = if size < 10_255 { "" } else { " [thread]" };
        format!("{size} valloc live{thread}: {stack}")
    });
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    Python::each(|python| {
        let capture = Recording::script(python, &script)
            .argument(extension.folder())
            .argument(packages(python))
            .run();
        let mut rows = capture.all_rows();
        rows.retain(|row| row.allocator == "valloc");
        capture.expect_lines(&without_names_of_threads(&capture, &rows), &expected);

        // CPython says the same, without the frame that asks it.
        let noted: Vec<(i64, Vec<String>)> = serde_json::from_str(&capture.stdout).unwrap();
        for ((size, noted), row) in noted.iter().zip(&rows) {
            let names = capture.stack(row.stack_id);
            let names: Vec<&str> = names
                .iter()
                .map(|frame| frame.function.rsplit('.').next().unwrap())
                .collect();
            assert_eq!(names[..names.len() - 1], noted[..], "{}: {size}", capture.name());
        }
    });
}
