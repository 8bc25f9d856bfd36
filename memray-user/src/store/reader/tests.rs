mod hostile;
mod killed;
mod older;
mod opening;

use super::CaptureReader;
use crate::{
    model::{Batch, CaptureError, CaptureSource as _, SiteFigures, View},
    store::tests::{freed, loss, meta, sample_batch, site, state, write_capture},
};

/// Asks every question; none may panic.
fn ask_all(reader: &CaptureReader) -> Result<(), CaptureError> {
    let mut first_error = None;
    let mut note = |result: Result<(), CaptureError>| {
        if let Err(error) = result {
            assert!(!error.message.is_empty());
            first_error.get_or_insert(error);
        }
    };
    note(reader.metadata().map(drop));
    note(reader.frames().map(drop));
    note(reader.stacks().map(drop));
    for view in [
        View::HighWaterMark,
        View::Leaks,
        View::All,
        View::Temporary { threshold: 1 },
        View::Temporary { threshold: 3 },
    ] {
        note(reader.sites(view).map(drop));
    }
    note(reader.timeline().map(drop));
    note(reader.size_histogram().map(drop));
    note(reader.mapping_totals().map(drop));
    note(reader.losses().map(drop));
    first_error.map_or(Ok(()), Err)
}

#[test]
fn every_field_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let batch = sample_batch();
    write_capture(&path, std::slice::from_ref(&batch));
    let reader = CaptureReader::open(&path).unwrap();
    let metadata = reader.metadata().unwrap();
    assert_eq!(metadata.processes, batch.processes);
    assert_eq!(metadata.threads, batch.threads);
    assert_eq!(metadata.states, batch.states);
    assert_eq!(metadata.command_line, "python3 script.py 1");
    assert_eq!(metadata.started_at_ms, 1_700_000_000_123);
    assert_eq!(metadata.ended_at_ms, None);
    assert!(metadata.finished);
    assert_eq!(
        (&*metadata.memray_version, &*metadata.kernel_release),
        ("0.1.0", "6.1.0")
    );
    let keys: Vec<&str> = metadata.entries.iter().map(|(key, _)| &**key).collect();
    assert_eq!(
        keys,
        [
            "finished",
            "kernel_release",
            "memray_version",
            "schema_version",
            "started_at_ms"
        ]
    );
    assert_eq!(reader.frames().unwrap(), batch.frames);
    assert_eq!(reader.stacks().unwrap(), batch.stacks);
    assert_eq!(reader.rows::<crate::model::SiteRow>().unwrap(), batch.sites);
    assert_eq!(reader.rows::<crate::model::FreedRow>().unwrap(), batch.freed);
    assert_eq!(reader.rows::<crate::model::LiveRow>().unwrap(), batch.live_added);
    assert_eq!(
        reader.rows::<crate::model::SiteTimelineRow>().unwrap(),
        batch.site_timeline
    );
    assert_eq!(reader.timeline().unwrap(), [batch.timeline[1], batch.timeline[0]]);
    assert_eq!(reader.size_histogram().unwrap(), batch.histogram);
    assert_eq!(reader.mapping_totals().unwrap(), batch.mapping_totals);
    assert_eq!(reader.rows::<crate::model::MappingRow>().unwrap(), batch.mappings);
    assert_eq!(reader.losses().unwrap(), batch.losses);
}

#[test]
fn meta_gives_the_command_line_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let meta = meta(&[
        ("command_line", "python3 -m app"),
        ("ended_at_ms", "17"),
        ("started_at_ms", "soon"),
    ]);
    write_capture(
        &path,
        &[Batch {
            meta,
            ..Batch::default()
        }],
    );
    let metadata = CaptureReader::open(&path).unwrap().metadata().unwrap();
    assert_eq!(metadata.command_line, "python3 -m app");
    assert_eq!((metadata.started_at_ms, metadata.ended_at_ms), (0, Some(17)));
}

#[test]
fn losses_come_by_weight_and_without_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let losses = vec![
        loss(Some(2), "b", "neutral", 1),
        loss(Some(1), "b", "strange", 1),
        loss(None, "c", "degraded", 1),
        loss(Some(1), "z", "lost", 1),
        loss(Some(1), "y", "lost", 1),
        loss(None, "x", "lost", 0),
        loss(None, "w", "lost", 1),
    ];
    write_capture(
        &path,
        &[Batch {
            losses,
            ..Batch::default()
        }],
    );
    let losses = CaptureReader::open(&path).unwrap().losses().unwrap();
    let reasons: Vec<&str> = losses.iter().map(|loss| &*loss.reason).collect();
    assert_eq!(reasons, ["w", "y", "z", "c", "b", "b"]);
}

