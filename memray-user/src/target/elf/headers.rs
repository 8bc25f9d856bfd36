//! The file header, the program headers and the section headers, checked once when a file is opened.

use object::{LittleEndian, elf, pod};

use super::{ElfError, source::Source};

const HEADER_BYTES: u64 = size_of::<elf::FileHeader64<LittleEndian>>() as u64;
const PROGRAM_HEADER_BYTES: u64 = size_of::<elf::ProgramHeader64<LittleEndian>>() as u64;
const SECTION_HEADER_BYTES: u64 = size_of::<elf::SectionHeader64<LittleEndian>>() as u64;

/// Most program headers that are believed; real files have about a dozen.
const PROGRAM_HEADERS: u64 = 1 << 12;

/// Most section headers that are read: an object compiled with a section for each function has tens of thousands, what
/// is mapped and runs has about thirty.
const SECTION_HEADERS: u64 = 1 << 16;

/// Most bytes of the table of their names, of one note, and most notes.
const SECTION_NAMES_BYTES: u64 = 16 << 20;
const NOTE_BYTES: u64 = 1 << 20;
const NOTES: usize = 64;

/// Longest section name that is kept; real ones end far below.
const SECTION_NAME_BYTES: usize = 256;

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub svma: u64,
    /// Bytes in memory; what exceeds `file_size` is zero at start.
    pub memory_size: u64,
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    pub executable: bool,
}

/// A section, named by whoever asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// 0 for sections that are not loaded (`.symtab`).
    pub svma: u64,
    /// Bytes.
    pub size: u64,
    /// None if the file holds no bytes of it (`.bss`).
    pub file_offset: Option<u64>,
}

/// The template of thread-local variables (`PT_TLS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSegment {
    pub svma: u64,
    pub memory_size: u64,
    pub alignment: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct NoteRange {
    pub(super) file_offset: u64,
    pub(super) size: u64,
    pub(super) alignment: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct DynamicRange {
    pub(super) svma: u64,
    pub(super) file_offset: u64,
    pub(super) size: u64,
}

/// A table that a section header describes, with the table that its `sh_link` names.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableSection {
    pub(super) kind: u32,
    pub(super) file_offset: u64,
    pub(super) size: u64,
    pub(super) link: u32,
}

#[derive(Debug)]
pub(super) struct Headers {
    pub(super) is_position_independent: bool,
    pub(super) entry_svma: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) interpreter: Option<(u64, u64)>,
    pub(super) dynamic: Option<DynamicRange>,
    pub(super) tls: Option<TlsSegment>,
    pub(super) notes: Vec<NoteRange>,
    pub(super) sections: Vec<(Vec<u8>, Section)>,
    /// All section headers by index, for `sh_link`.
    pub(super) tables: Vec<TableSection>,
}

impl Headers {
    pub(super) fn read(source: &Source) -> Result<Self, ElfError> {
        let ident = source.bytes(0, 16).ok_or(ElfError::NotElf)?;
        if ident.get(..4) != Some(&elf::ELFMAG[..]) {
            return Err(ElfError::NotElf);
        }
        if ident.get(5) == Some(&elf::ELFDATA2MSB) {
            return Err(ElfError::BigEndian);
        }
        if ident.get(4) == Some(&elf::ELFCLASS32) {
            return Err(ElfError::ThirtyTwoBit);
        }
        if ident.get(4..6) != Some(&[elf::ELFCLASS64, elf::ELFDATA2LSB]) {
            return Err(malformed("the class or byte order does not exist"));
        }
        let bytes = source.required(0, HEADER_BYTES, "the file header is cut off")?;
        let (header, _) = pod::from_bytes::<elf::FileHeader64<LittleEndian>>(&bytes)
            .map_err(|()| malformed("the file header is cut off"))?;
        let machine = header.e_machine.get(LittleEndian);
        if machine != elf::EM_X86_64 {
            return Err(ElfError::OtherMachine { machine });
        }

        let section_headers = read_section_headers(source, header)?;
        let mut headers = Self {
            is_position_independent: header.e_type.get(LittleEndian) == elf::ET_DYN,
            entry_svma: header.e_entry.get(LittleEndian),
            segments: Vec::new(),
            interpreter: None,
            dynamic: None,
            tls: None,
            notes: Vec::new(),
            sections: Vec::new(),
            tables: Vec::new(),
        };
        headers.add_segments(source, header, &section_headers)?;
        headers.add_sections(source, header, &section_headers);
        Ok(headers)
    }

    fn add_segments(
        &mut self,
        source: &Source,
        header: &elf::FileHeader64<LittleEndian>,
        sections: &[elf::SectionHeader64<LittleEndian>],
    ) -> Result<(), ElfError> {
        let mut count = u64::from(header.e_phnum.get(LittleEndian));
        if count == u64::from(elf::PN_XNUM) {
            let first = sections
                .first()
                .ok_or(malformed("the program headers are not counted"))?;
            count = u64::from(first.sh_info.get(LittleEndian));
        }
        if count == 0 {
            return Ok(());
        }
        if count > PROGRAM_HEADERS {
            return Err(malformed("more program headers than any file has"));
        }
        if u64::from(header.e_phentsize.get(LittleEndian)) != PROGRAM_HEADER_BYTES {
            return Err(malformed("the program headers have the wrong size"));
        }
        let cut_off = "the program headers are cut off";
        let bytes = source.required(
            header.e_phoff.get(LittleEndian),
            count * PROGRAM_HEADER_BYTES,
            cut_off,
        )?;
        let program_headers = pod::slice_from_all_bytes::<elf::ProgramHeader64<LittleEndian>>(&bytes)
            .map_err(|()| malformed(cut_off))?;
        for program_header in program_headers {
            self.add_segment(program_header);
        }
        Ok(())
    }

