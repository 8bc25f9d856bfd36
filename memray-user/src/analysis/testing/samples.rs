//! Captures that tests share: small, cut off, hostile, deep, and as large as real ones.

use super::{CaptureBuilder, TestFrame};
use crate::model::{Allocator, SiteFigures, TimelineRow};

/// Ten sites of a small program, with leaks and temporary allocations among them.
pub(crate) fn small() -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let run = ("_run_code", "<frozen runpy>", 88);
    let module = ("<module>", "/home/user/example.py", 37);
    let main = |line| ("main", "/home/user/example.py", line);
    let leaf = ("leaf", "/home/user/example.py", 8);
    let import = ("_find_and_load", "<frozen importlib._bootstrap>", 1360);
    let loads = ("loads", "/usr/lib/python3.12/json/__init__.py", 346);
    let array = (
        "array",
        "/usr/lib/python3.12/site-packages/numpy/core/numeric.py",
        12,
    );
    builder.allocate(
        &[
            run,
            module,
            main(27),
            ("middle", "/home/user/example.py", 11),
            leaf,
        ],
        15_000_000,
        3,
    );
    let list = builder.allocate(
        &[run, module, main(30), ("build_list", "/home/user/example.py", 20)],
        8_448_728,
        1,
    );
    builder.allocate_by(Allocator::Mmap, &[run, module, main(33), array], 4_194_304, 1);
    let thread = [
        ("_bootstrap", "/usr/lib/python3.12/threading.py", 1030),
        ("work", "/home/user/example.py", 14),
        leaf,
    ];
    builder.allocate(&thread, 3_000_000, 2);
    let parsed = builder.allocate_by(Allocator::Realloc, &[run, module, main(35), loads], 90_500, 108);
    builder.allocate(&[run, module, import], 12_288, 12);
    builder.allocate_by(Allocator::Calloc, &[run, module, main(36)], 2_345, 5);
    builder.allocate(&[("<no Python frame>", "", 0)], 258, 1);
    builder.allocate(&[run], 64, 1);
    builder.allocate(&[], 1, 1);
    builder.leaks = vec![SiteFigures {
        bytes: 8_000_000,
        ..list
    }];
    builder.temporary = vec![SiteFigures {
        bytes: 40_000,
        count: 50,
        ..parsed
    }];
    for (ts, live_bytes, max_bytes) in [
        (0, 5_000_000, 6_000_000),
        (1_500_000_000, 20_000_000, 30_748_488),
        (2_400_000_000, 8_000_000, 20_000_000),
    ] {
        builder.timeline.push(TimelineRow {
            process_id: 1,
            ts,
            live_bytes,
            max_bytes,
            ..TimelineRow::default()
        });
    }
    builder
}

/// A recording that was cut off and lost events.
pub(crate) fn unfinished() -> CaptureBuilder {
    let mut builder = small();
    builder.metadata.ended_at_ms = None;
    builder.metadata.finished = false;
    builder.metadata.states[0].startup_count = 1200;
    builder.metadata.states[0].startup_bytes = 3_400_000;
    builder.lose(
        "lost",
        "allocation_ring_full",
        12,
        3000,
        "allocations that found the ring full and are missing",
    );
    builder.lose(
        "degraded",
        "stack_fault",
        1,
        0,
        "stacks that could not be read to their end",
    );
    builder.lose("neutral", "failed_call", 7, 0, "calls that returned no memory");
    builder
}

/// Names that try to break out of every format.
pub(crate) fn hostile() -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let long = "long_name_".repeat(500);
    builder.metadata.command_line = "python3 </title><script>alert(1)</script> \u{1b}[31m".to_owned();
    builder.metadata.threads[0].name = "</script><b>thread".to_owned();
    let outer = ("</script><img src=x onerror=alert(1)>", "/tmp/<b>;file\".py", 1);
    builder.allocate(
        &[outer, ("\u{202e}gnp.evil", "\u{2066}rtl\u{2069}.py", 2)],
        5000,
        5,
    );
    builder.allocate(
        &[outer, ("שלום عالم 🙂 👩\u{200d}🚀", "/tmp/emoji 🙂.py", 3)],
        4000,
        4,
    );
    builder.allocate(
        &[
            outer,
            (
                "esc\u{1b}]0;owned\u{7}\u{1b}[2J\r\nnewline\tTab\u{9b}31m\0",
                "/tmp/a\nb.py",
                4,
            ),
        ],
        3000,
        3,
    );
    builder.allocate(&[outer, (&long, "/tmp/long.py", u32::MAX)], 2000, 2);
    builder.allocate(
        &[outer, ("a;b c 12;", "x;y.py", 5), ("", "/tmp/empty.py", 6)],
        1000,
        1,
    );
    builder.leaks.clone_from(&builder.sites);
    builder.temporary.clone_from(&builder.sites);
    builder.lose(
        "lost",
        "</script>",
        1,
        0,
        "\u{1b}[31m<img src=x onerror=alert(2)>\u{2028}",
    );
    builder
}

