//! Whether the capture still is what and where it was made, which SQLite does not ask.
//!
//! SQLite writes through its descriptors whatever becomes of the names: into a file that was deleted, and into a log
//! that no reader finds. So the names are looked at before each batch. What to think of it is plain data
//! ([`judge`]), so that it can be tried without files.

use std::{
    fs::{self, File, Metadata},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::create::beside;

/// What SQLite keeps beside the file while a log is on.
const LOG_SUFFIXES: [&str; 2] = ["-wal", "-shm"];

/// The file as it was made.
#[derive(Debug)]
pub(super) struct Place {
    /// Not to be closed before SQLite is done: closing any descriptor of a file drops all locks of that kind which this
    /// process has on it.
    descriptor: Descriptor,
    /// Its length at the last look. It never shrinks by itself.
    length_bytes: u64,
    /// The files of the log, by their numbers.
    log: Option<[FileNumber; LOG_SUFFIXES.len()]>,
}

/// A file that says to other recordings that it is taken, where the file system can say that.
#[derive(Debug)]
enum Descriptor {
    Locked(Flock<File>),
    Unlocked(File),
}

/// Device and inode.
type FileNumber = (u64, u64);

/// What has become of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    AsItWas,
    /// The log is not where readers look for it.
    LogGone,
    Deleted,
    Moved {
        to: PathBuf,
    },
    CutOff {
        bytes: u64,
        expected_bytes: u64,
    },
}

/// What is found by one look.
#[derive(Debug)]
struct Look {
    /// The file that we write.
    ours: FileNumber,
    links: u64,
    length_bytes: u64,
    /// The file of that name.
    named: Option<FileNumber>,
    /// What the kernel calls ours now.
    called: PathBuf,
}

impl Place {
    pub(super) fn new(created: File) -> Self {
        let descriptor = match Flock::lock(created, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Descriptor::Locked(locked),
            Err((unlocked, _errno)) => Descriptor::Unlocked(unlocked),
        };
        Self {
            descriptor,
            length_bytes: 0,
            log: None,
        }
    }

    /// Looks at the names; what cannot be looked at is as it was.
    pub(super) fn look(&mut self, file: &Path) -> Fate {
        let Ok(metadata) = self.file().metadata() else {
            return Fate::AsItWas;
        };
        let look = Look {
            ours: number(&metadata),
            links: metadata.nlink(),
            length_bytes: metadata.len(),
            named: number_of(file),
            called: fs::read_link(format!("/proc/self/fd/{}", self.file().as_raw_fd())).unwrap_or_default(),
        };
        let fate = judge(&look, self.length_bytes);
        self.length_bytes = self.length_bytes.max(look.length_bytes);
        if fate == Fate::AsItWas && self.log.is_some_and(|log| log_of(file) != Some(log)) {
            return Fate::LogGone;
        }
        fate
    }

    /// From here on the log that is there is the one to be there.
    pub(super) fn note_log(&mut self, file: &Path) {
        self.log = log_of(file);
    }

    /// Removes what is left of the log at the old name of a file that was moved: nobody else would.
    pub(super) fn remove_log(&self, file: &Path) {
        if self.log.is_some() && log_of(file) == self.log && number_of(file).is_none() {
            for suffix in LOG_SUFFIXES {
                // What stays is empty.
                fs::remove_file(beside(file, suffix)).unwrap_or_default();
            }
        }
    }

    fn file(&self) -> &File {
        match &self.descriptor {
            Descriptor::Locked(file) => file,
            Descriptor::Unlocked(file) => file,
        }
    }
}

fn judge(look: &Look, last_length_bytes: u64) -> Fate {
    if look.named != Some(look.ours) {
        return if look.links == 0 {
            Fate::Deleted
        } else {
            Fate::Moved {
                to: look.called.clone(),
            }
        };
    }
    if look.length_bytes < last_length_bytes {
        return Fate::CutOff {
            bytes: look.length_bytes,
            expected_bytes: last_length_bytes,
        };
    }
    Fate::AsItWas
}

fn log_of(file: &Path) -> Option<[FileNumber; LOG_SUFFIXES.len()]> {
    let [log, memory] = LOG_SUFFIXES.map(|suffix| number_of(&beside(file, suffix)));
    Some([log?, memory?])
}

fn number_of(file: &Path) -> Option<FileNumber> {
    fs::symlink_metadata(file).ok().as_ref().map(number)
}

fn number(metadata: &Metadata) -> FileNumber {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_become_of_the_file() {
        let check = |links: u64, length_bytes: u64, named: Option<FileNumber>, expect: Fate| {
            let look = Look {
                ours: (1, 7),
                links,
                length_bytes,
                named,
                called: PathBuf::from("/elsewhere/b.db"),
            };
            assert_eq!(judge(&look, 100), expect, "{look:?}");
        };
        let moved = Fate::Moved {
            to: PathBuf::from("/elsewhere/b.db"),
        };
        check(1, 100, Some((1, 7)), Fate::AsItWas);
        check(1, 4196, Some((1, 7)), Fate::AsItWas);
        check(0, 100, None, Fate::Deleted);
        // Another file has its name.
        check(0, 100, Some((1, 8)), Fate::Deleted);
        check(1, 100, Some((2, 7)), moved.clone());
        check(1, 100, None, moved);
        let cut_off = Fate::CutOff {
            bytes: 99,
            expected_bytes: 100,
        };
        check(1, 99, Some((1, 7)), cut_off);
    }
}
