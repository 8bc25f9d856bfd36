//! The words for a capture that cannot be read, each with what a person can do.

use std::path::Path;

use rusqlite::ErrorCode;

use super::foreign;
use crate::{
    model::CaptureError,
    store::{SCHEMA_VERSION, tables::Damage},
};

const DAMAGED_HINT: &str = "copy the file again from where it was recorded, with the `-wal` file beside it if there \
                            is one; else `memray recover --output` saves what can be read";

fn error(message: String, hint: &str) -> CaptureError {
    CaptureError {
        message,
        hint: Some(hint.to_owned()),
        source: None,
    }
}

fn caused(
    message: String,
    hint: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> CaptureError {
    CaptureError {
        message,
        hint: Some(hint.to_owned()),
        source: Some(Box::new(source)),
    }
}

pub(super) fn missing(path: &Path) -> CaptureError {
    error(
        format!("there is no capture `{}`", path.display()),
        "look for the file name that `memray run` printed when it ended",
    )
}

pub(super) fn directory(path: &Path) -> CaptureError {
    error(
        format!("`{}` is a directory, not a capture", path.display()),
        "name a capture file inside it",
    )
}

pub(super) fn not_regular(path: &Path) -> CaptureError {
    error(
        format!("`{}` is not a regular file", path.display()),
        "save the capture to a file first: SQLite reads a database out of order",
    )
}

pub(super) fn empty(path: &Path) -> CaptureError {
    error(
        format!("the capture `{}` is empty", path.display()),
        "the recording ended before it could begin, or a copy failed: record or copy again",
    )
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> CaptureError {
    let hint = match source.kind() {
        std::io::ErrorKind::PermissionDenied => "read it as its owner, or ask for permission to read it",
        _ => "look for a failing disk or a broken link in the path",
    };
    caused(
        format!("cannot read the capture `{}`", path.display()),
        hint,
        source,
    )
}

pub(super) fn foreign(path: &Path, kind: foreign::Kind) -> CaptureError {
    error(
        format!("`{}` is not a capture: it is {}", path.display(), kind.name()),
        kind.hint(),
    )
}

pub(super) fn other_database(path: &Path) -> CaptureError {
    error(
        format!(
            "`{}` is not a capture: it is an SQLite database of another program",
            path.display()
        ),
        "name a file that `memray run` has written",
    )
}

pub(super) fn newer(path: &Path, version: i64) -> CaptureError {
    error(
        format!(
            "the capture `{}` was written by a newer memray: its schema version is `{version}`, and this program \
             reads up to `{SCHEMA_VERSION}`",
            path.display()
        ),
        "read it with the memray that wrote it, or a newer one",
    )
}

pub(super) fn invalid_version(path: &Path, version: i64) -> CaptureError {
    error(
        format!(
            "the capture `{}` is damaged: its schema version is `{version}`",
            path.display()
        ),
        DAMAGED_HINT,
    )
}

pub(super) fn altered_table(path: &Path, table: &str) -> CaptureError {
    error(
        format!(
            "the capture `{}` is damaged: `{table}` is not the table that memray makes",
            path.display()
        ),
        DAMAGED_HINT,
    )
}

pub(super) fn cut_off(path: &Path, bytes: u64, expected_bytes: u64) -> CaptureError {
    error(
        format!(
            "the capture `{}` is cut off: it has {bytes} of {expected_bytes} bytes",
            path.display()
        ),
        DAMAGED_HINT,
    )
}

pub(super) fn fragment(path: &Path, bytes: usize) -> CaptureError {
    error(
        format!(
            "the capture `{}` is cut off: it has {bytes} bytes",
            path.display()
        ),
        DAMAGED_HINT,
    )
}

pub(super) fn damaged(path: &Path, damage: Damage) -> CaptureError {
    caused(
        format!("the capture `{}` is damaged", path.display()),
        DAMAGED_HINT,
        damage,
    )
}

/// What SQLite's own check has found.
pub(super) fn damaged_pages(path: &Path, found: &str) -> CaptureError {
    CaptureError {
        message: format!("the capture `{}` is damaged", path.display()),
        hint: Some(DAMAGED_HINT.to_owned()),
        // A heading comes before it.
        source: found.lines().last().map(Into::into),
    }
}

pub(super) fn unordered(path: &Path, table: &str, row: i64) -> CaptureError {
    error(
        format!(
            "the capture `{}` is damaged: table `{table}` is out of order at row {row}",
            path.display()
        ),
        DAMAGED_HINT,
    )
}

pub(super) fn contradictory(path: &Path, what: &str, found: u64, expected: u64) -> CaptureError {
    error(
        format!(
            "the capture `{}` contradicts itself: {what} are {found} in one place and {expected} in another",
            path.display()
        ),
        "a copy that was made while it was written is none: copy it again when the recording has ended, or with the \
         `-wal` file of the same moment; `memray recover` saves what is left",
    )
}

pub(super) fn rows_missing(path: &Path, threshold: u64) -> CaptureError {
    error(
        format!(
            "the capture `{}` does not hold every allocation, so that those temporary by the threshold `{threshold}` \
             are not known",
            path.display()
        ),
        "rows were left out because the disk was full, or lost with a damaged file; the totals for threshold 1 are in \
         every capture",
    )
}

/// The recorder was killed, and what completes the file lies beside it in a form that only a writer can take up.
pub(super) fn needs_recovery(path: &Path, source: rusqlite::Error) -> CaptureError {
    caused(
        format!(
            "the capture `{}` was left unfinished and cannot be completed from here",
            path.display()
        ),
        "complete a copy of it in a directory of your own with `memray recover --output`, or read it once as a user who \
         may write to it and to its directory (it is completed from the `-wal` or `-journal` file beside it)",
        source,
    )
}

/// What a failed query says about the file.
pub(super) fn query(path: &Path, source: rusqlite::Error) -> CaptureError {
    let path = path.display();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => caused(
            format!("the capture `{path}` is locked by another process"),
            "try again when the recording has ended",
            source,
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => caused(
            format!("cannot read the capture `{path}`"),
            "look for a failing disk, or copy the capture elsewhere",
            source,
        ),
        _ => caused(format!("the capture `{path}` is damaged"), DAMAGED_HINT, source),
    }
}

/// Whether a writer could take up what a killed recorder left, where a reader could not.
pub(super) fn asks_for_recovery(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}
