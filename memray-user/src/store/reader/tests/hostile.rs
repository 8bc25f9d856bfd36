//! Files whose rows, schema or bytes are not what a recorder writes.

use std::{fs, path::Path, sync::OnceLock};

use proptest::prelude::*;
use rusqlite::Connection;

use super::{super::CaptureReader, ask_all};
use crate::{
    model::{CaptureError, CaptureSource as _, FreedRow},
    store::{
        tables::MAX_TEXT_BYTES,
        tests::{sample_batch, write_capture},
    },
};

const PAGE_BYTES: usize = 4096;

fn altered(directory: &Path, sql: &str) -> Result<CaptureReader, CaptureError> {
    let path = directory.join("capture.db");
    fs::remove_file(&path).unwrap_or_default();
    write_capture(&path, &[sample_batch()]);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    CaptureReader::open(&path)
}

/// Statements that alter a sound capture, and the words for the value that the reader must find.
const IMPOSSIBLE: &[(&str, &str)] = &[
    (
        "UPDATE sites SET allocator_id = 0 WHERE site_id = 2",
        "table `sites`, row 2, column `allocator_id` holds `0`",
    ),
    (
        "UPDATE sites SET allocator_id = 77",
        "column `allocator_id` holds `77`",
    ),
    (
        "UPDATE sites SET allocator_id = 262",
        "column `allocator_id` holds `262`",
    ),
    (
        "UPDATE sites SET alloc_bytes = -1",
        "column `alloc_bytes` holds `-1`",
    ),
    (
        "UPDATE sites SET live_bytes = 'many'",
        "column `live_bytes` holds `many`",
    ),
    (
        "UPDATE sites SET live_count = 1.5",
        "column `live_count` holds `1.5`",
    ),
    (
        "UPDATE sites SET temp_count = x'0102'",
        "column `temp_count` holds `2 bytes`",
    ),
    ("UPDATE sites SET stack_id = 0", "column `stack_id` holds `0`"),
    (
        "UPDATE sites SET stack_id = 4294967296",
        "column `stack_id` holds `4294967296`",
    ),
    (
        "UPDATE sites SET site_id = -5 WHERE site_id = 1",
        "column `site_id` holds `-5`",
    ),
    ("UPDATE frames SET line = -1", "column `line` holds `-1`"),
    (
        "UPDATE frames SET kind = 'pyth\u{1b}[31m'",
        "column `kind` holds `pyth\\u{1b}[31m`",
    ),
    (
        "UPDATE frames SET function = x'00'",
        "column `function` holds `1 bytes`",
    ),
    (
        "UPDATE stacks SET parent_id = 2 WHERE stack_id = 2",
        "table `stacks`, row 2, column `parent_id` holds `2`",
    ),
    (
        "UPDATE stacks SET parent_id = 3 WHERE stack_id = 1",
        "table `stacks`, row 1, column `parent_id` holds `3`",
    ),
    (
        "DELETE FROM stacks WHERE stack_id = 2",
        "table `stacks`, row 3, column `parent_id` holds `2`",
    ),
    ("UPDATE stacks SET frame_id = -2", "column `frame_id` holds `-2`"),
    (
        "UPDATE freed_allocations SET stack_id = 99",
        "column `stack_id` holds `99`",
    ),
    (
        "UPDATE timeline SET max_bytes = -9223372036854775808",
        "column `max_bytes` holds `-9223372036854775808`",
    ),
    (
        "UPDATE size_histogram SET size_to = 'x'",
        "column `size_to` holds `x`",
    ),
    (
        "UPDATE processes SET exit_status = 99999999999",
        "column `exit_status` holds `99999999999`",
    ),
    (
        "UPDATE processes SET ended_ns = -3",
        "column `ended_ns` holds `-3`",
    ),
    (
        "UPDATE state SET peak_epoch = -1",
        "column `peak_epoch` holds `-1`",
    ),
    ("UPDATE threads SET tid = 1e300", "column `tid` holds `1000"),
    ("UPDATE losses SET events = -1", "column `events` holds `-1`"),
    (
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '');
          PRAGMA writable_schema=RESET; UPDATE meta SET value = NULL",
        "column `value` holds `NULL`",
    ),
    (
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '');
          PRAGMA writable_schema=RESET; UPDATE sites SET peak_bytes = NULL",
        "column `peak_bytes` holds `NULL`",
    ),
];

#[test]
fn impossible_values_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    for (sql, cause) in IMPOSSIBLE {
        let error = altered(directory.path(), sql)
            .and_then(|reader| ask_all(&reader))
            .unwrap_err();
        let found = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(found.contains(cause), "{sql}: {error:?}");
        assert!(error.hint.is_some(), "{sql}");
    }
}

