//! The code objects of one process: names and line tables as the kernel sends them, frames as the capture names
//! them.
//!
//! A code object is known by its address and its serial until it dies; the frames made from it live on. A frame finds the
//! names of its own serial or none, so that no record of a death or of a successor need have come through. Lines are
//! decoded at the first sight of an instruction and kept with it. What knows CPython's formats is behind [`CodeReader`].

use std::{cell::OnceCell, ops::Range, sync::Arc};

use memray_ebpf::{
    event::{CodeRecord, RawFrame, RawString, ThreadRecord, flags},
    limits::MAX_PYTHON_FRAMES,
};
use rustc_hash::FxHashMap;

use super::{
    bounds::MAX_INSTRUCTIONS_PER_CODE,
    counters::{Counter, Counters},
    decode::LineTable,
    frames::{FrameIndex, FrameText, Frames},
};
use crate::{cpython::linetable::Mark, model::FrameKind};

/// Longest line table that is kept: far above the largest of any real program, and a bound on what a damaged
/// length can ask for.
const MAX_LINE_TABLE_BYTES: u64 = 16 << 20;

/// Bytes that the line tables of one process may take in all: a hundred times those of the standard library. A
/// process that claims more loses line numbers, and not the recording its memory.
const MAX_LINE_TABLES_BYTES: usize = 256 << 20;

/// Put behind a name of which only the beginning could be read.
const CUT_NAME: &str = "…<cut>";
/// In place of a name of which nothing could be read.
const UNREADABLE_NAME: &str = "<unreadable name>";

/// A code object among all that have been at its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CodeId {
    pub address: u64,
    pub serial: u64,
}

/// What `ingest` must know of the CPython inside a process; one for each process. What is read from the process late is
/// told only if the code object certainly lived that long.
pub trait CodeReader: std::fmt::Debug + Send {
    /// The text of a `str` of this code object; what the record does not hold is read from the process, at once.
    fn string(&self, raw: &RawString, code: CodeId) -> DecodedString;
    /// The line of a frame, 0 where the table has none.
    fn line(&self, code: &CodeObject, frame: RawFrame) -> u32;
    /// False for what is in the chain of frames and is not one of the program (shims, entry trampolines).
    fn is_python_frame(&self, frame: RawFrame) -> bool;
    /// The name in `threading.Thread`, if the record leads to one. A record that is not `ThreadSeen` comes late: only
    /// an object that proves to be the thread's own tells its name then.
    fn thread_name(&self, record: &ThreadRecord) -> ThreadName;
    /// The bytes of a line table that the kernel did not send, read from the process; `None` if it cannot be.
    fn line_table_rest(&self, code: &CodeObject, missing: Range<u64>) -> Option<Vec<u8>>;
}

/// What Python calls a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThreadName {
    Known(String),
    /// It is no thread of `threading`, or nothing new can be said of it.
    None,
    /// It may have a name, but the thread had gone on before it could be read.
    Unknown,
}

/// A `str` of the target as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedString {
    pub text: String,
    /// False if only a beginning of it could be read.
    pub complete: bool,
}

/// A code object as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    pub id: CodeId,
    pub file: Arc<str>,
    /// `co_qualname`, or `co_name` before 3.11.
    pub name: Arc<str>,
    pub first_line: i32,
    pub line_table_address: u64,
    /// Length of the whole table.
    pub line_table_bytes: u64,
    /// The table from its beginning, as far as it is known.
    pub line_table: Vec<u8>,
    /// Places in the table from which lines are looked for; made at the first question, when the table is as complete as
    /// it will be.
    pub line_marks: OnceCell<Vec<Mark>>,
}

impl CodeObject {
    /// If not, what the known part does not tell is not known.
    pub fn is_line_table_complete(&self) -> bool {
        self.line_table.len() as u64 == self.line_table_bytes
    }
}

