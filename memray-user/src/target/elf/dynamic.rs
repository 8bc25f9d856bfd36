//! The dynamic section: names of libraries, and where the dynamic symbols are in a file without section headers.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use object::{
    LittleEndian, elf, pod,
    read::elf::{GnuHashTable, HashTable},
};

use super::{ElfFile, PATH_BYTES};

type Header = elf::FileHeader64<LittleEndian>;

/// Most `DT_NEEDED` entries that are kept; the dynamic section itself is bounded by the file.
const NEEDED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) soname: Option<u64>,
    pub(super) needed: Vec<u64>,
    pub(super) symbols: Option<u64>,
    pub(super) strings: Option<u64>,
    pub(super) strings_size: u64,
    pub(super) versions: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

impl Dynamic {
    pub(super) fn read(file: &ElfFile) -> Self {
        let mut dynamic = Self::default();
        let range = file.headers.dynamic;
        let Some(bytes) = range.and_then(|range| file.source.bytes(range.file_offset, range.size)) else {
            return dynamic;
        };
        let count = bytes.len() / size_of::<elf::Dyn64<LittleEndian>>();
        let Ok((entries, _)) = pod::slice_from_bytes::<elf::Dyn64<LittleEndian>>(&bytes, count) else {
            return dynamic;
        };
        for entry in entries {
            let value = entry.d_val.get(LittleEndian);
            match entry.d_tag.get(LittleEndian) {
                elf::DT_NULL => break,
                elf::DT_SONAME => dynamic.soname = Some(value),
                elf::DT_NEEDED if dynamic.needed.len() < NEEDED => dynamic.needed.push(value),
                elf::DT_SYMTAB => dynamic.symbols = Some(value),
                elf::DT_STRTAB => dynamic.strings = Some(value),
                elf::DT_STRSZ => dynamic.strings_size = value,
                elf::DT_VERSYM => dynamic.versions = Some(value),
                elf::DT_HASH => dynamic.hash = Some(value),
                elf::DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                _ => {}
            }
        }
        dynamic
    }

    /// The string at `offset` of the dynamic string table.
    pub(super) fn string(&self, file: &ElfFile, offset: u64) -> Option<OsString> {
        let left = self.strings_size.checked_sub(offset)?.min(PATH_BYTES);
        let start = self.strings?.checked_add(offset)?;
        let bytes = file.bytes_up_to(start, usize::try_from(left).ok()?)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        (end > 0).then(|| OsString::from_vec(bytes.get(..end).unwrap_or_default().to_vec()))
    }

    /// How many dynamic symbols there are, which only the hash tables know.
    pub(super) fn symbol_count(&self, file: &ElfFile) -> Option<u64> {
        let table = |svma| {
            let (offset, available) = file.segment_bytes_from(svma)?;
            file.source.bytes(offset, available)
        };
        if let Some(bytes) = self.hash.and_then(table)
            && let Ok(hash) = HashTable::<Header>::parse(LittleEndian, &bytes)
        {
            return Some(u64::from(hash.symbol_table_length()));
        }
        let bytes = self.gnu_hash.and_then(table)?;
        let hash = GnuHashTable::<Header>::parse(LittleEndian, &bytes).ok()?;
        hash.symbol_table_length(LittleEndian).map(u64::from)
    }
}
