//! Programs that attack memray: frames that lead nowhere, thread states that are none, names that are commands to a
//! terminal, libraries that lie about themselves.
//!
//! Each program must come to the end that it has without us, an honest thread beside the attack must have exact rows,
//! every report must be harmless, and what it costs us in time and memory is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStringExt as _,
    time::{Duration, Instant},
};

use memray_tests::{
    Attach, Capture, Compiled, Python, Recording, Script, Target, harmless::assert_harmless, memray,
};
use nix::sys::resource::{UsageWho, getrusage};

const FIRST_HONEST: i64 = 1_234_501;
const HONEST: i64 = 60;
const FIRST_ATTACK: i64 = 2_000_001;
/// Of memray, a debug build on a busy machine, and of the program.
const LONGEST: Duration = Duration::from_mins(1);
/// The largest of memray and the programs: the ring is 64 MiB and mapped twice.
const MOST_KIB: i64 = 700 << 10;

/// Records one way of `hostile.py`, which must do what it does without us.
fn attacked<'test>(
    python: &'test Python,
    way: &str,
    script: &'test Script,
    prepare: impl FnOnce(Recording<'test>) -> Recording<'test>,
) -> Capture {
    let library = Compiled::library("hostile.c");
    let mut plain = python.command();
    let plain = plain
        .arg(&script.path)
        .arg(library.path())
        .arg(way)
        .output()
        .unwrap();
    assert!(
        plain.status.success(),
        "{}: {}",
        python.name(),
        String::from_utf8_lossy(&plain.stderr)
    );
    let start = Instant::now();
    let capture = prepare(Recording::script(python, script))
        .argument(library.path())
        .argument(way)
        .run();
    assert!(
        start.elapsed() < LONGEST,
        "{}: {:?}",
        python.name(),
        start.elapsed()
    );
    assert_eq!(
        capture.stdout,
        String::from_utf8(plain.stdout).unwrap(),
        "{}",
        python.name()
    );
    check(&capture);
    capture
}

/// What holds whatever the attack was.
#[expect(clippy::print_stdout, reason = "figures of a test")]
fn check(capture: &Capture) {
    let rows = capture.rows(|size| (FIRST_HONEST..FIRST_HONEST + HONEST).contains(&size));
    let mut by_size = BTreeMap::<i64, BTreeSet<bool>>::new();
    for row in &rows {
        let text = capture.row_text(row);
        let is_main = row.thread == "MainThread";
        let own = if is_main {
            "<module>@main > main@main thread > honest@honest"
        } else {
            "Thread._bootstrap (threading.py) > Thread._bootstrap_inner (threading.py) > Thread.run (threading.py) > \
             honest@honest"
        };
        let own = if capture.python.has_qualified_names() {
            own.to_owned()
        } else {
            own.replace("Thread.", "")
        };
        assert!(
            text.contains("malloc freed") && text.ends_with(&own),
            "{}: {text}",
            capture.name()
        );
        by_size.entry(row.size).or_default().insert(is_main);
    }
    assert_eq!(
        rows.len(),
        usize::try_from(2 * HONEST).unwrap(),
        "{}",
        capture.name()
    );
    assert!(
        by_size.len() == usize::try_from(HONEST).unwrap()
            && by_size.values().all(|threads| threads.len() == 2)
    );
    let largest_kib = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    println!("{}: at most {} MiB", capture.name(), largest_kib >> 10);
    assert!(largest_kib < MOST_KIB, "{}: {largest_kib} KiB", capture.name());
}

/// Rows of the attacks, as text, each attack once.
fn attacks(capture: &Capture, count: i64) -> Vec<String> {
    let rows = capture.rows(|size| (FIRST_ATTACK..FIRST_ATTACK + count).contains(&size));
    let sizes: Vec<i64> = rows.iter().map(|row| row.size).collect();
    let expected: Vec<i64> = (FIRST_ATTACK..FIRST_ATTACK + count).collect();
    assert_eq!(sizes, expected, "{}", capture.name());
    rows.iter().map(|row| capture.row_text(row)).collect()
}

