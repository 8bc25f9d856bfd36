//! The point where a program's libraries are in place and none of their code has run.
//!
//! The dynamic loader calls `_dl_debug_state` for debuggers: with `r_state` `RT_ADD` before it maps the libraries, and
//! with `RT_CONSISTENT` when all are mapped and relocated, before the first constructor (glibc 2.36 elf/rtld.c,
//! `dl_main`; musl 1.2 ldso/dynlink.c, `__dls3`, once only). A debug register waits there, so that nothing is
//! written to the program.

use memray_ebpf::memory::RemoteMemory as _;

use super::{
    LaunchError,
    ptrace::{self, CONTROL_REGISTER, STATUS_REGISTER},
};
use crate::target::{
    elf::ElfFile,
    process::{MappedObject, Process},
};

/// A program at its loaded point, stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub pid: u32,
    pub point: LoadedPoint,
    /// How often the process has called exec since it was launched; 1 for the program that was asked for.
    pub exec_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadedPoint {
    /// Libraries are mapped and relocated, no constructor has run.
    Relocated,
    /// The program's first instruction: constructors of its libraries have run. Only with a dynamic loader that does
    /// not talk to debuggers.
    EntryPoint,
    /// No instruction has run. All there is for a static program, which has no loader.
    Exec,
}

/// Offset of `r_state` in `struct r_debug` (glibc elf/link.h, musl include/link.h).
const R_STATE: u64 = 24;
const RT_CONSISTENT: u32 = 0;
const RT_ADD: u32 = 1;

/// Debug registers 0 and 1 as used here: an exact instruction each, in this thread only (bits L0 and L1 of register 7,
/// type and length 0).
const AT_STATE: u64 = 1 << 0;
const AT_ENTRY: u64 = 1 << 1;
const ENABLE_STATE: u64 = 1 << 0;
const ENABLE_ENTRY: u64 = 1 << 2;

/// What the debug registers wait for.
#[derive(Debug)]
pub(super) struct Breakpoints {
    process: Process,
    /// `struct r_debug` in the process; none if only the entry point is known.
    debug_address: Option<DebugAddress>,
    has_seen_add: bool,
}

#[derive(Clone, Copy, Debug)]
enum DebugAddress {
    /// glibc: `_r_debug` is the structure.
    Structure(u64),
    /// musl: `_dl_debug_addr` points at it, once relocated.
    Pointer(u64),
}

impl Breakpoints {
    /// Sets the debug registers of a process that has stopped at exec. None for a static program: it is there already.
    pub(super) fn set(pid: i32) -> Result<Option<Self>, LaunchError> {
        let process = Process::open(pid.unsigned_abs())?;
        let loader = loader(&process)?;
        let state = loader.as_ref().and_then(|(object, elf, _)| {
            let symbol = elf.symbol("_dl_debug_state")?;
            Some(symbol.svma.wrapping_add(object.bias))
        });
        let debug_address = loader.as_ref().and_then(|(object, elf, _)| {
            let avma = |name| Some(elf.symbol(name)?.svma.wrapping_add(object.bias));
            let structure = avma("_r_debug").map(DebugAddress::Structure);
            structure.or_else(|| avma("_dl_debug_addr").map(DebugAddress::Pointer))
        });
        let entry = match &loader {
            Some((.., LoaderRole::Interpreter)) => process.auxiliary_value(libc::AT_ENTRY)?,
            _ => None,
        };
        let state = state.filter(|_| debug_address.is_some());
        let mut control = 0;
        if let Some(address) = state {
            ptrace::write_debug_register(pid, 0, address)?;
            control |= ENABLE_STATE;
        }
        if let Some(address) = entry {
            ptrace::write_debug_register(pid, 1, address)?;
            control |= ENABLE_ENTRY;
        }
        if control == 0 {
            return Ok(None);
        }
        ptrace::write_debug_register(pid, CONTROL_REGISTER, control)?;
        Ok(Some(Self {
            process,
            debug_address,
            has_seen_add: false,
        }))
    }

    /// Which loaded point a stop by a debug register is, if it is one.
    pub(super) fn reached(&mut self, pid: i32) -> Result<Option<LoadedPoint>, LaunchError> {
        let status = ptrace::read_debug_register(pid, STATUS_REGISTER)?;
        ptrace::write_debug_register(pid, STATUS_REGISTER, 0)?;
        if status & AT_STATE != 0 && self.is_consistent() {
            return Ok(Some(LoadedPoint::Relocated));
        }
        Ok((status & AT_ENTRY != 0).then_some(LoadedPoint::EntryPoint))
    }

    /// Whether the loader says that all is in place. glibc's structure is zero, which is `RT_CONSISTENT`, before the
    /// loader uses it, and auditing libraries (`LD_AUDIT`) are loaded then: `RT_ADD` must have come first.
    fn is_consistent(&mut self) -> bool {
        let structure = match self.debug_address {
            Some(DebugAddress::Structure(address)) => Some(address),
            Some(DebugAddress::Pointer(address)) => {
                self.has_seen_add = true;
                self.process.read_u64(address).ok()
            }
            None => None,
        };
        let state = structure.and_then(|address| self.process.read_u32(address.wrapping_add(R_STATE)).ok());
        self.has_seen_add |= state == Some(RT_ADD);
        self.has_seen_add && state == Some(RT_CONSISTENT)
    }
}

/// Switches the debug registers off; the process runs on as one that never had any.
pub(super) fn clear(pid: i32) -> Result<(), LaunchError> {
    for register in [CONTROL_REGISTER, 0, 1, STATUS_REGISTER] {
        ptrace::write_debug_register(pid, register, 0)?;
    }
    Ok(())
}

enum LoaderRole {
    /// Loads the program.
    Interpreter,
    /// Is the program: `ld.so ./program`. Its entry point is the very first instruction and says nothing.
    Program,
}

/// The dynamic loader among the objects of a process that has stopped at exec; none in a static program, and none in
/// one of another architecture, about which whoever asked for it is told when it looks at the program.
fn loader(process: &Process) -> Result<Option<(MappedObject, ElfFile, LoaderRole)>, LaunchError> {
    let base = process.auxiliary_value(libc::AT_BASE)?.unwrap_or(0);
    let mut objects = process.objects()?.into_iter();
    let (object, role) = if base == 0 {
        (objects.next(), LoaderRole::Program)
    } else {
        (
            objects.find(|object| object.avma_range.start == base),
            LoaderRole::Interpreter,
        )
    };
    Ok(object.and_then(|object| {
        let elf = ElfFile::open(&object.open_path).ok()?;
        // A loader is a library too and has a library's name. Static programs contain parts of a loader under the
        // same symbols, which never run.
        let is_loader = matches!(role, LoaderRole::Interpreter) || elf.soname().is_some();
        is_loader.then_some((object, elf, role))
    }))
}