/// Threads 1 and 2 belong to process 1, thread 3 to process 2, whose peak came at another time.
#[test]
fn peak_is_that_of_each_process() {
    let check = |epochs: [u64; 2], expected: &[(u32, u64)]| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        let batch = Batch {
            threads: sample_batch().threads,
            sites: vec![
                site(1, 1, 1, [9, 9], [1, 10], [2, 20], 5),
                site(2, 1, 2, [9, 9], [1, 30], [2, 40], 6),
                site(3, 1, 3, [9, 9], [1, 50], [2, 60], 5),
                site(4, 1, 3, [9, 9], [0, 0], [0, 0], 6),
                // A thread that is not there has no process, and no state to agree with.
                site(5, 1, 9, [9, 9], [1, 70], [2, 80], 5),
            ],
            states: vec![state(1, epochs[0]), state(2, epochs[1])],
            ..Batch::default()
        };
        write_capture(&path, &[batch]);
        let reader = CaptureReader::open(&path).unwrap();
        let sites = reader.sites(View::HighWaterMark).unwrap();
        let found: Vec<(u32, u64)> = sites.iter().map(|site| (site.thread_id, site.bytes)).collect();
        assert_eq!(found, expected, "{epochs:?}");
    };
    check([5, 5], &[(1, 20), (2, 30), (3, 60), (9, 70)]);
    check([6, 5], &[(1, 10), (2, 40), (3, 60), (9, 70)]);
    check([6, 6], &[(1, 10), (2, 40), (3, 50), (9, 70)]);
    check([8, 8], &[(1, 10), (2, 30), (3, 50), (9, 70)]);
}

#[test]
fn temporary_allocations_of_any_threshold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let rows: Vec<_> = [0, 0, 1, 2, 5]
        .iter()
        .map(|between| freed(1, 1, 1, 10, *between))
        .collect();
    let mut totals = site(1, 1, 1, [6, 60], [1, 10], [0, 0], 0);
    (totals.temp_count, totals.temp_bytes) = (3, 30);
    write_capture(
        &path,
        &[Batch {
            sites: vec![totals],
            freed: rows,
            ..Batch::default()
        }],
    );
    let reader = CaptureReader::open(&path).unwrap();
    for (threshold, count) in [(0, 2), (1, 3), (2, 4), (4, 4), (5, 5), (u64::MAX, 5)] {
        let sites: Vec<SiteFigures> = reader.sites(View::Temporary { threshold }).unwrap();
        let found: Vec<(u64, u64)> = sites.iter().map(|site| (site.count, site.bytes)).collect();
        assert_eq!(found, [(count, 10 * count)], "{threshold}");
    }
}

/// Without all rows only the totals answer, and other thresholds are refused rather than guessed.
#[test]
fn thresholds_need_all_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let mut totals = site(1, 1, 1, [6, 60], [1, 10], [0, 0], 0);
    (totals.temp_count, totals.temp_bytes) = (3, 30);
    write_capture(
        &path,
        &[Batch {
            sites: vec![totals],
            ..Batch::default()
        }],
    );
    let reader = CaptureReader::open(&path).unwrap();
    assert_eq!(
        reader.sites(View::Temporary { threshold: 1 }).unwrap()[0].count,
        3
    );
    let error = reader.sites(View::Temporary { threshold: 2 }).unwrap_err();
    assert!(
        error.message.contains("does not hold every allocation"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("disk was full"));
}

#[test]
fn reader_stays_at_its_moment_until_refreshed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let mut writer =
        crate::store::CaptureWriter::create(&path, crate::store::Overwrite::Refuse, None).unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    writer.write(&sample_batch()).unwrap();
    assert_eq!(reader.frames().unwrap().len(), 0);
    reader.refresh().unwrap();
    assert_eq!(reader.frames().unwrap().len(), 4);
}

#[test]
fn reader_without_a_log_does_not_hold_up_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let mut reader = CaptureReader::open(&path).unwrap();
    assert_eq!(reader.frames().unwrap().len(), 4);
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    writer
        .execute("DELETE FROM frames WHERE frame_id = 3", [])
        .unwrap();
    assert_eq!(reader.frames().unwrap().len(), 3);
    reader.refresh().unwrap();
    assert_eq!(reader.frames().unwrap().len(), 3);
}
