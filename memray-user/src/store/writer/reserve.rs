//! Space kept back for the end of a recording that fills its disk.
//!
//! On a full disk SQLite can neither grow the log nor fold it into the file, so that not even the totals of the
//! last half second or the mark of the end would find room. A file without a name holds some space until then;
//! the kernel frees it with its last descriptor, also after SIGKILL.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::{FallocateFlags, fallocate};

/// What is tried in turn. The largest holds several logs: one is folded into the file at 4 MB and, with the rows
/// of a busy half second, seldom grows beyond 10 MB.
const SIZES_BYTES: [i64; 3] = [16 << 20, 4 << 20, 1 << 20];

/// Room in the directory that `release` gives back. None where the disk has none to spare, or the file system
/// knows no unnamed files or no reservation.
#[derive(Debug)]
pub(super) struct Reserve(Option<File>);

impl Reserve {
    pub(super) fn take(directory: &Path) -> Self {
        let unnamed = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o600)
            .open(directory);
        let Ok(file) = unnamed else { return Self(None) };
        let taken = SIZES_BYTES
            .iter()
            .any(|size| fallocate(&file, FallocateFlags::empty(), 0, *size).is_ok());
        Self(taken.then_some(file))
    }

    /// Gives the room back, if it is still held.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_without_a_name_and_given_back_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::take(directory.path());
        let held = reserve.0.as_ref().map(|file| file.metadata().unwrap().len());
        assert!(held.is_none_or(|bytes| bytes >= 1 << 20), "{held:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        reserve.release();
        assert!(reserve.0.is_none());
        reserve.release();
    }

    #[test]
    fn nothing_where_there_is_no_such_directory() {
        assert!(Reserve::take(Path::new("/proc/self/none")).0.is_none());
    }
}