/// A recursion of `depth` frames with ten bytes allocated in each.
pub(crate) fn deep(depth: usize) -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let frames = vec![("recurse", "/home/user/deep.py", 3); depth];
    let leaf = builder.allocate(&frames, 10, 1);
    for stack_id in 1..leaf.stack_id {
        builder.sites.push(SiteFigures { stack_id, ..leaf });
    }
    let state = &mut builder.metadata.states[0];
    state.alloc_count = u64::from(leaf.stack_id);
    state.alloc_bytes = 10 * state.alloc_count;
    state.live_bytes = state.alloc_bytes;
    state.peak_bytes = state.alloc_bytes;
    builder.leaks.clone_from(&builder.sites);
    builder
}

/// A program of `leaves` stacks, 8 to 32 deep, in some hundred files, from a fixed seed. A few callees of each
/// function are called far more often than the others, as in real programs.
pub(crate) fn realistic(leaves: usize) -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let mut random = xorshift(0x9e37_79b9_7f4a_7c15);
    let names = realistic_names(leaves.clamp(200, 3000));
    let start: [TestFrame<'_>; 2] = [
        ("_run_code", "<frozen runpy>", 88),
        ("<module>", "/home/user/shop/main.py", 12),
    ];
    let mut path: Vec<(usize, TestFrame<'_>)> = start.into_iter().enumerate().collect();
    let (mut ts, mut live, mut peak) = (0, 2_000_000, (0, 0));
    for leaf in 0..leaves {
        let keep = 2 + usize::try_from(random(path.len() as u64)).unwrap();
        path.truncate(keep.min(path.len()));
        let depth = (8 + usize::try_from(random(24)).unwrap()).max(path.len());
        while path.len() < depth {
            let caller = path[path.len() - 1].0;
            let choice = usize::try_from(random(12) * random(12) / 30).unwrap();
            let callee = (caller * 31 + choice * 17 + path.len()) % names.len();
            let (function, file) = &names[callee];
            path.push((
                callee,
                (
                    function,
                    file,
                    1 + u32::try_from((callee * 7 + choice) % 400).unwrap(),
                ),
            ));
        }
        let frames: Vec<TestFrame<'_>> = path.iter().map(|&(_, frame)| frame).collect();
        let (size, count) = (16 << random(4) << random(12), 1 + random(40));
        builder.allocate(&frames, size * count + random(15), count);
        if leaf % leaves.div_ceil(3000) == 0 {
            ts += 10_000_000;
            live = (live + random(400_000)).saturating_sub(random(380_000));
            let max_bytes = live + random(200_000);
            peak = peak.max((max_bytes, ts));
            let rss_bytes = Some(40_000_000 + live);
            let row = TimelineRow {
                process_id: 1,
                ts,
                live_bytes: live,
                max_bytes,
                rss_bytes,
                ..TimelineRow::default()
            };
            builder.timeline.push(row);
        }
    }
    let state = &mut builder.metadata.states[0];
    (state.peak_bytes, state.peak_ts) = peak;
    state.last_ts = ts;
    builder.leaks = builder.sites.iter().copied().step_by(7).collect();
    builder.temporary = builder.sites.iter().copied().step_by(5).collect();
    builder
}

/// Numbers below a bound, the same in each run.
fn xorshift(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % bound
    }
}

/// Function names with their files.
fn realistic_names(count: usize) -> Vec<(String, String)> {
    let folders = [
        "/home/user/shop/orders",
        "/home/user/shop/web",
        "/usr/lib/python3.12/json",
        "/usr/lib/python3.12/asyncio",
        "/opt/venv/lib/python3.12/site-packages/django/db",
        "/opt/venv/lib/python3.12/site-packages/numpy/core",
        "/opt/venv/lib/python3.12/site-packages/pandas/io",
    ];
    let functions = [
        "load",
        "parse",
        "render",
        "Row.build",
        "Cache.get",
        "encode",
        "<listcomp>",
    ];
    (0..count)
        .map(|number| {
            let folder = folders[number / 5 % folders.len()];
            (
                format!("{}_{number}", functions[number % 7]),
                format!("{folder}/module_{}.py", number % 97),
            )
        })
        .collect()
}
