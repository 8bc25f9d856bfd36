//! Makes a capture that everybody can read of what a crash, a copy or a failing disk has left.
//!
//! Where nothing is damaged the file is completed from the log beside it, in place or in a copy. Where something is, a
//! new capture is put together from the rows that can be read, and says what it lacks; the damaged file is never
//! changed.

mod salvage;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    CaptureReader, CaptureWriter, Overwrite, StoreError,
    reader::open,
    writer::{beside, is_in_use, remove_capture},
};
use crate::model::{CaptureError, LossRow};

/// What else may belong to a capture.
const LOG_SUFFIXES: [&str; 2] = ["-wal", "-journal"];

/// How it went.
#[derive(Debug)]
pub enum Recovered {
    /// It was complete, and no log is beside it.
    AsItWas,
    Completed,
    /// Something could not be read.
    InPart {
        losses: Vec<LossRow>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The capture cannot even be opened.
    #[error(transparent)]
    Unreadable(CaptureError),
    #[error("another memray is writing `{}`", path.display())]
    InUse { path: PathBuf },
    #[error("cannot complete `{}` in place", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        found: CaptureError,
    },
    #[error("cannot complete the capture `{}`", path.display())]
    Complete {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot write `{}`", path.display())]
    Copy {
        /// The output.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read anything of the damaged capture `{}`", path.display())]
    Nothing {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("`{}` is the capture itself", path.display())]
    Itself { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecoverError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(error) => error.hint.clone(),
            Self::InUse { .. } => {
                Some("wait until the recording has ended; reports can be made of it meanwhile".to_owned())
            }
            Self::Damaged { .. } => {
                Some("name another file with `--output`: what can be read is saved there".to_owned())
            }
            Self::Complete { .. } => {
                Some("name a file in a directory of your own with `--output`".to_owned())
            }
            Self::Copy { .. } => Some(
                "name a file in a directory with enough room that you may write to with `--output`"
                    .to_owned(),
            ),
            Self::Nothing { .. } => {
                Some("record again; the file has lost what tells its pages apart".to_owned())
            }
            Self::Itself { .. } => Some("name another file with `--output`, or leave it out".to_owned()),
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }
}

/// Recovers a capture, in place or into another file.
pub fn recover(path: &Path, output: Option<(&Path, Overwrite)>) -> Result<Recovered, RecoverError> {
    let file = open::locate(path).map_err(RecoverError::Unreadable)?;
    if is_in_use(&file) {
        return Err(RecoverError::InUse {
            path: path.to_owned(),
        });
    }
    match output {
        None => recover_in_place(path, &file),
        Some((output, overwrite)) => recover_into(path, &file, output, overwrite),
    }
}

fn recover_in_place(path: &Path, file: &Path) -> Result<Recovered, RecoverError> {
    let had_log = LOG_SUFFIXES.iter().any(|suffix| open::has_content(file, suffix));
    let was_with_log = check(path).map_err(|found| RecoverError::Damaged {
        path: path.to_owned(),
        found,
    })?;
    if !had_log && !was_with_log {
        return Ok(Recovered::AsItWas);
    }
    open::recover(file).map_err(|source| RecoverError::Complete {
        path: path.to_owned(),
        source,
    })?;
    Ok(Recovered::Completed)
}

/// Reads all of a capture; whether a log is on.
fn check(path: &Path) -> Result<bool, CaptureError> {
    let reader = CaptureReader::open(path)?;
    reader.check_pages()?;
    reader.has_log()
}

/// A copy beside the output becomes the output, or is what the output is put together from.
fn recover_into(
    path: &Path,
    file: &Path,
    output: &Path,
    overwrite: Overwrite,
) -> Result<Recovered, RecoverError> {
    if fs::canonicalize(output).is_ok_and(|output| output == file) {
        return Err(RecoverError::Itself {
            path: output.to_owned(),
        });
    }
    if overwrite == Overwrite::Refuse && fs::symlink_metadata(output).is_ok() {
        return Err(StoreError::Exists {
            path: output.to_owned(),
        }
        .into());
    }
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let partial = output.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let recovered =
        copy_all(file, &partial, output).and_then(|()| recover_copy(path, &partial, output, overwrite));
    // It is there no more if it has become the output.
    remove_capture(&partial).unwrap_or_default();
    recovered
}

fn copy_all(file: &Path, partial: &Path, output: &Path) -> Result<(), RecoverError> {
    // Not with the rights of the original, which may be for reading alone.
    let copy = |suffix: &str| {
        let from = beside(file, suffix);
        let copied = File::open(from).and_then(|mut from| {
            let mut to = File::create_new(beside(partial, suffix))?;
            io::copy(&mut from, &mut to)
        });
        copied.map_err(|source| RecoverError::Copy {
            path: output.to_owned(),
            source,
        })
    };
    copy("")?;
    for suffix in LOG_SUFFIXES {
        if open::has_content(file, suffix) {
            copy(suffix)?;
        }
    }
    Ok(())
}

fn recover_copy(
    path: &Path,
    partial: &Path,
    output: &Path,
    overwrite: Overwrite,
) -> Result<Recovered, RecoverError> {
    if check(partial).is_ok() {
        open::recover(partial).map_err(|source| RecoverError::Complete {
            path: partial.to_owned(),
            source,
        })?;
        // A log beside the name that it takes would be taken for its own.
        if overwrite == Overwrite::Replace {
            remove_capture(output).map_err(|source| RecoverError::Copy {
                path: output.to_owned(),
                source,
            })?;
        }
        fs::rename(partial, output).map_err(|source| RecoverError::Copy {
            path: output.to_owned(),
            source,
        })?;
        return Ok(Recovered::Completed);
    }
    let (connection, schema_version) = open::open_damaged(partial)
        .or_else(|_error| {
            // The log may be what cannot be read, or of another file.
            for suffix in LOG_SUFFIXES {
                fs::remove_file(beside(partial, suffix)).unwrap_or_default();
            }
            open::open_damaged(partial)
        })
        .map_err(|source| RecoverError::Nothing {
            path: path.to_owned(),
            source,
        })?;
    let mut writer = CaptureWriter::create(output, overwrite, None)?;
    let losses = match salvage::salvage(&connection, schema_version, &mut writer) {
        Ok(losses) => losses,
        Err(error) => {
            // The first error is the one to tell.
            writer.discard().unwrap_or_default();
            return Err(error.into());
        }
    };
    writer.close_unfinished()?;
    Ok(Recovered::InPart { losses })
}

#[cfg(test)]
mod tests;
