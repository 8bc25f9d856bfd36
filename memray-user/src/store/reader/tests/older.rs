//! Captures of older schema versions are read, with what they lack filled in.
//!
//! `old/schema_N.sql` is what the program of that version wrote, and never changes.

use std::path::Path;

use rusqlite::Connection;

use super::{super::CaptureReader, ask_all};
use crate::{
    model::{CaptureSource as _, ProcessOrigin},
    store::APPLICATION_ID,
};

fn create(path: &Path, version: u32, schema: &str, rows: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
    connection.execute_batch(schema).unwrap();
    connection.execute_batch(rows).unwrap();
}

#[test]
fn version_1_had_no_origins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    create(
        &path,
        1,
        include_str!("old/schema_1.sql"),
        "INSERT INTO meta VALUES ('schema_version', '1');
         INSERT INTO processes VALUES
           (1, 77, NULL, 'start.sh a', '/bin/sh', '', '', 5, 9, NULL, NULL),
           (2, 77, 1, 'python3 app.py', '/usr/bin/python3', '3.12.1', 'pymalloc', 9, 30, 3, 12);
         INSERT INTO threads VALUES (1, 2, 77, 'MainThread');
         INSERT INTO state VALUES (2, 30, 1, 64, 0, 1, 64, 64, 1, 20, 1, 64, 64, 0, 0);
         INSERT INTO frames VALUES (1, 'main', 'app.py', 3, 'python');
         INSERT INTO stacks VALUES (1, NULL, 1, 1);
         INSERT INTO size_histogram VALUES (2, 64, 64, 1, 1, 64);
         INSERT INTO live_allocations VALUES (1, 20, 64, 1, 1, 1, 4096);
         INSERT INTO sites VALUES (1, 1, 1, 1, 1, 64, 1, 64, 0, 0, 1, 64, 1);",
    );
    let reader = CaptureReader::open(&path).unwrap();
    ask_all(&reader).unwrap();
    let processes = reader.metadata().unwrap().processes;
    let told: Vec<_> = processes
        .iter()
        .map(|process| {
            (
                process.pid,
                process.origin,
                process.parent_process_id,
                process.script_started_ns,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (77, ProcessOrigin::Launched, None, None),
            (77, ProcessOrigin::Executed, Some(1), Some(12)),
        ]
    );
}

#[test]
fn version_2_had_no_mappings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    create(
        &path,
        2,
        include_str!("old/schema_2.sql"),
        "INSERT INTO meta VALUES ('schema_version', '2'), ('finished', '1');
         INSERT INTO processes VALUES
           (1, 77, NULL, 'python3 app.py', '/usr/bin/python3', '3.12.1', 'pymalloc', 9, 30, 3, 12, 'attached');
         INSERT INTO threads VALUES (1, 1, 77, 'MainThread');
         INSERT INTO state VALUES (1, 30, 1, 64, 0, 1, 64, 64, 1, 20, 1, 64, 64, 0, 0);
         INSERT INTO frames VALUES (1, 'main', 'app.py', 3, 'python');
         INSERT INTO stacks VALUES (1, NULL, 1, 1);
         INSERT INTO sites VALUES (1, 1, 1, 6, 1, 64, 1, 64, 0, 0, 1, 64, 1);
         INSERT INTO timeline VALUES (1, 10, 64, 1, 64, 1, 64, 0, 0, 4096);",
    );
    let reader = CaptureReader::open(&path).unwrap();
    ask_all(&reader).unwrap();
    assert_eq!(reader.mapping_totals().unwrap(), []);
    let timeline = reader.timeline().unwrap();
    let told: Vec<_> = timeline
        .iter()
        .map(|row| (row.rss_bytes, row.rss_anon_bytes, row.mapped_stack_bytes))
        .collect();
    assert_eq!(told, [(Some(4096), None, None)]);
    assert_eq!(
        reader.metadata().unwrap().processes[0].origin,
        ProcessOrigin::Attached
    );
}

/// A file that says it is newer than its tables is refused where it lacks something, not guessed at.
#[test]
fn tables_are_those_of_the_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    create(&path, 2, include_str!("old/schema_1.sql"), "");
    let error = CaptureReader::open(&path)
        .and_then(|reader| reader.metadata())
        .unwrap_err();
    assert!(error.message.contains("damaged"), "{error:?}");
    assert!(error.hint.is_some(), "{error:?}");
}
