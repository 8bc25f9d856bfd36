//! The peak and what it is made of, leaks, and temporary allocations.

use memray_tests::{Capture, Compiled, Python, Recording, Script};

/// Sums over a capture of `steps.c`, which allocates nothing else.
#[derive(Debug, PartialEq, Eq)]
struct Steps {
    peak: i64,
    peak_count: i64,
    live: i64,
    allocations: i64,
    /// Allocator, bytes and allocations at the peak.
    composition: Vec<String>,
}

fn steps(program: &Compiled, steps: &str) -> Steps {
    let mut recording = Recording::command(program.path());
    for step in steps.split(' ') {
        recording = recording.argument(step);
    }
    let capture = recording.run();
    let state = |column: &str| capture.number(&format!("SELECT {column} FROM state")).unwrap();
    Steps {
        peak: state("peak_bytes"),
        peak_count: state("peak_count"),
        live: state("live_bytes"),
        allocations: state("alloc_count"),
        composition: capture.query(
            "SELECT name, bytes, allocations FROM site_peaks JOIN allocators USING (allocator_id)
             WHERE allocations > 0 ORDER BY bytes DESC",
        ),
    }
}

#[test]
fn peaks_of_known_steps() {
    let program = Compiled::program("steps.c");
    let check = |line: &str, peak: (i64, i64), live: i64, allocations: i64, composition: &[&str]| {
        let expected = Steps {
            peak: peak.0,
            peak_count: peak.1,
            live,
            allocations,
            composition: composition.iter().map(|&row| row.to_owned()).collect(),
        };
        assert_eq!(steps(&program, line), expected, "{line}");
    };
    check("a=1024 -a b=1024 -b", (1024, 1), 0, 2, &["malloc 1024 1"]);
    check("a=1024 -a b=2048 -b", (2048, 1), 0, 2, &["malloc 2048 1"]);
    check("a=2048 -a b=1024 -b", (2048, 1), 0, 2, &["malloc 2048 1"]);
    check("a=1024 b=1024", (2048, 2), 2048, 2, &["malloc 2048 2"]);
    check(
        "a=1000 -a b=500 c=499 d=2",
        (1001, 3),
        1001,
        4,
        &["malloc 1001 3"],
    );
    // Equal peaks: the composition is that of the last one.
    check("a=8192 -a M=8192 -M", (8192, 1), 0, 2, &["mmap 8192 1"]);
    check("M=8192 -M a=8192 -a", (8192, 1), 0, 2, &["malloc 8192 1"]);
    check("a=8192 -a M=8192 -M a=8191", (8192, 1), 8191, 3, &["mmap 8192 1"]);
    // A reallocation ends the old block before it makes the new one.
    check("a=6000 a:7000", (7000, 1), 7000, 2, &["realloc 7000 1"]);
    check("a=6000 b=10 a:5000 -a", (6010, 2), 10, 3, &["malloc 6010 2"]);
    check("a=0 b=0", (0, 2), 0, 2, &["malloc 0 2"]);
}

/// Compares the script's rows in a view, as `size allocations: stack`.
fn view(
    python: &Python,
    script: &Script,
    library: &Compiled,
    function: &str,
    view: &str,
    expected: &[&str],
) -> Capture {
    let recording = Recording::script(python, script).argument(function);
    let capture = recording.argument(library.path()).run();
    // What the interpreter itself holds is far smaller, but for its arenas.
    let sql = format!("SELECT stack_id FROM {view} WHERE bytes > 1048576 ORDER BY stack_id");
    let rows: Vec<String> = capture
        .query(&sql)
        .iter()
        .map(|id| id.parse().unwrap())
        .map(|id| {
            let sql = format!("SELECT bytes, allocations FROM {view} WHERE stack_id = {id}");
            let figures = capture.query(&sql).join(" ");
            let (bytes, count) = figures.split_once(' ').unwrap();
            let bytes: i64 = bytes.parse().unwrap();
            let size = if bytes % (1 << 20) == 0 {
                format!("{}M", bytes >> 20)
            } else {
                bytes.to_string()
            };
            format!("{size} {count}: {}", capture.stack_text(id))
        })
        .filter(|row| row.contains("@start > ") && !row.contains('('))
        .collect();
    capture.expect_lines(&rows, expected);
    capture
}

#[test]
fn peaks_of_python_programs() {
    let (script, library) = (Script::new("peaks.py"), Compiled::library("native.c"));
    Python::each(|python| {
        let peak = |function, expected: &[&str]| {
            view(python, &script, &library, function, "peak", expected);
        };
        peak("equal", &["200M 1: <module>@start > equal@last > take@malloc"]);
        peak(
            "highest_in_the_middle",
            &[
                "30M 1: <module>@start > highest_in_the_middle@low > take@malloc",
                "300M 1: <module>@start > highest_in_the_middle@high > take@malloc",
            ],
        );
        peak(
            "two_lines",
            &[
                "100M 1: <module>@start > two_lines@line one > take@malloc",
                "200M 1: <module>@start > two_lines@line two > take@malloc",
            ],
        );
        peak("loop", &["300M 5: <module>@start > loop@loop > take@malloc"]);
        let levels: Vec<String> = (0..10)
            .map(|above| {
                let deeper = " > recursive@deeper".repeat(above);
                let size = (10 - above) * 10;
                format!("{size}M 1: <module>@start{deeper} > recursive@level > take@malloc")
            })
            .collect();
        peak(
            "recursive",
            &levels.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    });
}

#[test]
fn leaks_and_temporary_allocations() {
    let (script, library) = (Script::new("peaks.py"), Compiled::library("native.c"));
    Python::each(|python| {
        let comprehension = if python.inlines_comprehensions() {
            ""
        } else {
            " > leaks.<locals>.<listcomp>@three"
        };
        let three = format!("1234587 1: <module>@start > leaks@three{comprehension} > take@malloc");
        let ten = "12345910 10: <module>@start > leaks@ten > take@malloc";
        view(python, &script, &library, "leaks", "leaks", &[&three, ten]);

        let expected = [
            "8642039 7: <module>@start > temporary@pairs",
            // Of nested blocks the two innermost: one allocation or none was made in between.
            "2469158 2: <module>@start > temporary@nested",
            // Freed by another thread, for which this one made a single block. In memray it would not count.
            "1234581 1: <module>@start > temporary@elsewhere",
            "1234583 1: <module>@start > temporary@one pair",
        ];
        let capture = view(python, &script, &library, "temporary", "temporary", &expected);
        let between = |size: i64| {
            capture.query(&format!(
                "SELECT allocations_between FROM freed_allocations WHERE size = {size} ORDER BY free_ts"
            ))
        };
        assert_eq!(between(1_234_577), ["0"; 7], "{}", capture.name());
        // So that of five nested ones a threshold of N counts N + 1.
        assert_eq!(
            between(1_234_579),
            ["0", "1", "2", "3", "4"],
            "{}",
            capture.name()
        );
        assert_eq!(between(1_234_583), ["0"], "{}", capture.name());
    });
}
