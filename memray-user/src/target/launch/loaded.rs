//! The point where a program's libraries are in place and none of their code has run.
//!
//! The dynamic loader tells debuggers ([`Loader`](crate::target::loader::Loader)). A debug register waits there, so that
//! nothing is written to the program.

use super::{
    LaunchError,
    ptrace::{self, CONTROL_REGISTER, STATUS_REGISTER},
};
use crate::target::{
    loader::{LoadProgress, Loader},
    process::Process,
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
    /// None if only the entry point is known.
    progress: Option<LoadProgress>,
}

impl Breakpoints {
    /// Sets the debug registers of a process that has stopped at exec. None for a static program: it is there already.
    pub(super) fn set(pid: i32) -> Result<Option<Self>, LaunchError> {
        let process = Process::open(pid.unsigned_abs())?;
        let Some(loader) = Loader::of(&process)? else {
            return Ok(None);
        };
        let entry = if loader.is_program {
            None
        } else {
            process.auxiliary_value(libc::AT_ENTRY)?
        };
        let mut control = 0;
        if let Some(address) = loader.state_function_avma {
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
            progress: loader.state_function_avma.map(|_| loader.progress()),
        }))
    }

    /// Which loaded point a stop by a debug register is, if it is one.
    pub(super) fn reached(&mut self, pid: i32) -> Result<Option<LoadedPoint>, LaunchError> {
        let status = ptrace::read_debug_register(pid, STATUS_REGISTER)?;
        ptrace::write_debug_register(pid, STATUS_REGISTER, 0)?;
        let is_loaded = |progress: &mut LoadProgress| progress.is_loaded(&self.process);
        if status & AT_STATE != 0 && self.progress.as_mut().is_some_and(is_loaded) {
            return Ok(Some(LoadedPoint::Relocated));
        }
        Ok((status & AT_ENTRY != 0).then_some(LoadedPoint::EntryPoint))
    }
}

/// Switches the debug registers off; the process runs on as one that never had any.
pub(super) fn clear(pid: i32) -> Result<(), LaunchError> {
    for register in [CONTROL_REGISTER, 0, 1, STATUS_REGISTER] {
        ptrace::write_debug_register(pid, register, 0)?;
    }
    Ok(())
}
