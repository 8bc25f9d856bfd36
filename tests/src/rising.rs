//! The program `rising.py`, which says when it made which block, and what of that a capture has.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use rusqlite::{Connection, OpenFlags};

use crate::{memray, transcript};

/// Reports that must work on whatever a crash leaves.
const REPORTS: [&str; 8] = [
    "stats",
    "stats --json -o -",
    "summary",
    "tree",
    "table -o -",
    "flamegraph -o -",
    "flamegraph --format svg -o -",
    "flamegraph --format folded -o -",
];

/// What the program has written.
#[derive(Debug)]
pub struct Log(PathBuf);

impl Log {
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The process, as soon as it has begun.
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(&self.0).ok()?;
        text.split_once('\n')?.0.parse().ok()
    }

    /// When each block was there, by its number.
    pub fn times_ns(&self) -> Vec<u64> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _part)| whole);
        whole
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(' ')?.1.parse().ok())
            .collect()
    }
}

/// Tells a figure to whoever runs the tests.
pub fn tell(text: &str) {
    // Nothing depends on it.
    let _closed = writeln!(io::stderr(), "{text}");
}

/// `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What a capture has of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub kept: u64,
    pub passed_by: u64,
    /// The number of the last that was kept, where the capture has rows.
    pub last: Option<u64>,
}

/// Reads a capture as any tool would: SQLite finds no fault, and everything in it agrees.
///
/// # Panics
/// If that is not so, or if blocks are missing between others.
pub fn check_capture(path: &Path, name: &str) -> Blocks {
    let capture = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let number = |sql: &str| -> u64 {
        let number: i64 = capture
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{name}: {sql}: {error}"));
        u64::try_from(number).unwrap_or_else(|_negative| panic!("{name}: {sql}: {number}"))
    };
    let sound: String = capture
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(sound, "ok", "{name}");
    let is_without_rows = number("SELECT count(*) FROM losses WHERE reason = 'disk_full'") > 0;
    for (one, other) in [
        (
            "SELECT ifnull(sum(alloc_count), 0) FROM state",
            "SELECT ifnull(sum(alloc_count), 0) FROM sites",
        ),
        (
            "SELECT ifnull(sum(alloc_bytes), 0) FROM state",
            "SELECT ifnull(sum(alloc_bytes), 0) FROM sites",
        ),
        (
            "SELECT ifnull(sum(live_bytes), 0) FROM state",
            "SELECT ifnull(sum(live_bytes), 0) FROM sites",
        ),
        (
            "SELECT ifnull(sum(peak_bytes), 0) FROM state",
            "SELECT ifnull(sum(bytes), 0) FROM site_peaks",
        ),
        (
            "SELECT ifnull(sum(alloc_bytes), 0) FROM state",
            "SELECT ifnull(sum(alloc_bytes), 0) FROM size_histogram",
        ),
    ] {
        assert_eq!(number(one), number(other), "{name}: {one}");
    }
    if !is_without_rows {
        let (one, other) = (
            "SELECT ifnull(sum(alloc_bytes), 0) FROM state",
            "SELECT ifnull(sum(size), 0) FROM allocations",
        );
        assert_eq!(number(one), number(other), "{name}: rows");
    }
    let of_function = |function: &str| {
        number(&format!(
            "SELECT ifnull(sum(alloc_count), 0) FROM sites JOIN stacks USING (stack_id) JOIN frames USING (frame_id)
             WHERE function = '{function}'"
        ))
    };
    let blocks = Blocks {
        kept: of_function("keep"),
        passed_by: of_function("pass_by"),
        last: None,
    };
    if is_without_rows || blocks.kept == 0 {
        return blocks;
    }
    let of_rows = |expression: &str| {
        number(&format!(
            "SELECT ifnull({expression}, 0) FROM allocations JOIN stacks USING (stack_id)
             JOIN frames USING (frame_id) WHERE function = 'keep' AND size BETWEEN 20001 AND 60000"
        ))
    };
    let (first, last) = (of_rows("min(size)"), of_rows("max(size)"));
    assert_eq!(
        last - first + 1,
        of_rows("count(*)"),
        "{name}: blocks are missing between others"
    );
    Blocks {
        // `bytearray` adds a byte.
        last: Some(last - 20_001),
        ..blocks
    }
}

/// Every report works and says what `notice` is; none panics.
///
/// # Panics
/// If one does not.
pub fn check_reports(folder: &Path, capture: &str, notice: &str) {
    for line in REPORTS {
        let output = memray(folder)
            .args(line.split(' '))
            .arg(capture)
            .output()
            .expect("it can be started");
        let text = transcript(&output);
        assert!(output.status.success(), "{line}: {text}");
        let is_told = text.contains(notice) || text.contains("\"finished\": false");
        assert!(
            is_told || line.contains("stats --json"),
            "{line}: no word of `{notice}`: {text}"
        );
    }
}
