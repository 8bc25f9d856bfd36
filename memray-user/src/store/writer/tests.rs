mod displaced;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{CaptureWriter, Overwrite, create::set_up_error};
use crate::{
    model::{Batch, CaptureSource as _, View},
    store::{
        APPLICATION_ID, CaptureReader, SCHEMA_VERSION, StoreError,
        tests::{
            freed, histogram, live, loss, meta, process, sample_batch, sample_names, site, state,
            write_capture,
        },
    },
};

struct Place {
    directory: tempfile::TempDir,
    capture: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("capture.db");
    Place { directory, capture }
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_file_that_another_recording_writes_is_left_alone() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("capture.db");
    let first = CaptureWriter::create(&path, Overwrite::Refuse, None).unwrap();
    let second = CaptureWriter::create(&path, Overwrite::Replace, None);
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    first.finish().unwrap();
    CaptureWriter::create(&path, Overwrite::Replace, None).unwrap();
}

#[test]
fn existing_file_is_refused_and_left_as_it_is() {
    let place = place();
    fs::write(&place.capture, "mine").unwrap();
    let error = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--force"));
    assert_eq!(fs::read(&place.capture).unwrap(), b"mine");
}

#[test]
fn replacing_removes_what_lies_beside_the_old_file() {
    let place = place();
    write_capture(&place.capture, &[sample_batch()]);
    for suffix in ["-wal", "-shm", "-journal"] {
        fs::write(
            place.directory.path().join(format!("capture.db{suffix}")),
            "stale",
        )
        .unwrap();
    }
    let writer = CaptureWriter::create(&place.capture, Overwrite::Replace, None).unwrap();
    writer.finish().unwrap();
    assert_eq!(names_in(place.directory.path()), ["capture.db"]);
    assert_eq!(number(&place.capture, "SELECT count(*) FROM sites"), 0);
}

#[test]
fn link_is_replaced_and_not_followed() {
    let place = place();
    let target = place.directory.path().join("target");
    fs::write(&target, "mine").unwrap();
    symlink(&target, &place.capture).unwrap();
    let refused = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused:?}");
    CaptureWriter::create(&place.capture, Overwrite::Replace, None)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert!(!fs::symlink_metadata(&place.capture).unwrap().is_symlink());
}

#[test]
fn directories_that_are_links_are_followed() {
    let place = place();
    let link = place.directory.path().join("link");
    fs::create_dir(place.directory.path().join("real")).unwrap();
    symlink("real", &link).unwrap();
    write_capture(&link.join("capture.db"), &[sample_batch()]);
    assert_eq!(names_in(&place.directory.path().join("real")), ["capture.db"]);
}

#[test]
fn what_cannot_be_created_says_why_and_leaves_nothing() {
    let place = place();
    let directory = place.directory.path();
    fs::write(directory.join("file"), "").unwrap();
    fs::create_dir(directory.join("directory")).unwrap();
    let long_name = "x".repeat(300);
    for (path, overwrite, message, cause) in [
        (
            "none/capture.db",
            Overwrite::Refuse,
            "cannot create the capture",
            "No such file or directory",
        ),
        (
            "file/capture.db",
            Overwrite::Replace,
            "cannot create the capture",
            "Not a directory",
        ),
        (
            "directory",
            Overwrite::Replace,
            "is not a regular file and is not replaced",
            "",
        ),
        ("directory", Overwrite::Refuse, "exists already", ""),
        (
            "directory/..",
            Overwrite::Replace,
            "cannot create the capture",
            "is a directory",
        ),
        (
            &long_name,
            Overwrite::Refuse,
            "cannot create the capture",
            "File name too long",
        ),
        (
            "/dev/null",
            Overwrite::Replace,
            "is not a regular file and is not replaced",
            "",
        ),
        (
            "/proc/self/capture.db",
            Overwrite::Refuse,
            "cannot create the capture",
            "",
        ),
    ] {
        let path = directory.join(path);
        let error = CaptureWriter::create(&path, overwrite, None).unwrap_err();
        assert!(error.to_string().contains(message), "{path:?}: {error}");
        let source = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(source.contains(cause), "{path:?}: {source}");
        assert!(error.hint().is_some(), "{path:?}: {error}");
    }
    assert_eq!(names_in(directory), ["directory", "file"]);
}