/// What may be unknown of frames that are not there.
fn unknown(recording: Recording<'_>) -> Recording<'_> {
    let reasons = [
        "stack_fault",
        "stack_truncated",
        "code_fault",
        "code_unknown",
        "name_incomplete",
    ];
    let reasons = reasons.into_iter().chain([
        "line_table_incomplete",
        "thread_state_invalid",
        "stack_incomplete",
    ]);
    reasons.fold(recording, Recording::tolerates)
}

#[test]
fn frames_that_lead_nowhere() {
    let script = Script::new("hostile.py");
    Python::each(|python| {
        let capture = attacked(python, "frames", &script, unknown);
        let rows = attacks(&capture, 16);
        for row in &rows {
            assert!(
                row.contains("poison@poison"),
                "the innermost frame is true: {row:.300}"
            );
        }
        let count = |marker: &str| rows.iter().filter(|row| row.contains(marker)).count();
        capture.harmless_reports();
        assert!(
            count("<unreadable frames>") >= 8,
            "{}: {rows:.200?}",
            capture.name()
        );
        assert!(
            count("<outer frames cut>") >= 3,
            "{}: {rows:.200?}",
            capture.name()
        );
    });
}

/// So many allocations, none of which has frames.
fn check_without_python(capture: &Capture, n_rows: i64) {
    for row in attacks(capture, n_rows) {
        assert!(
            row.contains("<no Python frames>") || row.contains("<stack lost>"),
            "{}: {row:.300}",
            capture.name()
        );
    }
}

#[test]
fn thread_states_that_are_none() {
    let script = Script::new("hostile.py");
    for python in some() {
        let capture = attacked(&python, "states", &script, unknown);
        check_without_python(&capture, 9);
    }
}

#[test]
fn a_thread_that_moves_its_base() {
    let script = Script::new("hostile.py");
    for python in some() {
        let capture = attacked(&python, "bases", &script, |recording| {
            // Its allocator has but one block.
            unknown(recording).tolerates("implicit_free")
        });
        check_without_python(&capture, 6);
    }
}

#[test]
fn an_allocator_that_claims_the_impossible() {
    let script = Script::new("hostile.py");
    for python in some() {
        let capture = attacked(&python, "claims", &script, |recording| {
            recording.degrades("impossible_event").tolerates("implicit_free")
        });
        let lost = capture.number("SELECT sum(events) FROM losses WHERE reason = 'impossible_event'");
        // Two that are larger than all addresses, one at an address that is none, and what goes beyond 2^63 in all.
        assert!(lost.unwrap() >= 3 + 300 - 256, "{lost:?}");
        let all = capture.number("SELECT sum(alloc_bytes) FROM state");
        assert!(all.unwrap() > 1 << 62);
    }
}

/// One of each way in which frames and names are laid out.
fn some() -> Vec<Python> {
    let chosen = [(3, 9), (3, 11), (3, 12), (3, 14)];
    let of_version = |version| Python::all().iter().find(|python| python.version == version);
    chosen
        .into_iter()
        .map(|version| of_version(version).unwrap().clone())
        .collect()
}

#[test]
fn names_of_every_kind() {
    let script = Script::new("hostile.py");
    for python in some() {
        let capture = attacked(&python, "names", &script, unknown);
        let cut = capture.number("SELECT events FROM losses WHERE reason = 'name_incomplete'");
        assert_eq!(
            cut,
            Some(8),
            "function and file of four code objects: {}",
            capture.name()
        );
        let rows = capture.rows(|size| (FIRST_ATTACK..FIRST_ATTACK + 16).contains(&size));
        let found: BTreeMap<i64, (String, String)> = rows
            .iter()
            .map(|row| {
                let frame = *capture.stack(row.stack_id).last().unwrap();
                (
                    row.size - FIRST_ATTACK,
                    (frame.function.clone(), frame.file.clone()),
                )
            })
            .collect();
        assert_eq!(found.len(), 16, "{}", capture.name());
        for (number, expected) in [
            (0, "</script><script>alert(1)</script>"),
            (1, "'; DROP TABLE sites; --"),
            (2, "\u{1b}[2J\u{1b}]0;owned\u{7}"),
            (3, "a\0b"),
            (5, "\u{202e}gnp.exe\u{202c}\u{2066}\u{200f}"),
            (6, "not utf-8 \\udcff\\udcfe\\udc80"),
            (7, "lone \\ud800 surrogate \\udfff"),
            (8, "\u{fffe}\u{ffff}\u{10ffff}"),
            (11, ""),
        ] {
            let expected = (expected.to_owned(), expected.to_owned());
            assert_eq!(
                found[&number],
                expected,
                "{}: the capture holds the name as it is",
                capture.name()
            );
        }
        for number in 12..16 {
            let (function, file) = &found[&number];
            assert!(
                function.ends_with("…<cut>") && function.len() < 256 << 10,
                "{}",
                function.len()
            );
            assert!(
                file.ends_with("…<cut>") && file.len() < 256 << 10,
                "{}",
                file.len()
            );
        }
        let written = capture.harmless_reports();
        assert!(written.iter().all(|report| report.len() < 64 << 20));
        for thread in capture.query("SELECT name FROM threads") {
            assert!(thread.len() < 64 << 10);
        }
    }
}

#[test]
fn a_hundred_thousand_frames() {
    let script = Script::new("hostile.py");
    for python in some() {
        let capture = attacked(&python, "deep", &script, |recording| {
            recording.degrades("stack_truncated")
        });
        for row in attacks(&capture, 20) {
            assert!(
                row.contains("<outer frames cut>") && row.matches("down@").count() == 4096,
                "{row:.300}"
            );
        }
    }
}

#[test]
fn libraries_that_lie() {
    let script = Script::new("hostile.py");
    attacked(&some()[2], "objects", &script, |recording| recording);
}

/// The same libraries, in the program before we come.
#[test]
fn libraries_that_lied_before() {
    let script = Script::new("hostile.py");
    let library = Compiled::library("hostile.c");
    let library = library.path().to_str().unwrap();
    let start = Instant::now();
    let mut target = Target::script(&some()[2], &script, &[library, "objects", "before"]);
    let attachment = Attach::to(&target).start();
    target.tell("go");
    let sum = target.answer();
    assert!(sum.contains("499500"), "{sum}");
    let capture = attachment.finish();
    check(&capture);
    target.tell("end");
    target.end();
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
}

/// Whoever reads a page of which the program serves the faults waits for the program. It goes on living, and we do not
/// wait.
#[test]
fn memory_that_never_comes() {
    let script = Script::new("hostile.py");
    let library = Compiled::library("hostile.c");
    let library = library.path().to_str().unwrap();
    for python in some() {
        let mut target = Target::script(&python, &script, &[library, "unserved", "before"]);
        let attachment = Attach::to(&target).degrades("name_incomplete").start();
        target.tell("go");
        let sum = target.answer();
        assert!(sum.contains("499500"), "{sum}");
        let start = Instant::now();
        let capture = attachment.finish();
        assert!(start.elapsed() < LONGEST / 4, "{:?}", start.elapsed());
        check(&capture);
        let rows = attacks(&capture, 1);
        assert!(
            rows[0].contains("never_read_never_read_") && rows[0].contains("…<cut>"),
            "{rows:?}"
        );
        target.tell("end");
        target.end();
    }
}

/// Script, arguments and capture are called what nobody should print.
#[test]
fn a_script_of_a_hostile_name() {
    let directory = tempfile::tempdir().unwrap();
    let name = b"\x1b[2J\xff\xe2\x80\xae<script>'; DROP TABLE sites; --\n\x9b31m.py".to_vec();
    let path = directory.path().join(std::ffi::OsString::from_vec(name));
    fs::write(
        &path,
        "import sys\nb = bytearray(1234577)\ndel b\nraise SystemExit(3)\n",
    )
    .unwrap();
    for python in some() {
        let output = memray(directory.path())
            .arg("run")
            .arg("--python")
            .arg(&python.program)
            .arg(&path)
            .args(["\x1b]0;owned\x07", "\u{202e}argument", "</script>"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_harmless("stdout", &output.stdout);
        assert_harmless("stderr", &output.stderr);
        let capture = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "db"))
            .unwrap();
        for report in ["stats", "summary", "tree", "flamegraph", "table"] {
            let output = memray(directory.path())
                .arg(report)
                .arg(&capture)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            assert_harmless(report, &output.stdout);
            assert_harmless(report, &output.stderr);
        }
        let again = memray(directory.path())
            .arg("flamegraph")
            .arg(&capture)
            .output()
            .unwrap();
        assert!(!again.status.success(), "it is there already");
        assert_harmless("the error", &again.stderr);
        fs::remove_file(&capture).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let page = entry.unwrap().path();
            if page.extension().is_some_and(|extension| extension == "html") {
                fs::remove_file(page).unwrap();
            }
        }
    }
}
