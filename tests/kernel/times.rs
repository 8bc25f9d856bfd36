//! Times: their order whatever CPU they came from, and the memory curve beside what the kernel counts.

use memray_tests::{Capture, Compiled, Python, Recording, Script};

/// Of one thread on one CPU and one on another, blocks go from hand to hand. The order of rows is that of the ring, and
/// every capture of these tests is checked for its times to go the same way.
#[test]
fn blocks_from_one_cpu_to_another() {
    let program = Compiled::program("pinned.c");
    let capture = Recording::command(program.path()).run();
    let rows = capture.query(
        "SELECT COUNT(*), SUM(free_ts >= alloc_ts), COUNT(DISTINCT thread_id)
         FROM freed_allocations WHERE size = 1001",
    );
    assert_eq!(rows, ["60000 60000 1"]);
    assert_eq!(
        capture.number("SELECT COUNT(*) FROM live_allocations WHERE size = 1001"),
        Some(0)
    );
}

/// What `touching.py` says of one step: its name, from when to when, and the parts of its resident memory.
type Step = (String, i64, i64, i64, i64, i64);

/// Bytes of a step, or the growth of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    anon: i64,
    file: i64,
    shmem: i64,
    live: i64,
}

const MB: i64 = 1 << 20;
/// Between what the interpreter needs in a step for itself (an arena, the table of pages that it has touched) and the
/// smallest step.
const TOLERANCE: i64 = 3 * MB / 2;

/// The last row of the memory curve that lies in the step, and the live bytes that it or the last before it has.
fn sampled(capture: &Capture, (name, begin, end, ..): &Step) -> Parts {
    let base = capture
        .number("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'clock_base_ns'")
        .unwrap();
    let of = |column: &str| {
        capture
            .number(&format!(
                "SELECT {column} FROM timeline WHERE {column} IS NOT NULL AND ts BETWEEN {} AND {} ORDER BY ts DESC LIMIT 1",
                begin - base,
                end - base - 10_000_000
            ))
            .unwrap_or_else(|| panic!("{}: no sample of `{name}`", capture.name()))
    };
    let parts = Parts {
        anon: of("rss_anon_bytes"),
        file: of("rss_file_bytes"),
        shmem: of("rss_shmem_bytes"),
        live: of("live_bytes"),
    };
    assert_eq!(
        of("rss_bytes"),
        parts.anon + parts.file + parts.shmem,
        "{}: {name}",
        capture.name()
    );
    parts
}

#[test]
fn the_memory_curve_agrees_with_the_kernel() {
    let script = Script::new("touching.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).run();
        let name = capture.name();
        let steps: Vec<Step> = serde_json::from_str(capture.stdout.trim()).unwrap();
        let found: Vec<Parts> = steps.iter().map(|step| sampled(&capture, step)).collect();
        for ((step, _, _, anon, file, shmem), found) in steps.iter().zip(&found) {
            for (truth, sample) in [(anon, found.anon), (file, found.file), (shmem, found.shmem)] {
                assert!(
                    (truth - sample).abs() < TOLERANCE,
                    "{name}: {step}: {truth}, {found:?}"
                );
            }
        }
        let expected = [
            ("mapped", [0, 0, 0, 40]),
            ("anonymous", [40, 0, 0, 0]),
            ("file", [0, 24, 0, 0]),
            ("written", [8, 0, 0, 0]),
            ("shared", [0, 0, 16, 16]),
            ("given back", [-40, 0, 0, -40]),
        ];
        for (index, (step, growth)) in expected.into_iter().enumerate() {
            assert_eq!(steps[index + 1].0, step);
            let (before, after) = (found[index], found[index + 1]);
            let parts = [
                after.anon - before.anon,
                after.file - before.file,
                after.shmem - before.shmem,
                after.live - before.live,
            ];
            for (part, expected) in parts.into_iter().zip(growth) {
                assert!(
                    (part - expected * MB).abs() < TOLERANCE,
                    "{name}: {step}: {parts:?}"
                );
            }
        }
        // What is in the heap and what is in memory of it: all that was mapped, but for what was never touched.
        let (first, touched) = (found[0], found[2]);
        let difference = (touched.live - first.live) - (touched.anon - first.anon);
        assert!(difference.abs() < TOLERANCE, "{name}: {difference}");
    });
}

#[test]
fn intervals_as_long_as_asked_for() {
    let python = &Python::all()[0];
    let code = "import time\nkept = []\nfor size in range(300):\n    kept.append(bytes(1000 + size)); time.sleep(0.002)";
    for ms in [1, 200] {
        let capture = Recording::code(python, code)
            .option(&format!("--memory-interval={ms}"))
            .run();
        let interval_ns = ms * 1_000_000;
        let elsewhere = format!("SELECT COUNT(*) FROM timeline WHERE ts % {interval_ns} <> 0");
        assert_eq!(capture.number(&elsewhere), Some(0));
        let rows = capture.number("SELECT COUNT(*) FROM timeline").unwrap();
        let span = capture.number("SELECT MAX(ts) - MIN(ts) FROM timeline").unwrap();
        assert!(
            (2..=span / interval_ns + 1).contains(&rows),
            "{rows} in {span} ns"
        );
        let meta = capture.query("SELECT value FROM meta WHERE key = 'memory_interval_ms'");
        assert_eq!(meta, [ms.to_string()]);
        let sampled = capture
            .number("SELECT COUNT(rss_anon_bytes) FROM timeline")
            .unwrap();
        assert!(
            sampled > 0 && sampled * 4 > rows,
            "{sampled} samples in {rows} rows"
        );
    }
}
