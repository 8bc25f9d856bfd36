//! Each function that hands out or takes back memory, called from known lines.

use memray_tests::{Capture, Python, Recording, Script};

/// Whose functions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CLibrary {
    Glibc,
    Musl,
}

/// Rows of `allocators.py`. From glibc 2.38 on `memalign` is a function of its own; before, it is another name for
/// `aligned_alloc`, and nothing tells which of them was called. musl has no `pvalloc`.
fn expected(memalign: &str, pvalloc: &str) -> Vec<String> {
    let lines = [
        "1234501 malloc freed: <module>@simple > simple@malloc",
        "1234509 calloc freed: <module>@simple > simple@calloc",
        "1234511 valloc freed: <module>@simple > simple@valloc",
        "1234513 PVALLOC freed: <module>@simple > simple@pvalloc",
        "1234517 malloc live: <module>@simple > simple@malloc kept",
        "1234519 calloc live: <module>@simple > simple@calloc kept",
        "7234523 malloc live: <module>@simple > simple@strdup",
        "1234523 malloc live: <module>@simple > simple@three times",
        "1234523 malloc live: <module>@simple > simple@three times",
        "1234523 malloc live: <module>@simple > simple@three times",
        "1234560 aligned_alloc freed: <module>@aligned > aligned@aligned_alloc",
        "1234551 MEMALIGN freed: <module>@aligned > aligned@memalign",
        "1234531 posix_memalign freed: <module>@aligned > aligned@posix_memalign",
        "1234537 posix_memalign live: <module>@aligned > aligned@posix_memalign kept",
        "1234601 realloc freed: <module>@moved > moved@realloc of nothing",
        "5234603 realloc freed: <module>@moved > moved@grown",
        "1234605 realloc freed: <module>@moved > moved@shrunk",
        "2100007 reallocarray freed: <module>@moved > moved@array",
        "1234505 reallocarray live: <module>@moved > moved@array of nothing",
        "1234611 malloc freed: <module>@to_nothing > to_nothing@before zero",
        "1234613 malloc freed: <module>@to_nothing > to_nothing@before array of zero",
        "1234623 malloc live: <module>@failing_keeps > failing_keeps@survivor",
        "1234625 malloc freed: <module>@failing_keeps > failing_keeps@survivor that is freed",
        "1234627 malloc freed: <module>@failing_keeps > failing_keeps@survivor that grows",
        "5234629 realloc live: <module>@failing_keeps > failing_keeps@grown survivor",
    ];
    lines
        .iter()
        .map(|line| line.replace("MEMALIGN", memalign).replace("PVALLOC", pvalloc))
        .collect()
}

/// The interpreter's own blocks of this size: arenas of pymalloc, and the text that `strdup` copies.
fn is_own(size: i64) -> bool {
    size >= 1_000_000 && size != 1 << 20 && !(7_234_524..7_235_000).contains(&size)
}

pub(super) fn check(capture: &Capture, c_library: CLibrary) {
    let memalign = match capture.stdout.trim() {
        "one" => "aligned_alloc",
        "two" => "memalign",
        other => panic!("{}: {other}", capture.name()),
    };
    let pvalloc = match c_library {
        CLibrary::Glibc => "pvalloc",
        CLibrary::Musl => "valloc",
    };
    let expected = expected(memalign, pvalloc);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let rows = capture.rows(is_own);
    capture.expect(&rows, &expected);

    // A block that is moved ends before the one that replaces it begins.
    for (old, new) in [
        (1_234_601, 5_234_603),
        (5_234_603, 1_234_605),
        (1_234_605, 2_100_007),
        (1_234_627, 5_234_629),
    ] {
        let row = |size| rows.iter().find(|row| row.size == size).expect("compared above");
        assert!(
            row(old).free_ts <= Some(row(new).alloc_ts),
            "{}: {old} and {new}",
            capture.name()
        );
    }

    let zeros: Vec<String> = capture
        .rows(|size| size == 0)
        .iter()
        .map(|row| capture.row_text(row))
        .filter(|text| text.contains("@to_nothing"))
        .collect();
    // In glibc realloc to nothing frees; a malloc of nothing is a block.
    let mut expected = match c_library {
        CLibrary::Glibc => Vec::new(),
        CLibrary::Musl => vec![
            "0 realloc freed: <module>@to_nothing > to_nothing@zero",
            "0 reallocarray freed: <module>@to_nothing > to_nothing@array of zero",
        ],
    };
    expected.push("0 malloc live: <module>@to_nothing > to_nothing@malloc of zero");
    capture.expect_lines(&zeros, &expected);
}

#[test]
fn functions_of_the_c_library() {
    let script = Script::new("allocators.py");
    Python::each(|python| {
        for gil in ["keeps_gil", "releases_gil"] {
            let capture = Recording::script(python, &script).argument(gil).run();
            check(&capture, CLibrary::Glibc);
        }
    });
}
