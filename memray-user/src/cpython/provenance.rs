//! Where what is known of an interpreter came from, for whoever wants to judge it.
//!
//! [`detect`](super::detect()) has decided; nothing here changes what it found. Only the code of the function that
//! returns the thread state is read again, to tell whether it was understood or a table has spoken for it.

use std::path::PathBuf;

use memray_ebpf::{config::TlsVariable, memory::RemoteMemory};

use super::{
    accessor,
    detect::Interpreter,
    offsets,
    thread_state::{BOUND, LoadedFile, attached_function},
};
use crate::target::{
    elf::{ElfFile, Section},
    process::MappedObject,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsSource {
    /// The table of this minor version.
    Table,
    /// What the interpreter says of itself in `_Py_DebugOffsets`.
    DebugOffsets,
}

/// How the state bound to a thread is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundState {
    /// In the value of the pthread key whose number is at this offset in `_PyRuntime`.
    PthreadKey {
        offset: u64,
    },
    Variable(TlsVariable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file with the interpreter, as the process names it.
    pub object_path: PathBuf,
    /// The program has it; else a library.
    pub is_executable: bool,
    /// The file has no `.symtab`.
    pub is_stripped: bool,
    pub offsets: OffsetsSource,
    pub bound: BoundState,
    /// The function that returns the bound state; none if its code was not understood and the table was taken.
    pub bound_function: Option<&'static str>,
    /// The variable with the attached state, and the function that returns it.
    pub attached: Option<(TlsVariable, &'static str)>,
}

/// None if the file has gone from under the process.
pub fn provenance(
    interpreter: &Interpreter,
    objects: &[MappedObject],
    executable: &MappedObject,
    memory: &impl RemoteMemory,
) -> Option<Provenance> {
    let is_of_interpreter = |object: &&MappedObject| {
        object.path == interpreter.object_path && object.avma_range.contains(&interpreter.runtime_avma)
    };
    let object = objects.iter().find(is_of_interpreter)?;
    let file = ElfFile::open(&object.open_path).ok()?;
    let runtime_size = file.symbol("_PyRuntime")?.size;
    let runtime = interpreter.runtime_avma..interpreter.runtime_avma.saturating_add(runtime_size);
    let loaded = LoadedFile {
        file: &file,
        bias: object.bias,
    };
    let source = interpreter.config.thread_state;
    let (code, avma) = loaded.function(BOUND)?;
    let is_understood = accessor::place(&code, avma, &runtime, memory).is_some();
    let attached = (source.attached.mode != TlsVariable::NONE).then_some(source.attached);
    Some(Provenance {
        object_path: object.path.clone(),
        is_executable: (object.device, object.inode) == (executable.device, executable.inode),
        is_stripped: file.section(".symtab").is_none_or(is_empty),
        offsets: match offsets::of_version(interpreter.version) {
            Some(_) => OffsetsSource::Table,
            None => OffsetsSource::DebugOffsets,
        },
        bound: match source.bound.mode {
            TlsVariable::NONE => BoundState::PthreadKey {
                offset: source.tss_key_address.wrapping_sub(runtime.start),
            },
            _ => BoundState::Variable(source.bound),
        },
        bound_function: is_understood.then_some(BOUND),
        attached: attached.zip(attached_function(interpreter.version)),
    })
}

fn is_empty(section: Section) -> bool {
    section.size == 0
}
