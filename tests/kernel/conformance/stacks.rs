//! Stacks to the line, where memray's own tests look and where memray fails: beside a profile hook, in threads that C has
//! made, in turns of Python and C, and in sub-interpreters.
//!
//! Of native frames, which memray shows with `--native`, there are none here: a stack without Python is empty.

use memray_tests::{Python, Recording, Script, capture::Row};

use super::{extension, without_names_of_threads};

/// Frames of a thread of Python's module.
const THREAD: &str =
    "Thread._bootstrap (threading.py) > Thread._bootstrap_inner (threading.py) > Thread.run (threading.py)";

fn expected() -> Vec<String> {
    let in_main = |rest: &str| format!("<module>@main > main@run > {rest}");
    let deeper = " > deep@deeper".repeat(20);
    let turns = " > python_and_c_in_turn@turn".repeat(4);
    let called = "from_a_foreign_thread.<locals>";
    let code = "<module> (<string>)";
    vec![
        "2001 valloc live: ".to_owned()
            + &in_main("three_functions@three > three_functions.<locals>.first@first > ")
            + "three_functions.<locals>.second@second > three_functions.<locals>.third@third > allocate@valloc",
        "12288 mmap live: ".to_owned() + &in_main("adjacent_lines@line one"),
        "12288 mmap live: ".to_owned() + &in_main("adjacent_lines@line two"),
        "2003 valloc live: ".to_owned()
            + &in_main("deep_and_back@deep")
            + &deeper
            + " > deep@deepest > allocate@valloc",
        "2005 valloc live: ".to_owned() + &in_main("deep_and_back@back > allocate@valloc"),
        "2007 valloc live: ".to_owned() + &in_main("no_profile_hook@profiled > allocate@valloc"),
        "2009 valloc live: ".to_owned() + &in_main("no_profile_hook@no longer profiled > allocate@valloc"),
        format!(
            "2011 valloc live [thread]: {THREAD} > no_profile_hook.<locals>.<lambda>@thread > allocate@valloc"
        ),
        "2013 valloc live: ".to_owned()
            + &in_main("python_and_c_in_turn@turn")
            + turns.strip_prefix(" > python_and_c_in_turn@turn").unwrap()
            + " > python_and_c_in_turn@last turn > allocate@valloc",
        "2015 valloc live: ".to_owned() + &in_main("without_the_gil@without the gil"),
        format!(
            "2017 valloc live [thread]: {called}.called_first@first call > {called}.inner@inner > allocate@valloc"
        ),
        "2019 valloc live [thread]: <no Python frames> (marker)".to_owned(),
        format!("2021 valloc live [thread]: {called}.called_next@next call > allocate@valloc"),
        "2023 valloc live: ".to_owned()
            + &in_main(
                "generators_and_lines@generator item > generators_and_lines.<locals>.numbers@generator > allocate@valloc",
            ),
        "2025 valloc live: ".to_owned() + &in_main("generators_and_lines@first argument > allocate@valloc"),
        "2027 valloc live: ".to_owned() + &in_main("generators_and_lines@second argument > allocate@valloc"),
        // What a sub-interpreter calls does not stand on what has called it.
        format!("1234610 calloc freed: {code} > inside (<string>) > inside.<locals>.deeper (<string>)"),
        format!(
            "1234610 calloc freed [thread]: {THREAD} > inside (<string>) > inside.<locals>.deeper (<string>)"
        ),
        format!("1234612 calloc freed: {code}"),
        "2029 valloc live: ".to_owned() + &in_main("in_a_subinterpreter@after its end > allocate@valloc"),
        format!("1234632 calloc freed: {code}"),
        "2031 valloc live: ".to_owned() + &in_main("in_a_subinterpreter@after it is gone > allocate@valloc"),
    ]
}

fn is_known(row: &Row) -> bool {
    let is_in_subinterpreter = (1_234_600..1_234_640).contains(&row.size);
    row.allocator == "valloc" || row.allocator == "mmap" && row.size == 3 * 4096 || is_in_subinterpreter
}

#[test]
fn to_the_line() {
    let extension = extension();
    let script = Script::new("conformance_stacks.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script)
            .argument(extension.folder())
            .run();
        let mut rows = capture.all_rows();
        rows.retain(is_known);
        // What code of a sub-interpreter is called after (Modules/_interpretersmodule.c).
        let file = if python.version >= (3, 14) {
            "<script>"
        } else {
            "<string>"
        };
        let expected: Vec<String> = expected()
            .iter()
            .map(|line| line.replace("<string>", file))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        capture.expect_lines(&without_names_of_threads(&capture, &rows), &expected);
    });
}