    fn add_segment(&mut self, header: &elf::ProgramHeader64<LittleEndian>) {
        let svma = header.p_vaddr.get(LittleEndian);
        let memory_size = header.p_memsz.get(LittleEndian);
        let file_offset = header.p_offset.get(LittleEndian);
        let size = header.p_filesz.get(LittleEndian);
        let alignment = header.p_align.get(LittleEndian);
        match header.p_type.get(LittleEndian) {
            elf::PT_LOAD => self.segments.push(Segment {
                svma,
                memory_size,
                file_offset,
                file_size: size,
                executable: header.p_flags.get(LittleEndian) & elf::PF_X != 0,
            }),
            elf::PT_INTERP => self.interpreter = Some((file_offset, size)),
            elf::PT_DYNAMIC => {
                self.dynamic = Some(DynamicRange {
                    svma,
                    file_offset,
                    size,
                });
            }
            elf::PT_TLS => {
                self.tls = Some(TlsSegment {
                    svma,
                    memory_size,
                    alignment,
                });
            }
            elf::PT_NOTE if self.notes.len() < NOTES && size <= NOTE_BYTES => self.notes.push(NoteRange {
                file_offset,
                size,
                alignment,
            }),
            _ => {}
        }
    }

    /// Section headers serve no program at run time, so a file without usable ones is still a good file.
    fn add_sections(
        &mut self,
        source: &Source,
        header: &elf::FileHeader64<LittleEndian>,
        sections: &[elf::SectionHeader64<LittleEndian>],
    ) {
        let mut names_index = u32::from(header.e_shstrndx.get(LittleEndian));
        if names_index == u32::from(elf::SHN_XINDEX) {
            names_index = sections
                .first()
                .map_or(0, |first| first.sh_link.get(LittleEndian));
        }
        let names = usize::try_from(names_index)
            .ok()
            .and_then(|index| sections.get(index))
            .and_then(|names| {
                let size = names.sh_size.get(LittleEndian);
                source.bytes(names.sh_offset.get(LittleEndian), size.min(SECTION_NAMES_BYTES))
            })
            .unwrap_or_default();
        for section in sections {
            let kind = section.sh_type.get(LittleEndian);
            let file_offset = section.sh_offset.get(LittleEndian);
            let size = section.sh_size.get(LittleEndian);
            self.tables.push(TableSection {
                kind,
                file_offset,
                size,
                link: section.sh_link.get(LittleEndian),
            });
            let name = usize::try_from(section.sh_name.get(LittleEndian))
                .ok()
                .and_then(|start| names.get(start..))
                .and_then(|rest| {
                    rest.iter()
                        .take(SECTION_NAME_BYTES)
                        .position(|&byte| byte == 0)
                        .map(|end| &rest[..end])
                });
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                let described = Section {
                    svma: section.sh_addr.get(LittleEndian),
                    size,
                    file_offset: (kind != elf::SHT_NOBITS).then_some(file_offset),
                };
                self.sections.push((name.to_vec(), described));
            }
        }
    }
}

fn read_section_headers(
    source: &Source,
    header: &elf::FileHeader64<LittleEndian>,
) -> Result<Vec<elf::SectionHeader64<LittleEndian>>, ElfError> {
    let offset = header.e_shoff.get(LittleEndian);
    if offset == 0 {
        return Ok(Vec::new());
    }
    let cut_off = "the section headers are cut off";
    if u64::from(header.e_shentsize.get(LittleEndian)) != SECTION_HEADER_BYTES {
        return Err(malformed("the section headers have the wrong size"));
    }
    let mut count = u64::from(header.e_shnum.get(LittleEndian));
    if count == 0 {
        // More sections than e_shnum can say: the first header's size holds their number (gABI, "ELF Header").
        let bytes = source.required(offset, SECTION_HEADER_BYTES, cut_off)?;
        let (first, _) =
            pod::from_bytes::<elf::SectionHeader64<LittleEndian>>(&bytes).map_err(|()| malformed(cut_off))?;
        count = first.sh_size.get(LittleEndian);
    }
    let size = count
        .checked_mul(SECTION_HEADER_BYTES)
        .ok_or(malformed(cut_off))?
        .min(SECTION_HEADERS * SECTION_HEADER_BYTES);
    let bytes = source.required(offset, size, cut_off)?;
    let headers = pod::slice_from_all_bytes(&bytes).map_err(|()| malformed(cut_off))?;
    Ok(headers.to_vec())
}

fn malformed(what: &'static str) -> ElfError {
    ElfError::Malformed { what }
}
