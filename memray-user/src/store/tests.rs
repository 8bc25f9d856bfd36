//! A batch with every field of every row filled, and what file, views and tables must agree on.

use std::path::Path;

use rusqlite::Connection;

use super::{CaptureReader, CaptureWriter, Overwrite, tables::Table};
use crate::model::{
    Allocator, Batch, CaptureSource as _, FrameKind, FrameRow, FreedRow, LiveRow, LossRow, MappingKind,
    MappingRow, MappingTotalsRow, ProcessOrigin, ProcessRow, SiteRow, SiteTimelineRow, SizeHistogramRow,
    StackRow, StateRow, ThreadRow, TimelineRow, View,
};

/// Two processes with a peak each, four sites, two allocations alive and three ended.
pub(crate) fn sample_batch() -> Batch {
    Batch {
        // In process 1 the peak's epoch is 7, in process 2 it is 3.
        sites: vec![
            SiteRow {
                temp_count: 1,
                temp_bytes: 100,
                ..site(1, 2, 1, [2, 300], [1, 200], [2, 300], 7)
            },
            site(2, 3, 2, [1, 50], [1, 50], [9, 9999], 6),
            site(3, 1, 1, [1, 64], [0, 0], [1, 64], 7),
            SiteRow {
                allocator: Allocator::Mmap,
                ..site(4, 4, 3, [1, 4096], [0, 0], [0, 0], 3)
            },
        ],
        freed: vec![
            freed(1, 2, 1, 100, 0),
            freed(2, 1, 1, 64, 5),
            FreedRow {
                allocator: Allocator::Mmap,
                ..freed(3, 4, 3, 4096, 1)
            },
        ],
        live_added: vec![live(4, 2, 1, 200), live(5, 3, 2, 50)],
        timeline: vec![timeline(1, 10, None), timeline(2, 5, Some(1 << 40))],
        site_timeline: vec![SiteTimelineRow {
            ts: 500,
            site_id: 1,
            alloc_count: 2,
            alloc_bytes: 300,
            free_count: 1,
            free_bytes: 100,
        }],
        histogram: vec![histogram(128, 3)],
        losses: vec![
            loss(None, "ring_full", "lost", 3),
            loss(Some(1), "stack_cut", "degraded", 2),
        ],
        states: vec![state(1, 7), state(2, 3)],
        mappings: vec![
            mapping(1, MappingKind::Reserved, Some(99)),
            mapping(2, MappingKind::File, None),
            mapping(3, MappingKind::SharedFile, None),
            mapping(4, MappingKind::Stack, None),
        ],
        mapping_totals: MappingKind::ALL.map(mapping_totals).to_vec(),
        meta: meta(&[
            ("kernel_release", "6.1.0"),
            ("memray_version", "0.1.0"),
            ("started_at_ms", "1700000000123"),
        ]),
        ..sample_names()
    }
}

/// The names in the sample: all that has no figures.
pub(super) fn sample_names() -> Batch {
    Batch {
        processes: vec![
            process(1),
            ProcessRow {
                parent_process_id: Some(1),
                origin: ProcessOrigin::Forked,
                ..process(2)
            },
        ],
        threads: vec![
            thread(1, 1, "MainThread"),
            thread(2, 1, ""),
            thread(3, 2, "Thread-1 (\u{1f600})"),
        ],
        frames: vec![
            frame(1, "<module>", 0, FrameKind::Python),
            frame(2, "work", 12, FrameKind::Python),
            frame(3, "_start", 0, FrameKind::Native),
            frame(4, "<no Python stack>", 0, FrameKind::Marker),
        ],
        stacks: vec![
            stack(1, None, 1, 1),
            stack(2, Some(1), 2, 2),
            stack(3, Some(2), 2, 3),
            stack(4, None, 4, 1),
        ],
        ..Batch::default()
    }
}