#[test]
fn tables_that_are_not_tables_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x AS";
    for (sql, message) in [
        ("DROP TABLE sites".to_owned(), "`sites` is not the table"),
        (
            format!("DROP TABLE frames; CREATE VIEW frames AS {endless} frame_id FROM n"),
            "`frames` is not the table",
        ),
        (
            "DROP TABLE stacks; CREATE VIRTUAL TABLE stacks USING fts5(stack_id)".to_owned(),
            "`stacks` is not the table",
        ),
        (
            "ALTER TABLE meta ADD COLUMN x AS (zeroblob(999999999))".to_owned(),
            "`meta` is not the table",
        ),
        (
            "DROP TABLE losses; CREATE TABLE losses(process_id INTEGER PRIMARY KEY) WITHOUT ROWID".to_owned(),
            "`losses` is not the table",
        ),
    ] {
        let error = altered(directory.path(), &sql).unwrap_err();
        assert!(error.message.contains(message), "{sql}: {error:?}");
    }
    let reader = altered(
        directory.path(),
        "ALTER TABLE sites RENAME COLUMN live_bytes TO b",
    )
    .unwrap();
    assert!(ask_all(&reader).unwrap_err().message.contains("is damaged"));
}

#[test]
fn texts_are_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let sql = format!(
        "UPDATE frames SET function = CAST(zeroblob({}) AS TEXT), file = CAST(x'61ff62' AS TEXT)",
        2 * MAX_TEXT_BYTES
    );
    let frames = altered(directory.path(), &sql).unwrap().frames().unwrap();
    assert_eq!(frames[0].function.len(), MAX_TEXT_BYTES + '…'.len_utf8());
    assert_eq!(frames[0].file, "a\u{fffd}b");
}

#[test]
fn depths_are_counted_anew() {
    let directory = tempfile::tempdir().unwrap();
    let stacks = altered(directory.path(), "UPDATE stacks SET depth = 4000000000")
        .unwrap()
        .stacks()
        .unwrap();
    assert_eq!(stacks, sample_batch().stacks);
}

/// A table whose rowids do not ascend could be one whose pages lead back to each other.
#[test]
fn rows_out_of_order_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let sql = "PRAGMA legacy_alter_table=ON; CREATE TABLE t AS SELECT *, 5 AS rowid FROM timeline; DROP TABLE timeline;
        ALTER TABLE t RENAME TO timeline";
    let error = altered(directory.path(), sql).unwrap().timeline().unwrap_err();
    assert!(
        error
            .message
            .contains("table `timeline` is out of order at row 5"),
        "{error:?}"
    );
}

/// The interior page of the table names its first leaf twice.
#[test]
fn pages_that_are_visited_twice_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    fs::write(&path, sound_bytes()).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'freed_allocations'";
    let root: u32 = Connection::open(&path)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    let start = (usize::try_from(root).unwrap() - 1) * PAGE_BYTES;
    let mut bytes = sound_bytes().to_vec();
    let page = &mut bytes[start..start + PAGE_BYTES];
    assert_eq!(page[0], 5, "an interior page of a table");
    let cell = |index: usize| usize::from(u16::from_be_bytes([page[12 + 2 * index], page[13 + 2 * index]]));
    let (first, second) = (cell(0), cell(1));
    page.copy_within(first..first + 4, second);
    fs::write(&path, &bytes).unwrap();
    let error = CaptureReader::open(&path)
        .unwrap()
        .rows::<FreedRow>()
        .unwrap_err();
    assert!(
        error
            .message
            .contains("table `freed_allocations` is out of order at row 1"),
        "{error:?}"
    );
}

/// Stack numbers with gaps are sound, though no recorder leaves any.
#[test]
fn gaps_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let sql = "UPDATE stacks SET stack_id = 900, parent_id = 20 WHERE stack_id = 3;
        UPDATE stacks SET stack_id = 20 WHERE stack_id = 2";
    let stacks = altered(directory.path(), sql).unwrap().stacks().unwrap();
    let found: Vec<_> = stacks
        .iter()
        .map(|stack| (stack.stack_id, stack.parent_id, stack.depth))
        .collect();
    assert_eq!(
        found,
        [(1, None, 1), (4, None, 1), (20, Some(1), 2), (900, Some(20), 3)]
    );
}

fn sound_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        let mut batch = sample_batch();
        let row = batch.freed[0];
        batch.freed.resize(1000, row);
        write_capture(&path, &[batch]);
        fs::read(&path).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any bytes in place of others: an answer or an error, and no panic.
    #[test]
    fn mutated_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        pages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        near_headers in any::<bool>(),
    ) {
        let mut bytes = sound_bytes().to_vec();
        let page_count = bytes.len() / PAGE_BYTES;
        for (from, to) in pages {
            let from = from.index(page_count) * PAGE_BYTES;
            bytes.copy_within(from..from + PAGE_BYTES, to.index(page_count) * PAGE_BYTES);
        }
        for (position, value) in changes {
            let mut position = position.index(bytes.len());
            if near_headers {
                // Where pages keep their kinds, counts, pointers and first cells.
                position = position - position % PAGE_BYTES + position % 61;
            }
            // The first bytes say that it is a capture at all; other tests change them.
            if position >= 72 {
                bytes[position] = value;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        fs::write(&path, &bytes).unwrap();
        if let Ok(reader) = CaptureReader::open(&path) {
            drop(ask_all(&reader));
        }
    }
}
