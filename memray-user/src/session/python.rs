//! What `ingest` asks about a process, answered by `cpython` from the process's memory.

use std::{ops::Range, sync::Arc};

use memray_ebpf::{
    config::FrameOffsets,
    event::{RawFrame, RawString, RecordKind, ThreadRecord},
    limits::NAME_WAIT_NS,
    memory::RemoteMemory as _,
};

use super::clock::monotonic_ns;
use crate::{
    bpf::LiveCodes,
    cpython::{Evidence, Interpreter, linetable, strings, thread_name},
    ingest::{CodeId, CodeObject, CodeReader, DecodedString, ThreadName},
    target::process::Process,
};

/// Largest part of a line table that is read at once: more than the kernel leaves out of any real one.
const MAX_REST_BYTES: u64 = 16 << 20;

/// A process with the interpreter in it, if there is one.
#[derive(Debug)]
pub(super) struct PythonProcess {
    pub(super) process: Process,
    pub(super) interpreter: Option<Interpreter>,
    /// New threads wait in the kernel until their names have been read.
    pub(super) threads_wait: bool,
    pub(super) live_codes: Arc<LiveCodes>,
    /// The programs' number for this life of the process.
    pub(super) life: u32,
}

impl PythonProcess {
    /// The code object has lived until now, and so has what it refers to: it was entered into the table of those that
    /// live when it was first seen, and its death takes it out before its memory is given back.
    fn is_alive(&self, code: CodeId) -> bool {
        self.live_codes
            .holds(self.process.pid(), self.life, code.address, code.serial)
    }
}

impl CodeReader for PythonProcess {
    fn string(&self, raw: &RawString, code: CodeId) -> DecodedString {
        let Some(interpreter) = &self.interpreter else {
            return DecodedString {
                text: String::new(),
                complete: false,
            };
        };
        let decoded = strings::decode(raw, &self.process, &interpreter.offsets.code, || {
            self.is_alive(code)
        });
        let mut text = decoded.text;
        if !decoded.complete {
            // Said in words by who shows it.
            text.truncate(text.strip_suffix(strings::ELLIPSIS).unwrap_or(&text).len());
        }
        DecodedString {
            text,
            complete: decoded.complete,
        }
    }

    fn line(&self, code: &CodeObject, frame: RawFrame) -> u32 {
        let Some(interpreter) = &self.interpreter else {
            return 0;
        };
        let first_instruction = interpreter.first_instruction(code.id.address);
        let offset = linetable::instruction_offset(interpreter.version, first_instruction, frame.instruction);
        let line = offset
            .and_then(|offset| {
                let (version, table) = (interpreter.version, code.line_table.as_slice());
                let marks = code
                    .line_marks
                    .get_or_init(|| linetable::marks(version, table, code.first_line));
                linetable::line(version, table, code.first_line, marks, offset)
            })
            .unwrap_or_else(|| {
                if code.is_line_table_complete() {
                    code.first_line
                } else {
                    0
                }
            });
        u32::try_from(line).unwrap_or(0)
    }

    fn is_python_frame(&self, frame: RawFrame) -> bool {
        frame.owner() < FrameOffsets::FIRST_SHIM_OWNER
    }

    fn thread_name(&self, record: &ThreadRecord) -> ThreadName {
        let Some(interpreter) = self.interpreter.as_ref().filter(|_| record.bootstrap_self != 0) else {
            return ThreadName::None;
        };
        let name = |evidence| thread_name(&self.process, interpreter, record, evidence);
        let is_new = record.header.kind == RecordKind::ThreadSeen as u8;
        if is_new && self.threads_wait {
            let name = name(Evidence::Held);
            // The wait began after the record's time, so until then the thread has certainly stood still.
            if monotonic_ns() < record.header.time_ns.saturating_add(NAME_WAIT_NS) {
                return name.map_or(ThreadName::None, ThreadName::Known);
            }
        }
        let own_tid = self.process.own_tid(record.header.tid);
        match name(Evidence::NativeId { own_tid }) {
            Some(name) => ThreadName::Known(name),
            // The outermost frame of the main thread is the program's, whatever its first local is.
            None if is_new && record.header.tid != record.header.pid => ThreadName::Unknown,
            None => ThreadName::None,
        }
    }

    fn line_table_rest(&self, code: &CodeObject, missing: Range<u64>) -> Option<Vec<u8>> {
        let interpreter = self.interpreter.as_ref()?;
        let length = missing
            .end
            .checked_sub(missing.start)
            .filter(|length| *length <= MAX_REST_BYTES)?;
        let data = code
            .line_table_address
            .checked_add(interpreter.offsets.code.bytes_data.into())?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.process
            .read_into(data.checked_add(missing.start)?, &mut bytes)
            .ok()?;
        self.is_alive(code.id).then_some(bytes)
    }
}