#[test]
fn file_and_what_lies_beside_it_belong_to_the_owner() {
    let place = place();
    let mine = fs::metadata(place.directory.path()).unwrap();
    // Only root can give files away; anybody can keep them.
    let owner = if mine.uid() == 0 {
        (12_345, 54_321)
    } else {
        (mine.uid(), mine.gid())
    };
    let mut writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, Some(owner)).unwrap();
    writer.write(&sample_batch()).unwrap();
    assert_eq!(
        names_in(place.directory.path()),
        ["capture.db", "capture.db-shm", "capture.db-wal"]
    );
    for entry in fs::read_dir(place.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{entry:?}");
        assert_eq!(metadata.permissions().mode() & 0o600, 0o600, "{entry:?}");
    }
    writer.finish().unwrap();
}

#[test]
fn file_says_from_the_first_moment_what_it_is() {
    let place = place();
    let _writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap();
    let bytes = fs::read(&place.capture).unwrap();
    assert_eq!(bytes[..16], *b"SQLite format 3\0");
    assert_eq!(bytes[68..72], APPLICATION_ID.to_be_bytes());
    assert_eq!(bytes[60..64], SCHEMA_VERSION.to_be_bytes());
}

#[test]
fn finished_capture_is_one_file_without_log() {
    let place = place();
    write_capture(&place.capture, &[sample_batch()]);
    assert_eq!(names_in(place.directory.path()), ["capture.db"]);
    assert_eq!(
        fs::read(&place.capture).unwrap()[18..20],
        [1, 1],
        "journal_mode is DELETE"
    );
    let connection = Connection::open(&place.capture).unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn finish_beside_an_open_reader_keeps_all_and_marks_it() {
    let place = place();
    let mut writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap();
    writer.write(&sample_names()).unwrap();
    let reader = CaptureReader::open(&place.capture).unwrap();
    writer.finish().unwrap();
    assert!(
        !reader.metadata().unwrap().finished,
        "a reader stays at its moment"
    );
    drop(reader);
    assert!(
        CaptureReader::open(&place.capture)
            .unwrap()
            .metadata()
            .unwrap()
            .finished
    );
}

#[test]
fn discarded_capture_leaves_nothing() {
    let place = place();
    let mut writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap();
    writer.write(&sample_batch()).unwrap();
    writer.discard().unwrap();
    assert_eq!(names_in(place.directory.path()), [""; 0]);
}

#[test]
fn later_batches_replace_rows_of_the_same_key() {
    let place = place();
    let first = Batch {
        processes: vec![process(1)],
        sites: vec![
            site(1, 1, 1, [1, 1], [1, 1], [1, 1], 0),
            site(2, 1, 1, [5, 5], [5, 5], [5, 5], 0),
        ],
        histogram: vec![histogram(8, 1), histogram(9, 1)],
        losses: vec![
            loss(None, "ring_full", "lost", 1),
            loss(Some(1), "ring_full", "lost", 2),
        ],
        states: vec![state(1, 1)],
        meta: meta(&[("a", "1"), ("b", "1")]),
        ..Batch::default()
    };
    let ended = crate::model::ProcessRow {
        exit_status: Some(139),
        ..process(1)
    };
    let second = Batch {
        processes: vec![ended.clone()],
        sites: vec![site(1, 1, 1, [2, 2], [2, 2], [2, 2], 1)],
        histogram: vec![histogram(8, 10)],
        losses: vec![
            loss(None, "ring_full", "lost", 7),
            loss(Some(1), "ring_full", "lost", 8),
        ],
        states: vec![state(1, 2)],
        meta: meta(&[("a", "2")]),
        ..Batch::default()
    };
    write_capture(&place.capture, &[first, second]);
    let reader = CaptureReader::open(&place.capture).unwrap();
    let metadata = reader.metadata().unwrap();
    assert_eq!(metadata.processes, [ended]);
    assert_eq!(metadata.states, [state(1, 2)]);
    assert_eq!(
        metadata.entries[..2],
        [("a".into(), "2".into()), ("b".into(), "1".into())]
    );
    let counts: Vec<u64> = reader
        .sites(View::All)
        .unwrap()
        .iter()
        .map(|site| site.count)
        .collect();
    assert_eq!(counts, [2, 5]);
    assert_eq!(
        reader.size_histogram().unwrap(),
        [histogram(8, 10), histogram(9, 1)]
    );
    let losses = [
        loss(None, "ring_full", "lost", 7),
        loss(Some(1), "ring_full", "lost", 8),
    ];
    assert_eq!(reader.losses().unwrap(), losses);
}

#[test]
fn live_allocations_end_in_later_batches() {
    let place = place();
    let first = Batch {
        live_added: (1..=100).map(|id| live(id, 1, 1, id)).collect(),
        ..Batch::default()
    };
    // In no order, and two that are not there.
    let second = Batch {
        live_removed: vec![99, 3, 50, 4_000, 1, 3],
        live_added: vec![live(101, 1, 1, 7)],
        freed: vec![freed(1, 1, 1, 3, 0)],
        ..Batch::default()
    };
    write_capture(&place.capture, &[first, second]);
    assert_eq!(
        number(&place.capture, "SELECT count(*) FROM live_allocations"),
        97
    );
    let gone = "SELECT count(*) FROM live_allocations WHERE allocation_id IN (1, 3, 50, 99)";
    assert_eq!(number(&place.capture, gone), 0);
    assert_eq!(
        number(&place.capture, "SELECT sum(size) FROM live_allocations"),
        5050 - 153 + 7
    );
}

#[test]
fn rows_of_any_number_are_written_once_and_in_order() {
    for count in [0_u32, 1, 31, 32, 33, 64, 100] {
        let place = place();
        let rows = (0..u64::from(count))
            .map(|index| freed(index, 1, 1, index * index, index))
            .collect();
        write_capture(
            &place.capture,
            &[Batch {
                freed: rows,
                ..Batch::default()
            }],
        );
        let connection = Connection::open(&place.capture).unwrap();
        let mut statement = connection
            .prepare("SELECT alloc_ts, size, allocations_between FROM freed_allocations")
            .unwrap();
        let rows: Vec<(i64, i64, i64)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let expected = (0..i64::from(count)).map(|index| (index, index * index, index));
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }
}

#[test]
fn numbers_beyond_sqlites_stand_as_its_largest() {
    let place = place();
    write_capture(
        &place.capture,
        &[Batch {
            live_added: vec![live(1, 1, 1, u64::MAX)],
            ..Batch::default()
        }],
    );
    assert_eq!(
        number(&place.capture, "SELECT size FROM live_allocations"),
        i64::MAX
    );
}

#[test]
fn batch_that_fails_leaves_nothing_of_itself() {
    let place = place();
    let mut writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap();
    writer.write(&sample_batch()).unwrap();
    let error = writer.write(&sample_batch()).unwrap_err();
    assert!(matches!(error, StoreError::Write { .. }), "{error:?}");
    assert!(error.to_string().contains("capture.db"), "{error}");
    writer.finish().unwrap();
    assert_eq!(
        number(&place.capture, "SELECT count(*) FROM freed_allocations"),
        3
    );
}

#[test]
fn full_disk_keeps_what_is_there_and_takes_small_batches() {
    let place = place();
    let mut writer = CaptureWriter::create(&place.capture, Overwrite::Refuse, None).unwrap();
    writer.write(&sample_batch()).unwrap();
    let pages: i64 = writer
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    writer
        .connection
        .pragma_update(None, "max_page_count", pages + 2)
        .unwrap();
    let mut large = Batch {
        freed: (0..10_000).map(|index| freed(index, 1, 1, 64, 0)).collect(),
        losses: vec![loss(None, "disk_full", "lost", 10_000)],
        states: vec![state(1, 7)],
        ..Batch::default()
    };
    let error = writer.write(&large).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("kept"), "{error:?}");
    large.freed.clear();
    writer.write(&large).unwrap();
    writer.finish().unwrap();
    let reader = CaptureReader::open(&place.capture).unwrap();
    assert!(reader.metadata().unwrap().finished);
    let losses = reader.losses().unwrap();
    let events: Vec<(&str, u64)> = losses.iter().map(|loss| (&*loss.reason, loss.events)).collect();
    assert_eq!(
        events,
        [("disk_full", 10_000), ("ring_full", 3), ("stack_cut", 2)]
    );
    assert_eq!(
        number(&place.capture, "SELECT count(*) FROM freed_allocations"),
        3
    );
}

#[test]
fn disk_that_is_full_from_the_start_is_an_error_of_creation() {
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    let error = set_up_error(
        Path::new("capture.db"),
        rusqlite::Error::SqliteFailure(full, None),
    );
    assert!(matches!(error, StoreError::Create { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("make room"));
}

#[test]
fn without_shared_memory_the_rollback_journal_stays() {
    let place = place();
    let none = Some("unix-dotfile");
    let mut writer = CaptureWriter::create_with_vfs(&place.capture, Overwrite::Refuse, None, none).unwrap();
    writer.write(&sample_names()).unwrap();
    assert_eq!(fs::read(&place.capture).unwrap()[18..20], [1, 1]);
    assert_eq!(
        CaptureReader::open(&place.capture).unwrap().frames().unwrap(),
        sample_batch().frames
    );
    writer.finish().unwrap();
    assert!(
        CaptureReader::open(&place.capture)
            .unwrap()
            .metadata()
            .unwrap()
            .finished
    );
}
