//! What a code object says of a frame: file, function and line.
//!
//! Input: the records that the BPF programs send at first sight of a code object, and the target's memory for what
//! they could not hold or read. Output: [`CodeObject`], which needs neither any more. It is one code object's, not
//! one address's: the address comes back after the object has died.

use memray_ebpf::{
    event::{CodeRecord, RawFrame},
    memory::RemoteMemory,
};

use super::{
    detect::Interpreter,
    linetable::{LineTable, instruction_offset},
    strings::{self, DecodedString},
    version::PyVersion,
};

/// Bytes of one line table that are read at most; the standard library's largest has 84 KB (CPython 3.10).
pub const MAX_LINE_TABLE_BYTES: u64 = 4 << 20;

/// A code object, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    pub file: DecodedString,
    /// Qualified from 3.11 on.
    pub name: DecodedString,
    /// Whether all of the line table was read. Without it, instructions behind its end have the first line of the
    /// function.
    pub has_all_lines: bool,
    lines: LineTable,
    version: PyVersion,
    first_instruction: u64,
}

impl CodeObject {
    /// `line_table` is what the records after `record` brought of the line table, from its beginning.
    pub fn new(
        record: &CodeRecord,
        line_table: &[u8],
        interpreter: &Interpreter,
        memory: &impl RemoteMemory,
    ) -> Self {
        let offsets = &interpreter.offsets;
        let completed = complete_line_table(record, line_table, interpreter, memory);
        let table = completed.as_deref().unwrap_or(line_table);
        Self {
            file: strings::decode(&record.file, memory, &offsets.code, || true),
            name: strings::decode(&record.name, memory, &offsets.code, || true),
            has_all_lines: u64::try_from(table.len()) == Ok(record.line_table_bytes),
            lines: LineTable::decode(interpreter.version, table, record.first_line),
            version: interpreter.version,
            first_instruction: interpreter.first_instruction(record.code),
        }
    }

    /// The line to show for a frame of this code object; 0 if there is none.
    pub fn line(&self, frame: &RawFrame) -> u32 {
        let offset = instruction_offset(self.version, self.first_instruction, frame.instruction);
        self.lines.line_to_show(offset)
    }
}

/// The whole table from memory, if the records did not bring it and it still is the one they began.
fn complete_line_table(
    record: &CodeRecord,
    captured: &[u8],
    interpreter: &Interpreter,
    memory: &impl RemoteMemory,
) -> Option<Vec<u8>> {
    let (wanted, address) = (record.line_table_bytes, record.line_table_address);
    if u64::try_from(captured.len()).ok()? >= wanted || wanted > MAX_LINE_TABLE_BYTES {
        return None;
    }
    let offsets = &interpreter.offsets.code;
    let size = memory
        .read_u64(address.wrapping_add(offsets.bytes_size.into()))
        .ok()?;
    if size != wanted {
        return None;
    }
    let mut table = vec![0; usize::try_from(wanted).ok()?];
    memory
        .read_into(address.wrapping_add(offsets.bytes_data.into()), &mut table)
        .ok()?;
    table.starts_with(captured).then_some(table)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use memray_ebpf::{
        config::TargetConfig,
        event::{RawString, RecordHeader, RecordKind},
        limits::NAME_BYTES,
        memory::Fault,
    };

    use super::*;
    use crate::cpython::offsets;

    const CODE: u64 = 0x7f00_1000;
    const TABLE: u64 = 0x7f00_2000;
    /// One unit each of the lines 11, 12 and 13.
    const LINES: [u8; 9] = [0xd8, 0, 0, 0xd8, 0, 0, 0xd8, 0, 0];

    /// A `bytes` at [`TABLE`].
    struct Memory(Vec<u8>);

    impl RemoteMemory for Memory {
        fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
            let start = usize::try_from(address.checked_sub(TABLE).ok_or(Fault)?).map_err(|_error| Fault)?;
            let end = start.checked_add(destination.len()).ok_or(Fault)?;
            destination.copy_from_slice(self.0.get(start..end).ok_or(Fault)?);
            Ok(())
        }
    }

    fn bytes_object(data: &[u8]) -> Memory {
        let mut bytes = vec![0; 32];
        bytes[16..24].copy_from_slice(&(data.len() as u64).to_le_bytes());
        bytes.extend_from_slice(data);
        Memory(bytes)
    }

    fn interpreter() -> Interpreter {
        let version = PyVersion::new(3, 12, 1);
        Interpreter {
            version,
            runtime_avma: 0,
            config: TargetConfig::default(),
            offsets: offsets::of_version(version).unwrap(),
            code_dealloc_avma: None,
            python_allocator: String::new(),
            object_path: PathBuf::new(),
        }
    }

    fn string(text: &str) -> RawString {
        let mut data = [0; NAME_BYTES];
        data[..text.len()].copy_from_slice(text.as_bytes());
        RawString {
            address: 0,
            length: text.len() as u64,
            state: 0x64,
            captured_bytes: u32::try_from(text.len()).unwrap(),
            data,
        }
    }

    fn record() -> CodeRecord {
        CodeRecord {
            header: RecordHeader {
                kind: RecordKind::Code as u8,
                allocator: 0,
                flags: 0,
                tid: 0,
                pid: 0,
                reserved: 0,
                time_ns: 0,
            },
            code: CODE,
            line_table_address: TABLE,
            line_table_bytes: LINES.len() as u64,
            serial: 2,
            first_line: 10,
            reserved: 0,
            file: string("app.py"),
            name: string("Class.method"),
        }
    }

    fn check(captured: &[u8], memory: &Memory, has_all_lines: bool, lines: [u32; 4]) {
        let code = CodeObject::new(&record(), captured, &interpreter(), memory);
        assert_eq!(
            (code.file.text.as_str(), code.name.text.as_str()),
            ("app.py", "Class.method")
        );
        assert_eq!(code.has_all_lines, has_all_lines);
        let found = [0, 2, 4, 6].map(|offset| code.line(&RawFrame::new(CODE, 0, CODE + 192 + offset)));
        assert_eq!(found, lines);
        // A frame that has not begun, and an address outside of the code.
        assert_eq!(code.line(&RawFrame::new(CODE, 0, CODE + 190)), 10);
        assert_eq!(code.line(&RawFrame::new(CODE, 0, 0)), 10);
    }

    #[test]
    fn lines_of_frames() {
        let gone = Memory(Vec::new());
        check(&LINES, &gone, true, [11, 12, 13, 10]);
        check(&LINES[..3], &gone, false, [11, 10, 10, 10]);
        check(&LINES[..3], &bytes_object(&LINES), true, [11, 12, 13, 10]);
        check(&[], &bytes_object(&LINES), true, [11, 12, 13, 10]);
    }

    #[test]
    fn another_table_at_the_address_is_not_taken() {
        check(&LINES[..3], &bytes_object(&[0xd0; 9]), false, [11, 10, 10, 10]);
        check(&LINES[..3], &bytes_object(&LINES[..6]), false, [11, 10, 10, 10]);
    }
}
