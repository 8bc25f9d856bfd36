//! Facts from ELF files: where symbols, sections and segments lie, in the file and in memory.
//!
//! The only importer of the `object` crate besides the symbolizer. An address is either an SVMA (as stated in the
//! file, before relocation) or an AVMA (in a running process); this module knows SVMAs and file offsets only.
//!
//! Input: a path or bytes, trusted in nothing. Headers are read when the file is opened, tables when somebody asks,
//! so that the gigabytes of a machine-learning library stay on disk. A damaged header is an [`ElfError`]; a damaged
//! table behind good headers is an empty table, because a stripped file looks the same to every caller.

mod dynamic;
mod headers;
mod source;
mod symbols;

use std::{
    borrow::Cow,
    ffi::OsString,
    fs::File,
    io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use object::{LittleEndian, elf, read::elf::NoteIterator};

use self::{dynamic::Dynamic, headers::Headers, source::Source, symbols::SymbolTables};
pub use self::{
    headers::{Section, Segment, TlsSegment},
    symbols::{Symbol, SymbolKind},
};

/// Bytes of a page of every x86-64 kernel.
pub const PAGE_BYTES: u64 = 4096;

/// Longest path that Linux takes (`PATH_MAX` in limits.h), a bound on `PT_INTERP` and on names in the file.
const PATH_BYTES: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("cannot open `{}`", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read the file")]
    Read { source: io::Error },
    #[error("not an ELF file")]
    NotElf,
    #[error("a 32-bit ELF file; memray traces 64-bit x86-64 programs only")]
    ThirtyTwoBit,
    #[error("an ELF file for machine number {machine}; memray traces 64-bit x86-64 programs only")]
    OtherMachine { machine: u16 },
    #[error("a big-endian ELF file; memray traces 64-bit x86-64 programs only")]
    BigEndian,
    #[error("a damaged ELF file: {what}")]
    Malformed { what: &'static str },
}

/// An opened 64-bit little-endian x86-64 ELF file.
#[derive(Debug)]
pub struct ElfFile {
    source: Source,
    headers: Headers,
    dynamic: Dynamic,
    symbols: OnceLock<SymbolTables>,
}

impl ElfFile {
    /// Opens a regular file. Devices and pipes are refused, since opening or reading one could block.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let opened = |source| ElfError::Open {
            path: path.to_owned(),
            source,
        };
        if !std::fs::metadata(path).map_err(opened)?.is_file() {
            return Err(ElfError::NotElf);
        }
        Self::new(Source::from_file(File::open(path).map_err(opened)?)?)
    }

    /// The same from bytes in memory, for files that are not on disk (the vDSO) and for tests.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ElfError> {
        Self::new(Source::from_bytes(bytes))
    }

    fn new(source: Source) -> Result<Self, ElfError> {
        let headers = Headers::read(&source)?;
        let mut file = Self {
            source,
            headers,
            dynamic: Dynamic::default(),
            symbols: OnceLock::new(),
        };
        file.dynamic = Dynamic::read(&file);
        Ok(file)
    }

    /// The defined symbol of this name: from `.dynsym` (the default version first), else from `.symtab`.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols_named(&[name]).into_iter().next().flatten()
    }

    /// As [`symbol`](Self::symbol) for several names in one pass; the answers are in the order of the names.
    pub fn symbols_named(&self, names: &[&str]) -> Vec<Option<Symbol>> {
        self.symbols.get_or_init(|| SymbolTables::read(self)).find(names)
    }

    /// The first section of this name.
    pub fn section(&self, name: &str) -> Option<Section> {
        self.headers
            .sections
            .iter()
            .find(|(section_name, _)| section_name == name.as_bytes())
            .map(|(_, section)| *section)
    }

    /// What the file holds of a section; nothing for `.bss` and the like.
    pub fn section_bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let section = self.section(name)?;
        self.source.bytes(section.file_offset?, section.size)
    }

    /// The `PT_LOAD` segments in the order of the file.
    pub fn segments(&self) -> &[Segment] {
        &self.headers.segments
    }

    /// Where the byte at this SVMA lies in the file; none in `.bss` or outside every segment.
    pub fn svma_to_file_offset(&self, svma: u64) -> Option<u64> {
        self.segment_bytes_from(svma).map(|(offset, _)| offset)
    }

    /// The SVMA at which this byte of the file is loaded.
    pub fn file_offset_to_svma(&self, file_offset: u64) -> Option<u64> {
        let segment = self.headers.segments.iter().find(|segment| {
            file_offset
                .checked_sub(segment.file_offset)
                .is_some_and(|inside| inside < segment.file_size)
        })?;
        segment.svma.checked_add(file_offset - segment.file_offset)
    }

    /// `len` bytes of the file that are loaded at `svma`; none if the segment ends before.
    pub fn bytes_at(&self, svma: u64, len: usize) -> Option<Cow<'_, [u8]>> {
        let len = u64::try_from(len).ok()?;
        let (offset, available) = self.segment_bytes_from(svma)?;
        if len > available {
            return None;
        }
        self.source.bytes(offset, len)
    }

    /// Like [`bytes_at`](Self::bytes_at), but fewer bytes where the segment ends.
    pub fn bytes_up_to(&self, svma: u64, len: usize) -> Option<Cow<'_, [u8]>> {
        let (offset, available) = self.segment_bytes_from(svma)?;
        let len = u64::try_from(len).ok()?.min(available);
        self.source.bytes(offset, len)
    }

    /// The SVMA of the lowest page that is loaded: 0 in most libraries, `0x40_0000` in most fixed executables.
    pub fn base_svma(&self) -> u64 {
        let lowest = self.headers.segments.iter().map(|segment| segment.svma).min();
        lowest.unwrap_or(0) & !(PAGE_BYTES - 1)
    }

    /// One past the highest page that is loaded.
    pub fn end_svma(&self) -> u64 {
        let ends = self.headers.segments.iter();
        let highest = ends
            .map(|segment| segment.svma.saturating_add(segment.memory_size))
            .max();
        highest
            .unwrap_or(0)
            .checked_next_multiple_of(PAGE_BYTES)
            .unwrap_or(u64::MAX)
    }

    /// `AVMA - SVMA` of an executable mapping of this file that begins at `avma_start` with the byte at
    /// `file_offset`. The difference wraps: a prelinked library can lie below its SVMA.
    pub fn bias_of_mapping(&self, avma_start: u64, file_offset: u64) -> Option<u64> {
        let segment = self.headers.segments.iter().find(|segment| {
            let first_page = segment.file_offset & !(PAGE_BYTES - 1);
            let end = segment.file_offset.saturating_add(segment.file_size);
            segment.executable && first_page <= file_offset && file_offset < end
        })?;
        let svma = segment
            .svma
            .wrapping_sub(segment.file_offset)
            .wrapping_add(file_offset);
        Some(avma_start.wrapping_sub(svma))
    }

    /// Whether the kernel or the dynamic loader chooses the address (`ET_DYN`): libraries and PIE.
    pub fn is_position_independent(&self) -> bool {
        self.headers.is_position_independent
    }

    /// SVMA of the first instruction (`e_entry`).
    pub fn entry_svma(&self) -> u64 {
        self.headers.entry_svma
    }

    /// The dynamic loader that the file asks for (`PT_INTERP`); none in libraries and static programs.
    pub fn interpreter(&self) -> Option<PathBuf> {
        let (offset, size) = self.headers.interpreter?;
        let bytes = self.source.bytes(offset, size.min(PATH_BYTES))?;
        let path = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        (!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
    }

    /// `DT_SONAME`.
    pub fn soname(&self) -> Option<OsString> {
        self.dynamic.string(self, self.dynamic.soname?)
    }

    /// `DT_NEEDED`, in the order of the file.
    pub fn needed(&self) -> Vec<OsString> {
        let offsets = self.dynamic.needed.iter();
        offsets
            .filter_map(|&offset| self.dynamic.string(self, offset))
            .collect()
    }

    /// SVMA of the dynamic section (`PT_DYNAMIC`).
    pub fn dynamic_svma(&self) -> Option<u64> {
        self.headers.dynamic.map(|dynamic| dynamic.svma)
    }

    pub fn tls_segment(&self) -> Option<TlsSegment> {
        self.headers.tls
    }

    /// The GNU build id, 20 bytes in most files.
    pub fn build_id(&self) -> Option<Vec<u8>> {
        for note in &self.headers.notes {
            let Some(bytes) = self.source.bytes(note.file_offset, note.size) else {
                continue;
            };
            let notes =
                NoteIterator::<elf::FileHeader64<LittleEndian>>::new(LittleEndian, note.alignment, &bytes);
            let Ok(notes) = notes else { continue };
            let found = notes
                .map_while(Result::ok)
                .find(|note| {
                    note.name() == elf::ELF_NOTE_GNU && note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID
                })
                .map(|note| note.desc().to_vec());
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The file offset of `svma` and how many bytes of its segment follow there.
    fn segment_bytes_from(&self, svma: u64) -> Option<(u64, u64)> {
        self.headers.segments.iter().find_map(|segment| {
            let inside = svma.checked_sub(segment.svma)?;
            let available = segment.file_size.checked_sub(inside).filter(|&left| left > 0)?;
            Some((segment.file_offset.checked_add(inside)?, available))
        })
    }
}

#[cfg(test)]
mod tests;
