//! Defined symbols by name.
//!
//! One name can be there several times: in two versions (`memcpy@GLIBC_2.2.5` beside `memcpy@@GLIBC_2.14`), in both
//! tables, or as static functions of several source files. The best [`Rank`] wins, among equals the first.

use object::{LittleEndian, elf, pod};

use super::{ElfFile, headers::TableSection};

/// Most symbols of one table that are looked at: several times what the largest libraries have. Of a table that claims
/// more, the first; each of them is looked at whenever a name is asked for.
const SYMBOLS: usize = 4_000_000;
const SYMBOL_BYTES: usize = size_of::<elf::Sym64<LittleEndian>>();

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// For [`SymbolKind::Tls`] the offset in the module's block of thread-local variables instead.
    pub svma: u64,
    /// Bytes; 0 where the compiler did not say (assembly).
    pub size: u64,
    pub kind: SymbolKind,
    /// Visible to other files or other objects of the link; false for what C calls `static`.
    pub is_global: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    Function,
    /// `STT_GNU_IFUNC`: a function that returns the function to be called.
    IndirectFunction,
    Object,
    Tls,
    Other,
}

/// How good a definition is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Dynamic,
    DynamicHidden,
    Global,
    GlobalHidden,
    Local,
}

/// The bytes of the tables; empty where the file has none.
#[derive(Debug, Default)]
pub(super) struct SymbolTables {
    dynamic: Table,
    full: Table,
}

#[derive(Debug, Default)]
struct Table {
    symbols: Vec<u8>,
    names: Vec<u8>,
    /// `Elf64_Half` for each symbol; empty where symbols have no versions.
    versions: Vec<u8>,
    is_dynamic: bool,
}

impl SymbolTables {
    pub(super) fn read(file: &ElfFile) -> Self {
        let mut dynamic = Table::from_section(file, elf::SHT_DYNSYM);
        if dynamic.symbols.is_empty() {
            dynamic = Table::from_dynamic(file).unwrap_or_default();
        } else if let Some(versions) = section_of_kind(file, elf::SHT_GNU_VERSYM) {
            dynamic.versions = bytes_of(file, &versions);
        }
        dynamic.is_dynamic = true;
        Self {
            dynamic,
            full: Table::from_section(file, elf::SHT_SYMTAB),
        }
    }

    pub(super) fn find(&self, names: &[&str]) -> Vec<Option<Symbol>> {
        let mut found = vec![None; names.len()];
        self.dynamic.find(names, &mut found);
        if found.iter().any(Option::is_none) {
            self.full.find(names, &mut found);
        }
        found
            .into_iter()
            .map(|best| best.map(|(_, symbol)| symbol))
            .collect()
    }
}

impl Table {
    fn from_section(file: &ElfFile, kind: u32) -> Self {
        let Some(section) = section_of_kind(file, kind) else {
            return Self::default();
        };
        let names = usize::try_from(section.link)
            .ok()
            .and_then(|index| file.headers.tables.get(index));
        let cut = TableSection {
            size: section.size.min(SYMBOLS as u64 * SYMBOL_BYTES as u64),
            ..section
        };
        Self {
            symbols: bytes_of(file, &cut),
            names: names.map(|names| bytes_of(file, names)).unwrap_or_default(),
            ..Self::default()
        }
    }

    fn from_dynamic(file: &ElfFile) -> Option<Self> {
        let count = usize::try_from(file.dynamic.symbol_count(file)?)
            .ok()?
            .min(SYMBOLS);
        let symbols_bytes = count.checked_mul(SYMBOL_BYTES)?;
        let names_bytes = usize::try_from(file.dynamic.strings_size).ok()?;
        let versions = file
            .dynamic
            .versions
            .and_then(|svma| file.bytes_at(svma, count * 2));
        Some(Self {
            symbols: file.bytes_at(file.dynamic.symbols?, symbols_bytes)?.into_owned(),
            names: file.bytes_at(file.dynamic.strings?, names_bytes)?.into_owned(),
            versions: versions.unwrap_or_default().into_owned(),
            is_dynamic: true,
        })
    }

    fn find(&self, names: &[&str], found: &mut [Option<(Rank, Symbol)>]) {
        let count = self.symbols.len() / SYMBOL_BYTES;
        let symbols = pod::slice_from_bytes::<elf::Sym64<LittleEndian>>(&self.symbols, count);
        let symbols = symbols.map_or(&[][..], |(symbols, _)| symbols);
        for (index, symbol) in symbols.iter().enumerate() {
            let section = symbol.st_shndx.get(LittleEndian);
            if section == elf::SHN_UNDEF || section == elf::SHN_COMMON {
                continue;
            }
            let start = usize::try_from(symbol.st_name.get(LittleEndian)).unwrap_or(usize::MAX);
            let Some(text) = self.names.get(start..) else {
                continue;
            };
            for (wanted, best) in names.iter().zip(found.iter_mut()) {
                let Some(name_is_hidden) = self.is_named(text, wanted) else {
                    continue;
                };
                let rank = self.rank(index, symbol, name_is_hidden);
                if best.is_none_or(|(best_rank, _)| rank < best_rank) {
                    *best = Some((rank, describe(symbol)));
                }
            }
        }
    }

    /// Whether the string that begins here is this name, and if so whether in an old version (`name@VERSION` in
    /// `.symtab`; `name@@VERSION` is the default one). Looks no further than the name: strings in a damaged file
    /// can be as long as the file.
    fn is_named(&self, text: &[u8], name: &str) -> Option<bool> {
        match text.strip_prefix(name.as_bytes())? {
            [0, ..] => Some(false),
            [b'@', b'@', ..] if !self.is_dynamic => Some(false),
            [b'@', ..] if !self.is_dynamic => Some(true),
            _ => None,
        }
    }

    fn rank(&self, index: usize, symbol: &elf::Sym64<LittleEndian>, name_is_hidden: bool) -> Rank {
        if self.is_dynamic {
            let version = self.versions.get(index * 2..index * 2 + 2);
            let version = version.map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
            return if version & elf::VERSYM_HIDDEN == 0 {
                Rank::Dynamic
            } else {
                Rank::DynamicHidden
            };
        }
        match (is_global(symbol), name_is_hidden) {
            (true, false) => Rank::Global,
            (true, true) => Rank::GlobalHidden,
            (false, _) => Rank::Local,
        }
    }
}

fn is_global(symbol: &elf::Sym64<LittleEndian>) -> bool {
    symbol.st_bind() != elf::STB_LOCAL
}

fn describe(symbol: &elf::Sym64<LittleEndian>) -> Symbol {
    Symbol {
        svma: symbol.st_value.get(LittleEndian),
        size: symbol.st_size.get(LittleEndian),
        kind: match symbol.st_type() {
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_GNU_IFUNC => SymbolKind::IndirectFunction,
            elf::STT_OBJECT => SymbolKind::Object,
            elf::STT_TLS => SymbolKind::Tls,
            _ => SymbolKind::Other,
        },
        is_global: is_global(symbol),
    }
}

fn section_of_kind(file: &ElfFile, kind: u32) -> Option<TableSection> {
    file.headers
        .tables
        .iter()
        .find(|table| table.kind == kind)
        .copied()
}

fn bytes_of(file: &ElfFile, table: &TableSection) -> Vec<u8> {
    file.source
        .bytes(table.file_offset, table.size)
        .unwrap_or_default()
        .into_owned()
}
