//! Where the threads of one interpreter keep their `PyThreadState`.
//!
//! Two sources. The state bound to the thread is there with and without the GIL: the value of a pthread key up to 3.14,
//! a thread-local variable from 3.15 on; the BPF programs ask it. The attached state (3.12+) is another variable, null
//! while the GIL is released; they ask it only where no bound one is known. From 3.12 on the bound state follows
//! the thread into a sub-interpreter (`tstate_activate`, Python/pystate.c), so that it is never another one than the
//! attached state; before, it is the state of the interpreter that the thread was in first, and the programs ask
//! whether the state that holds the GIL is another one of the same thread.
//!
//! Both come from the code of exported functions ([`accessor`]). The offset of the key in
//! `_PyRuntime` differs between builds from 3.13 on, where no header fixes it; up to 3.12 the tables have it too,
//! and then both must agree.

use std::{cell::LazyCell, ops::Range};

use memray_ebpf::{
    config::{ThreadStateSource, TlsVariable},
    memory::RemoteMemory,
};

use super::{
    accessor::{self, Place},
    offsets,
    pthread::{KeyValues, ThreadLayout},
    version::PyVersion,
};
use crate::target::elf::ElfFile;

/// Returns the bound state in every version.
pub(super) const BOUND: &str = "PyGILState_GetThisThreadState";

/// Why the source is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThreadStateError {
    #[error("the interpreter does not export `{function}`")]
    NoFunction { function: &'static str },
    #[error("the machine code of `{function}` is of an unknown form")]
    UnknownCode { function: &'static str },
    #[error("the pthread key of {version} is at offset {found}, not at {expected}")]
    OtherLayout {
        version: PyVersion,
        expected: u64,
        found: u64,
    },
    #[error("the C library is not known, and so not where it keeps what each thread has of its own")]
    NoThreadLayout,
}

/// The object file that holds the interpreter, as it lies in the process.
#[derive(Clone, Copy, Debug)]
pub struct LoadedFile<'file> {
    pub file: &'file ElfFile,
    /// `AVMA - SVMA`.
    pub bias: u64,
}

impl LoadedFile<'_> {
    /// The address of a symbol in the process.
    pub fn avma(&self, name: &str) -> Option<u64> {
        Some(self.file.symbol(name)?.svma.wrapping_add(self.bias))
    }

    /// The beginning of a function as the file has it, and its address in the process.
    pub fn function(&self, name: &str) -> Option<(Vec<u8>, u64)> {
        let symbol = self.file.symbol(name)?;
        let size = usize::try_from(symbol.size).ok().filter(|&size| size > 0);
        let length = size.unwrap_or(accessor::CODE_BYTES).min(accessor::CODE_BYTES);
        let code = self.file.bytes_up_to(symbol.svma, length)?;
        Some((code.into_owned(), symbol.svma.wrapping_add(self.bias)))
    }
}

