//! Somebody deletes, moves or cuts the capture, or its log, while it is written.

use super::*;
use crate::store::writer::beside;

fn recording(path: &Path) -> CaptureWriter {
    let mut writer = CaptureWriter::create(path, Overwrite::Refuse, None).unwrap();
    writer.write(&sample_batch()).unwrap();
    writer.look().unwrap();
    writer
}

/// So many allocations more, of no interest but for their number.
fn more(writer: &mut CaptureWriter, ids: std::ops::Range<u64>) {
    let live_added = ids.map(|id| live(id, 1, 1, 8)).collect();
    writer
        .write(&Batch {
            live_added,
            ..Batch::default()
        })
        .unwrap();
}

#[test]
fn a_deleted_file_stays_deleted() {
    let place = place();
    let mut writer = recording(&place.capture);
    fs::remove_file(&place.capture).unwrap();
    let error = writer.look().unwrap_err();
    assert!(
        matches!(error, StoreError::Deleted { .. }) && error.is_final(),
        "{error:?}"
    );
    // What somebody else puts there is theirs, whatever becomes of ours.
    fs::write(&place.capture, "other").unwrap();
    let error = writer.look().unwrap_err();
    assert!(matches!(error, StoreError::Deleted { .. }), "{error:?}");
    writer.finish().unwrap_err();
    assert_eq!(fs::read(&place.capture).unwrap(), b"other");

    fs::remove_file(&place.capture).unwrap();
    let writer = recording(&place.capture);
    fs::remove_file(&place.capture).unwrap();
    fs::write(&place.capture, "other").unwrap();
    writer.discard().unwrap();
    assert_eq!(fs::read(&place.capture).unwrap(), b"other");
}

#[test]
fn a_moved_file_is_complete_where_it_is() {
    let place = place();
    let mut writer = recording(&place.capture);
    let moved = place.capture.with_file_name("moved.db");
    fs::rename(&place.capture, &moved).unwrap();
    let error = writer.look().unwrap_err();
    let to = fs::canonicalize(&moved).unwrap();
    assert!(
        matches!(&error, StoreError::Moved { to: found, .. } if *found == to),
        "{error:?}"
    );
    assert!(!error.is_final());
    more(&mut writer, 100..200);
    writer.finish().unwrap_err();
    let reader = CaptureReader::open(&moved).unwrap();
    assert!(reader.metadata().unwrap().finished);
    assert_eq!(number(&moved, "SELECT count(*) FROM live_allocations"), 102);
    let names = names_in(place.directory.path());
    assert!(names.iter().all(|name| !name.starts_with("capture")), "{names:?}");
}

#[test]
fn a_moved_directory_takes_the_capture_along() {
    let place = place();
    let folder = place.capture.with_file_name("folder");
    fs::create_dir(&folder).unwrap();
    let mut writer = recording(&folder.join("capture.db"));
    let other = place.capture.with_file_name("other");
    fs::rename(&folder, &other).unwrap();
    assert!(matches!(writer.look(), Err(StoreError::Moved { .. })));
    more(&mut writer, 100..200);
    writer.finish().unwrap_err();
    let moved = other.join("capture.db");
    assert!(CaptureReader::open(&moved).unwrap().metadata().unwrap().finished);
    assert_eq!(number(&moved, "SELECT count(*) FROM live_allocations"), 102);
    assert!(!folder.exists());
}

#[test]
fn a_file_that_was_cut_off_is_not_written_to() {
    let place = place();
    let mut writer = recording(&place.capture);
    let length = fs::metadata(&place.capture).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&place.capture)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let error = writer.look().unwrap_err();
    assert!(
        matches!(error, StoreError::CutOff { .. }) && error.is_final(),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(&format!("{} of {length}", length / 2)),
        "{error}"
    );
}

/// Readers look for the log by its name. It is made anew, and has all.
#[test]
fn a_log_that_is_gone_is_made_anew() {
    for suffix in ["-wal", "-shm"] {
        let place = place();
        let mut writer = recording(&place.capture);
        fs::remove_file(beside(&place.capture, suffix)).unwrap();
        more(&mut writer, 100..200);
        writer.look().unwrap();
        more(&mut writer, 200..300);
        let count = "SELECT count(*) FROM live_allocations";
        assert_eq!(number(&place.capture, count), 202, "{suffix}");
        assert!(beside(&place.capture, suffix).exists());
        writer.look().unwrap();
        writer.finish().unwrap();
        assert_eq!(number(&place.capture, count), 202, "{suffix}");
        assert_eq!(names_in(place.directory.path()), ["capture.db"], "{suffix}");
    }
}