#[derive(Debug)]
struct Entry {
    object: CodeObject,
    /// The thread whose walk sends the line table.
    sender_tid: u32,
    /// No more of the line table will come.
    settled: bool,
    frames: FxHashMap<u64, FrameIndex>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Codes {
    by_address: FxHashMap<u64, Entry>,
    /// By thread.
    passing: FxHashMap<u32, Passing>,
    /// Sum of the line tables kept.
    line_tables_bytes: usize,
}

/// Code objects that the programs do not keep, and therefore will not tell the end of: good for one stack of the thread
/// that has described them. Each sight of a code object has a serial.
#[derive(Debug, Default)]
struct Passing {
    entries: FxHashMap<CodeId, Entry>,
    last: CodeId,
}

/// What naming a frame needs beside the code objects.
#[derive(Debug)]
pub struct Naming<'ingest> {
    pub reader: &'ingest dyn CodeReader,
    pub frames: &'ingest mut Frames,
    pub counters: &'ingest mut Counters,
    /// Index of the process inside `ingest`.
    pub process: usize,
}

impl Codes {
    /// A code object is described. Two threads can do it at one time, in the same words.
    pub fn describe(&mut self, record: &CodeRecord, naming: &mut Naming<'_>) {
        let id = CodeId {
            address: record.code,
            serial: record.serial,
        };
        let is_known = self.by_address.get(&id.address).map(|entry| entry.object.id) == Some(id);
        if is_known {
            return;
        }
        let file = naming.name(&record.file, id);
        let name = naming.name(&record.name, id);
        let object = CodeObject {
            id,
            file,
            name,
            first_line: record.first_line,
            line_table_address: record.line_table_address,
            line_table_bytes: record.line_table_bytes.min(MAX_LINE_TABLE_BYTES),
            line_table: Vec::new(),
            line_marks: OnceCell::new(),
        };
        let settled = object.line_table_bytes == 0;
        let sender_tid = record.header.tid;
        let entry = Entry {
            object,
            sender_tid,
            settled,
            frames: FxHashMap::default(),
        };
        if record.header.flags & flags::NOT_REMEMBERED != 0 {
            self.pass(entry);
            return;
        }
        // Parts of its line table that come now are not of one before.
        if let Some(passing) = self.passing.get_mut(&sender_tid) {
            passing.last = CodeId::default();
        }
        self.forget(record.code);
        self.by_address.insert(record.code, entry);
    }