/// Finds the sources. `runtime` is where `_PyRuntime` lies; `layout` is asked only where it matters.
///
/// Nothing of Python needs to have run; the file's relocations must be done.
pub fn thread_state_source(
    loaded: LoadedFile<'_>,
    version: PyVersion,
    runtime: &Range<u64>,
    memory: &impl RemoteMemory,
    layout: impl FnOnce() -> Option<ThreadLayout>,
) -> Result<ThreadStateSource, ThreadStateError> {
    let layout = LazyCell::new(layout);
    let place_of = |function: &'static str| {
        let (code, avma) = loaded
            .function(function)
            .ok_or(ThreadStateError::NoFunction { function })?;
        accessor::place(&code, avma, runtime, memory).ok_or(ThreadStateError::UnknownCode { function })
    };
    let reachable = |variable: TlsVariable| {
        let slot_bytes = match variable.mode {
            TlsVariable::DYNAMIC => layout.and_then(|layout| layout.vector_slot_bytes)?,
            _ => 0,
        };
        Some(TlsVariable {
            slot_bytes,
            ..variable
        })
    };

    let mut source = ThreadStateSource {
        tss_slot_offset: ThreadStateSource::UNKNOWN_SLOT,
        ..ThreadStateSource::default()
    };
    // The bound state alone is enough, so a form of this function that is unknown costs time and nothing else.
    if let Some(Ok(Place::Variable(variable))) = attached_function(version).map(place_of) {
        source.attached = reachable(variable).unwrap_or_default();
    }
    if version.minor_version() >= (3, 15) {
        source.bound = match place_of(BOUND)? {
            Place::Variable(variable) => reachable(variable).ok_or(ThreadStateError::NoThreadLayout)?,
            Place::PthreadKey { .. } => return Err(ThreadStateError::UnknownCode { function: BOUND }),
        };
        if source.bound == source.attached {
            return Err(ThreadStateError::UnknownCode { function: BOUND });
        }
    } else {
        source.tss_key_address = key_address(version, runtime, place_of(BOUND))?;
        source.gil_holder_address =
            offsets::gil_holder(version).map_or(0, |offset| runtime.start.wrapping_add(offset));
        match layout.ok_or(ThreadStateError::NoThreadLayout)?.keys {
            KeyValues::Blocks { first_block, blocks } => {
                source.tss_first_block_offset = first_block;
                source.tss_blocks_offset = blocks;
            }
            KeyValues::Array { pointer } => source.tss_array_offset = pointer,
        }
    }
    Ok(source)
}

/// What returns `_Py_tss_tstate` unchanged.
pub(super) fn attached_function(version: PyVersion) -> Option<&'static str> {
    match version.minor_version() {
        (3, 13..) => Some("PyThreadState_GetUnchecked"),
        (3, 12) => Some("_PyThreadState_UncheckedGet"),
        _ => None,
    }
}

/// The address of `autoTSSkey`. Where the code is of an unknown form (another compiler), the table has it up to
/// 3.12; where both are known, a difference means that the tables are not for this build.
fn key_address(
    version: PyVersion,
    runtime: &Range<u64>,
    place: Result<Place, ThreadStateError>,
) -> Result<u64, ThreadStateError> {
    let expected = offsets::tss_key(version);
    match (place, expected) {
        (Ok(Place::PthreadKey { address }), None) => Ok(address),
        (Ok(Place::PthreadKey { address }), Some(expected)) => {
            let found = address.wrapping_sub(runtime.start);
            if found == expected {
                return Ok(address);
            }
            Err(ThreadStateError::OtherLayout {
                version,
                expected,
                found,
            })
        }
        (Ok(Place::Variable(TlsVariable { .. })), _) => {
            Err(ThreadStateError::UnknownCode { function: BOUND })
        }
        (Err(ThreadStateError::UnknownCode { .. }), Some(expected)) => {
            Ok(runtime.start.wrapping_add(expected))
        }
        (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(minor: u8, found: Option<u64>, expect: Result<u64, &str>) {
        let runtime = 0x10_0000..0x20_0000;
        let place = found.map_or(Err(ThreadStateError::UnknownCode { function: BOUND }), |offset| {
            Ok(Place::PthreadKey {
                address: runtime.start + offset,
            })
        });
        let address = key_address(PyVersion::new(3, minor, 1), &runtime, place);
        let offset = address
            .map(|address| address - runtime.start)
            .map_err(|error| error.to_string());
        assert_eq!(offset, expect.map_err(str::to_owned), "3.{minor} {found:?}");
    }

    #[test]
    fn tables_and_code_must_agree() {
        check(11, Some(592), Ok(592));
        check(11, None, Ok(592));
        check(
            12,
            Some(592),
            Err("the pthread key of 3.12.1 is at offset 592, not at 1544"),
        );
        check(13, Some(2168), Ok(2168));
        let unknown = "the machine code of `PyGILState_GetThisThreadState` is of an unknown form";
        check(14, None, Err(unknown));
    }
}
