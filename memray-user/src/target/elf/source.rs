//! Bytes of a file by offset, without reading the whole of it.
//!
//! A file is read, not mapped: a mapped file that somebody truncates ends the reader with SIGBUS.

use std::{borrow::Cow, fs::File, os::unix::fs::FileExt as _};

use super::ElfError;

/// Largest range that is read at once. The tables of machine-learning libraries and of browsers stay below it; a sparse
/// file of terabytes must not reserve them.
const RANGE_BYTES: u64 = 256 << 20;

#[derive(Debug)]
pub(super) enum Source {
    File { file: File, size: u64 },
    Memory(Vec<u8>),
}

impl Source {
    pub(super) fn from_file(file: File) -> Result<Self, ElfError> {
        let metadata = file.metadata().map_err(|source| ElfError::Read { source })?;
        Ok(Self::File {
            file,
            size: metadata.len(),
        })
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }

    fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    /// `len` bytes from `offset`; none if the file ends before or cannot be read.
    pub(super) fn bytes(&self, offset: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        let end = offset.checked_add(len)?;
        if end > self.size() || len > RANGE_BYTES {
            return None;
        }
        match self {
            Self::File { file, .. } => {
                let mut bytes = vec![0; usize::try_from(len).ok()?];
                file.read_exact_at(&mut bytes, offset).ok()?;
                Some(Cow::Owned(bytes))
            }
            Self::Memory(bytes) => {
                let range = usize::try_from(offset).ok()?..usize::try_from(end).ok()?;
                bytes.get(range).map(Cow::Borrowed)
            }
        }
    }

    /// As [`bytes`](Self::bytes), with the error that names what is missing.
    pub(super) fn required(
        &self,
        offset: u64,
        len: u64,
        what: &'static str,
    ) -> Result<Cow<'_, [u8]>, ElfError> {
        self.bytes(offset, len).ok_or(ElfError::Malformed { what })
    }
}