    /// A part of a line table. Parts come in order; behind a gap they are left to be read from the process.
    pub fn add_line_table(&mut self, part: &LineTable<'_>) {
        let passing = self.passing.get_mut(&part.header.tid);
        let passing = passing.and_then(|passing| passing.entries.get_mut(&passing.last));
        let entry = match passing.filter(|entry| entry.object.id.address == part.code) {
            Some(entry) => Some(entry),
            None => self.by_address.get_mut(&part.code),
        };
        let Some(entry) = entry else {
            return;
        };
        let object = &mut entry.object;
        let known = object.line_table.len();
        if entry.settled || part.offset_bytes as usize != known {
            return;
        }
        let missing = usize::try_from(object.line_table_bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(known);
        let room = missing.min(MAX_LINE_TABLES_BYTES.saturating_sub(self.line_tables_bytes));
        let data = &part.data[..part.data.len().min(room)];
        object.line_table.extend_from_slice(data);
        self.line_tables_bytes += data.len();
        entry.settled = object.is_line_table_complete();
    }

    /// The code object has died; its address can come back as another one.
    pub fn forget(&mut self, code: u64) {
        if let Some(entry) = self.by_address.remove(&code) {
            self.line_tables_bytes -= entry.object.line_table.len();
        }
    }

    /// The stack is finished that this thread has described code objects for: those that the programs do not keep may
    /// die unseen from here on.
    pub fn let_go(&mut self, tid: u32) {
        let passing = self.passing.remove(&tid).unwrap_or_default();
        for entry in passing.entries.values() {
            self.line_tables_bytes -= entry.object.line_table.len();
        }
    }

    /// Function and file of a frame, walked by a thread.
    pub fn names(&self, frame: RawFrame, walker_tid: u32) -> Option<(&str, &str)> {
        let id = id_of(frame);
        let passing = || self.passing.get(&walker_tid)?.entries.get(&id);
        let entry = self
            .by_address
            .get(&id.address)
            .filter(|entry| entry.object.id == id);
        let entry = entry.or_else(passing)?;
        Some((&entry.object.name, &entry.object.file))
    }

    /// Whether another code object than this one is known at its address.
    pub fn has_other(&self, record: &CodeRecord) -> bool {
        self.by_address
            .get(&record.code)
            .is_some_and(|entry| entry.object.id.serial != record.serial)
    }

    /// The frame of an instruction, walked by a thread. Where the code object, or its line table, is still on its
    /// way from another thread, the frame is left to be resolved before the next batch.
    pub fn frame(&mut self, frame: RawFrame, walker_tid: u32, naming: &mut Naming<'_>) -> FrameIndex {
        let id = id_of(frame);
        if let Some(passing) = self.passing.get_mut(&walker_tid)
            && let Some(entry) = passing.entries.get_mut(&id)
        {
            return entry.frame(frame, &mut self.line_tables_bytes, naming);
        }
        let entry = self.by_address.get_mut(&id.address);
        match entry.filter(|entry| entry.object.id == id) {
            Some(entry) if entry.settled || entry.sender_tid == walker_tid => {
                entry.frame(frame, &mut self.line_tables_bytes, naming)
            }
            _ => naming.frames.unresolved(naming.process, frame),
        }
    }

    /// What a frame shows that was left unresolved; `None` if its code object has never been described.
    pub fn resolve(&mut self, frame: RawFrame, naming: &mut Naming<'_>) -> Option<FrameText> {
        let entry = self.by_address.get_mut(&frame.code());
        let entry = entry.filter(|entry| entry.object.id == id_of(frame))?;
        let index = entry.frame(frame, &mut self.line_tables_bytes, naming);
        Some(naming.frames.text(index).clone())
    }

    fn pass(&mut self, entry: Entry) {
        let tid = entry.sender_tid;
        // Of stacks whose ends were lost.
        if self
            .passing
            .get(&tid)
            .is_some_and(|passing| passing.entries.len() >= MAX_PYTHON_FRAMES as usize)
        {
            self.let_go(tid);
        }
        let passing = self.passing.entry(tid).or_default();
        passing.last = entry.object.id;
        if let Some(before) = passing.entries.insert(passing.last, entry) {
            self.line_tables_bytes -= before.object.line_table.len();
        }
    }
}

fn id_of(frame: RawFrame) -> CodeId {
    CodeId {
        address: frame.code(),
        serial: frame.serial,
    }
}

impl Entry {
    fn frame(
        &mut self,
        frame: RawFrame,
        line_tables_bytes: &mut usize,
        naming: &mut Naming<'_>,
    ) -> FrameIndex {
        if let Some(&index) = self.frames.get(&frame.instruction) {
            return index;
        }
        if !self.settled {
            self.settle(line_tables_bytes, naming);
        }
        let text = FrameText {
            function: Arc::clone(&self.object.name),
            file: Arc::clone(&self.object.file),
            line: naming.reader.line(&self.object, frame),
            kind: FrameKind::Python,
        };
        let index = naming.frames.intern(&text);
        if self.frames.len() < MAX_INSTRUCTIONS_PER_CODE {
            self.frames.insert(frame.instruction, index);
        }
        index
    }

    /// No more parts of the line table will come: reads what is missing from the process.
    fn settle(&mut self, line_tables_bytes: &mut usize, naming: &mut Naming<'_>) {
        self.settled = true;
        let missing = self.object.line_table.len() as u64..self.object.line_table_bytes;
        let missing_bytes = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX);
        let fits = line_tables_bytes.saturating_add(missing_bytes) <= MAX_LINE_TABLES_BYTES;
        let rest = if fits {
            naming.reader.line_table_rest(&self.object, missing)
        } else {
            None
        };
        match rest {
            Some(rest) if rest.len() == missing_bytes => {
                self.object.line_table.extend(rest);
                *line_tables_bytes += missing_bytes;
            }
            _ => naming
                .counters
                .add(naming.process, Counter::LineTableIncomplete, 0),
        }
    }
}

impl Naming<'_> {
    fn name(&mut self, raw: &RawString, code: CodeId) -> Arc<str> {
        let DecodedString { mut text, complete } = self.reader.string(raw, code);
        if !complete {
            self.counters.add(self.process, Counter::NameIncomplete, 0);
            if text.is_empty() {
                text.push_str(UNREADABLE_NAME);
            } else {
                text.push_str(CUT_NAME);
            }
        }
        self.frames.string(&text)
    }
}