pub(super) fn meta(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn stack(stack_id: u32, parent_id: Option<u32>, frame_id: u32, depth: u32) -> StackRow {
    StackRow {
        stack_id,
        parent_id,
        frame_id,
        depth,
    }
}

pub(super) fn histogram(size_from: u64, alloc_count: u64) -> SizeHistogramRow {
    SizeHistogramRow {
        process_id: 1,
        size_from,
        size_to: size_from + 1,
        allocator: Allocator::Calloc,
        alloc_count,
        alloc_bytes: 385,
    }
}

pub(super) fn process(process_id: u32) -> ProcessRow {
    ProcessRow {
        process_id,
        pid: 4_000_000 + process_id,
        parent_process_id: None,
        command_line: format!("python3 script.py {process_id}"),
        executable: "/usr/bin/python3".to_owned(),
        python_version: "3.12.1".to_owned(),
        python_allocator: "pymalloc".to_owned(),
        started_ns: 1,
        ended_ns: Some(u64::try_from(i64::MAX).unwrap()),
        exit_status: Some(-1),
        script_started_ns: Some(77),
        origin: ProcessOrigin::Attached,
    }
}

fn thread(thread_id: u32, process_id: u32, name: &str) -> ThreadRow {
    ThreadRow {
        thread_id,
        process_id,
        tid: u32::MAX - thread_id,
        name: name.to_owned(),
    }
}

fn frame(frame_id: u32, function: &str, line: u32, kind: FrameKind) -> FrameRow {
    FrameRow {
        frame_id,
        function: function.to_owned(),
        file: "/tmp/a;b.py".to_owned(),
        line,
        kind,
    }
}

pub(super) fn site(
    site_id: u32,
    stack_id: u32,
    thread_id: u32,
    [alloc_count, alloc_bytes]: [u64; 2],
    [live_count, live_bytes]: [u64; 2],
    [peak_count, peak_bytes]: [u64; 2],
    peak_epoch: u64,
) -> SiteRow {
    SiteRow {
        site_id,
        stack_id,
        thread_id,
        allocator: Allocator::Malloc,
        alloc_count,
        alloc_bytes,
        live_count,
        live_bytes,
        temp_count: 0,
        temp_bytes: 0,
        peak_count,
        peak_bytes,
        peak_epoch,
    }
}

pub(super) fn freed(alloc_ts: u64, stack_id: u32, thread_id: u32, size: u64, between: u64) -> FreedRow {
    FreedRow {
        alloc_ts,
        free_ts: alloc_ts + 1000,
        size,
        stack_id,
        thread_id,
        allocator: Allocator::Malloc,
        allocations_between: between,
    }
}

pub(super) fn live(allocation_id: u64, stack_id: u32, thread_id: u32, size: u64) -> LiveRow {
    LiveRow {
        allocation_id,
        alloc_ts: 10 * allocation_id,
        size,
        stack_id,
        thread_id,
        allocator: Allocator::Malloc,
        address: 0x00ff_ffff_ffff_f000,
    }
}

fn timeline(process_id: u32, ts: u64, rss_bytes: Option<u64>) -> TimelineRow {
    TimelineRow {
        process_id,
        ts,
        live_bytes: 250,
        live_count: 2,
        max_bytes: 364,
        alloc_count: 4,
        alloc_bytes: 414,
        free_count: 3,
        free_bytes: 164,
        rss_bytes,
        rss_anon_bytes: rss_bytes.map(|bytes| bytes / 2),
        rss_file_bytes: rss_bytes.map(|bytes| bytes / 4),
        rss_shmem_bytes: rss_bytes.map(|bytes| bytes / 4),
        mapped_reserved_bytes: Some(4),
        mapped_file_bytes: Some(3),
        mapped_shared_file_bytes: Some(2),
        mapped_stack_bytes: Some(1),
    }
}

fn mapping(mapping_id: u64, kind: MappingKind, unmapped_ts: Option<u64>) -> MappingRow {
    MappingRow {
        mapping_id,
        process_id: 1,
        thread_id: 2,
        stack_id: 3,
        kind,
        address: 0x7000_0000_0000 + 4096 * mapping_id,
        size: 4096,
        mapped_ts: 8,
        unmapped_ts,
    }
}

fn mapping_totals(kind: MappingKind) -> MappingTotalsRow {
    MappingTotalsRow {
        process_id: 1,
        kind,
        map_count: 3,
        map_bytes: 9000,
        live_count: 1,
        live_bytes: 4096,
        highest_bytes: 8192,
        highest_ts: 9,
        heap_peak_bytes: 1000,
    }
}

pub(super) fn loss(process_id: Option<u32>, reason: &str, kind: &str, events: u64) -> LossRow {
    LossRow {
        process_id,
        reason: reason.to_owned(),
        kind: kind.to_owned(),
        events,
        bytes: 5 * events,
        description: "a word about it".to_owned(),
    }
}

pub(super) fn state(process_id: u32, peak_epoch: u64) -> StateRow {
    StateRow {
        process_id,
        last_ts: 2000,
        alloc_count: 4,
        alloc_bytes: 414,
        free_count: 2,
        live_count: 2,
        live_bytes: 250,
        peak_bytes: 414,
        peak_count: 4,
        peak_ts: 30,
        peak_epoch,
        min_size: 50,
        max_size: 200,
        startup_count: 11,
        startup_bytes: 1111,
    }
}

/// A finished capture of the batches.
pub(super) fn write_capture(path: &Path, batches: &[Batch]) {
    let mut writer = CaptureWriter::create(path, Overwrite::Refuse, None).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
}

/// The tables have the columns of the row structs, in their order, and each has its comment.
#[test]
fn schema_is_that_of_the_rows() {
    fn check<T: Table>(connection: &Connection) {
        let mut statement = connection
            .prepare("SELECT name FROM pragma_table_info(?) ORDER BY cid")
            .unwrap();
        let columns: Vec<String> = statement
            .query_map([T::NAME], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(columns, T::COLUMNS, "{}", T::NAME);
        let sql: String = connection
            .query_row("SELECT sql FROM sqlite_schema WHERE name = ?", [T::NAME], |row| {
                row.get(0)
            })
            .unwrap();
        let uncommented = |line: &&str| !line.contains("--") && !matches!(line.trim(), ")" | "");
        let bare: Vec<&str> = sql
            .lines()
            .filter(|line| !line.trim().starts_with("PRIMARY KEY("))
            .collect();
        assert_eq!(
            bare.iter().copied().find(|line| uncommented(line)),
            None,
            "{}",
            T::NAME
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[]);
    let connection = Connection::open(&path).unwrap();
    check::<(String, String)>(&connection);
    check::<ProcessRow>(&connection);
    check::<ThreadRow>(&connection);
    check::<FrameRow>(&connection);
    check::<StackRow>(&connection);
    check::<SiteRow>(&connection);
    check::<FreedRow>(&connection);
    check::<LiveRow>(&connection);
    check::<TimelineRow>(&connection);
    check::<SiteTimelineRow>(&connection);
    check::<SizeHistogramRow>(&connection);
    check::<StateRow>(&connection);
    check::<LossRow>(&connection);
    check::<MappingRow>(&connection);
    check::<MappingTotalsRow>(&connection);
}

#[test]
fn views_and_reader_agree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let reader = CaptureReader::open(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    for (name, view, expected) in [
        (
            "peak",
            View::HighWaterMark,
            vec![(1, 64, 1), (2, 300, 2), (3, 50, 1)],
        ),
        ("leaks", View::Leaks, vec![(2, 200, 1), (3, 50, 1)]),
        ("temporary", View::Temporary { threshold: 1 }, vec![(2, 100, 1)]),
        (
            "hotspots",
            View::All,
            vec![(1, 64, 1), (2, 300, 2), (3, 50, 1), (4, 4096, 1)],
        ),
    ] {
        let sql = format!("SELECT stack_id, bytes, allocations FROM {name} ORDER BY stack_id");
        let mut statement = connection.prepare(&sql).unwrap();
        let of_view: Vec<(u32, i64, i64)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut of_reader: Vec<(u32, i64, i64)> = reader
            .sites(view)
            .unwrap()
            .iter()
            .map(|site| (site.stack_id, site.bytes.cast_signed(), site.count.cast_signed()))
            .collect();
        of_reader.sort_unstable();
        assert_eq!(of_view, expected, "{name}");
        assert_eq!(of_reader, expected, "{name}");
    }
}

#[test]
fn views_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let connection = Connection::open(&path).unwrap();
    for (sql, expected) in [
        (
            "SELECT count(*) || ',' || count(free_ts) || ',' || sum(size) FROM allocations",
            "5,3,4510",
        ),
        (
            "SELECT stack FROM stack_text WHERE stack_id = 3",
            "<module>;work;work",
        ),
        (
            "SELECT group_concat(depth || function, ' ') FROM (SELECT * FROM stack_frames WHERE stack_id = 3 ORDER BY depth)",
            "1<module> 2work 3work",
        ),
        (
            "SELECT process_id || ',' || stack_id FROM hotspots LIMIT 1",
            "2,4",
        ),
        (
            "SELECT seconds || ',' || max_bytes FROM memory LIMIT 1",
            "5.0e-09,364",
        ),
        (
            "SELECT rss_anon_bytes || ',' || mapped_stack_bytes FROM memory WHERE rss_bytes > 0",
            "549755813888,1",
        ),
        (
            "SELECT group_concat(pid || ':' || kind || ':' || highest_bytes, ' ') FROM mapped_memory WHERE kind < 'm'",
            "4000001:file:8192",
        ),
        (
            "SELECT function || ',' || file || ',' || line FROM locations WHERE stack_id = 3",
            "work,/tmp/a;b.py,12",
        ),
        (
            "SELECT group_concat(bytes) FROM (SELECT bytes FROM site_peaks ORDER BY site_id)",
            "300,50,64,0",
        ),
        (
            "SELECT group_concat(process_id || ':' || pid || ':' || size, ' ')
             FROM (SELECT * FROM allocations ORDER BY process_id, size)",
            "1:4000001:50 1:4000001:64 1:4000001:100 1:4000001:200 2:4000002:4096",
        ),
        (
            "SELECT group_concat(pid || ':' || bytes, ' ') FROM (SELECT * FROM peak ORDER BY bytes)",
            "4000001:50 4000001:64 4000001:300",
        ),
        (
            "SELECT group_concat(pid || ':' || bytes, ' ') FROM (SELECT * FROM leaks ORDER BY bytes)",
            "4000001:50 4000001:200",
        ),
        (
            "SELECT group_concat(pid || ':' || bytes, ' ') FROM (SELECT * FROM temporary)",
            "4000001:100",
        ),
        (
            "SELECT group_concat(pid || ':' || bytes, ' ') FROM (SELECT * FROM hotspots)",
            "4000002:4096 4000001:300 4000001:64 4000001:50",
        ),
        (
            "SELECT group_concat(pid || ':' || process_id, ' ') FROM (SELECT * FROM memory)",
            "4000002:2 4000001:1",
        ),
        (
            "SELECT group_concat(pid || ':' || bytes, ' ') FROM (SELECT * FROM site_peaks ORDER BY site_id)",
            "4000001:300 4000001:50 4000001:64 4000002:0",
        ),
        (
            "SELECT name || ',' || kind FROM allocators WHERE allocator_id = 14",
            "mmap,ranged_allocator",
        ),
        (
            "SELECT sql FROM sqlite_schema WHERE name = 'stacks_parent'",
            "CREATE INDEX stacks_parent ON stacks(parent_id)",
        ),
    ] {
        let answer: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(answer, expected, "{sql}");
    }
}

/// A recording writes from a thread of its own.
#[test]
fn writer_and_reader_go_to_other_threads() {
    const fn check<T: Send>() {}
    check::<CaptureWriter>();
    check::<CaptureReader>();
}
