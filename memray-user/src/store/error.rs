//! What can go wrong while a capture is written, with what a person can do about it.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// A capture that could not be created or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{}` exists already", path.display())]
    Exists { path: PathBuf },
    #[error("another memray is writing `{}`", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` is not a regular file and is not replaced", path.display())]
    NotRegular { path: PathBuf },
    #[error("cannot create the capture `{}`", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot set up the capture `{}`", path.display())]
    SetUp { path: PathBuf, source: rusqlite::Error },
    /// The batch was rolled back; all batches before it are in the file.
    #[error("no space is left for the capture `{}`", path.display())]
    Full { path: PathBuf, source: rusqlite::Error },
    /// The batch was rolled back; all batches before it are in the file, and the same batch can be tried again.
    #[error("the capture `{}` is locked by another process", path.display())]
    Busy { path: PathBuf, source: rusqlite::Error },
    /// The batch was rolled back; all batches before it are in the file.
    #[error("cannot write to the capture `{}`", path.display())]
    Write { path: PathBuf, source: rusqlite::Error },
    #[error("the capture `{}` was deleted while it was recorded", path.display())]
    Deleted { path: PathBuf },
    /// What is written goes on to that place.
    #[error("the capture `{}` was moved to `{}` while it was recorded", path.display(), to.display())]
    Moved { path: PathBuf, to: PathBuf },
    #[error(
        "the capture `{}` was cut off by somebody else while it was recorded: it has {bytes} of {expected_bytes} bytes",
        path.display()
    )]
    CutOff {
        path: PathBuf,
        bytes: u64,
        expected_bytes: u64,
    },
}

impl StoreError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists { .. } => Some("choose another file with `--output`, or replace it with `--force`"),
            Self::InUse { .. } => Some("choose another file with `--output`, or end that recording first"),
            Self::NotRegular { .. } => Some("choose another file with `--output`"),
            Self::Create { source, .. } => create_hint(source.kind()),
            Self::Full { .. } => Some(
                "what was recorded until then is kept, and totals are recorded on as far as there is room; make room or \
                 choose another directory with `--output`",
            ),
            Self::Busy { .. } => Some("close other programs that have the capture open"),
            Self::Deleted { .. } => {
                Some("record again, and leave the file where it is until the recording has ended")
            }
            Self::Moved { .. } => {
                Some("it is complete there when the recording has ended; leave it where it is until then")
            }
            Self::CutOff { .. } => {
                Some("nothing more is written to it; `memray recover` saves what is left, or record again")
            }
            Self::SetUp { .. } | Self::Write { .. } => {
                Some("look for a quota or a failing disk, or choose another directory with `--output`")
            }
        }
    }

    /// Nothing that is written from here on reaches anybody.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Deleted { .. } | Self::CutOff { .. })
    }

    /// The error of a statement that wrote to an existing capture.
    pub(super) fn from_write(path: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, source },
            // The index of the write-ahead log grows by posix_fallocate, whose ENOSPC SQLite reports as this.
            Some(_) if extended_code(&source) == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::Full { path, source }
            }
            _ => Self::Write { path, source },
        }
    }
}

fn create_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => Some("create the directory first, or choose another with `--output`"),
        io::ErrorKind::PermissionDenied => Some("choose a directory that you may write to with `--output`"),
        io::ErrorKind::ReadOnlyFilesystem => Some("choose a directory on a writable disk with `--output`"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room or choose another directory with `--output`")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename | io::ErrorKind::IsADirectory => {
            Some("choose another file with `--output`")
        }
        _ => None,
    }
}

pub(super) fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        _ => None,
    }
}
