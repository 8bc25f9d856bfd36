//! The dynamic loader of a process, and what it says to debuggers of the libraries it loads.
//!
//! A loader calls the empty function `_dl_debug_state` whenever its list of libraries begins to change (`r_state`
//! `RT_ADD`, `RT_DELETE`) and when the change is done (`RT_CONSISTENT`): at the start of a program and with each `dlopen`
//! (glibc elf/rtld.c `dl_main`, elf/dl-open.c; musl ldso/dynlink.c, which tells the ends only). When a program starts,
//! its libraries are relocated then and no constructor has run; with a `dlopen` of glibc they are mapped and no more.

use memray_ebpf::memory::RemoteMemory;

use super::{
    elf::ElfFile,
    process::{MappedObject, Process, ProcessError},
};

/// The function that debuggers watch.
pub const STATE_FUNCTION: &str = "_dl_debug_state";

/// musl's pointer to its `struct debug`, which is in its loader alone (ldso/dynlink.c).
const MUSL_DEBUG_ADDRESS: &str = "_dl_debug_addr";

/// Offset of `r_state` in `struct r_debug` (glibc elf/link.h, musl include/link.h).
const R_STATE: u64 = 24;
/// Offset of `r_version`, which is 0 before the structure is filled in.
const R_VERSION: u64 = 0;
const RT_CONSISTENT: u32 = 0;
const RT_ADD: u32 = 1;

/// A dynamic loader in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    pub object: MappedObject,
    /// The loader is the program: `ld.so ./program`. The entry point of the process is its very first instruction then.
    pub is_program: bool,
    /// Address of [`STATE_FUNCTION`] in the process.
    pub state_function_avma: Option<u64>,
    debug_address: Option<DebugAddress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DebugAddress {
    /// glibc: `_r_debug` is the structure.
    Structure(u64),
    /// musl: `_dl_debug_addr` points at it, once relocated.
    Pointer(u64),
}

/// Whether a file with [`STATE_FUNCTION`] can be a loader. Programs that are linked statically to glibc contain parts of
/// one under the same symbols, which never run. A loader is a library too, and glibc's has a library's name; of musl's
/// only Alpine's has.
pub fn is_library(elf: &ElfFile) -> bool {
    elf.soname().is_some() || elf.symbol(MUSL_DEBUG_ADDRESS).is_some()
}

impl Loader {
    /// The loader of a process, also before it has loaded anything. None in a static program, and none in one of
    /// another architecture, about which whoever asked for it is told when it looks at the program.
    pub fn of(process: &Process) -> Result<Option<Self>, ProcessError> {
        let base = process.auxiliary_value(libc::AT_BASE)?.unwrap_or(0);
        let is_program = base == 0;
        let object = if is_program {
            // What it has loaded may lie below it. One of another architecture is no file that we can read.
            process.main_executable().ok()
        } else {
            let mut objects = process.objects()?.into_iter();
            objects.find(|object| object.avma_range.start == base)
        };
        Ok(object.and_then(|object| {
            let elf = ElfFile::open(&object.open_path).ok()?;
            (!is_program || is_library(&elf)).then(|| Self::new(object, &elf, is_program))
        }))
    }

    fn new(object: MappedObject, elf: &ElfFile, is_program: bool) -> Self {
        let avma = |name| Some(elf.symbol(name)?.svma.wrapping_add(object.bias));
        let structure = avma("_r_debug").map(DebugAddress::Structure);
        let debug_address = structure.or_else(|| avma(MUSL_DEBUG_ADDRESS).map(DebugAddress::Pointer));
        Self {
            state_function_avma: avma(STATE_FUNCTION).filter(|_| debug_address.is_some()),
            debug_address,
            is_program,
            object,
        }
    }

    pub fn progress(&self) -> LoadProgress {
        LoadProgress {
            debug_address: self.debug_address,
            has_seen_add: false,
        }
    }
}

/// How far the start of a program has come.
#[derive(Clone, Copy, Debug)]
pub struct LoadProgress {
    debug_address: Option<DebugAddress>,
    has_seen_add: bool,
}

impl LoadProgress {
    /// Whether all is in place: to be asked each time that the process is at [`STATE_FUNCTION`]. glibc's structure is
    /// zero, which is `RT_CONSISTENT`, before the loader uses it, and auditing libraries (`LD_AUDIT`) are loaded then:
    /// `RT_ADD` must have come first.
    pub fn is_loaded(&mut self, memory: &impl RemoteMemory) -> bool {
        let state = self.state(memory);
        self.has_seen_add |=
            state == Some(RT_ADD) || matches!(self.debug_address, Some(DebugAddress::Pointer(_)));
        self.has_seen_add && state == Some(RT_CONSISTENT)
    }

    /// The same, to be asked at any time. glibc fills in the structure and says `RT_ADD` in one go, so that between the two
    /// nobody mostly comes.
    pub fn is_loaded_by_now(&mut self, memory: &impl RemoteMemory) -> bool {
        let is_filled_in = self.word(memory, R_VERSION).is_some_and(|version| version != 0);
        self.has_seen_add |= is_filled_in;
        self.is_loaded(memory)
    }

    /// Whether a list of libraries that is in use has changed to its end. True where that cannot be told.
    pub fn is_consistent(&self, memory: &impl RemoteMemory) -> bool {
        self.state(memory).is_none_or(|state| state == RT_CONSISTENT)
    }

    fn state(&self, memory: &impl RemoteMemory) -> Option<u32> {
        self.word(memory, R_STATE)
    }

    fn word(&self, memory: &impl RemoteMemory, offset: u64) -> Option<u32> {
        let structure = match self.debug_address? {
            DebugAddress::Structure(address) => address,
            DebugAddress::Pointer(address) => memory.read_u64(address).ok()?,
        };
        memory.read_u32(structure.wrapping_add(offset)).ok()
    }
}
