//! From an instruction of a code object to its line: the three formats of CPython 3.8 to 3.15.
//!
//! Input: the bytes of `co_lnotab` or `co_linetable` as the target held them, which may be damaged. Output:
//! [`LineTable`], which answers for any number of instructions of one code object. Every step consumes bytes of
//! the table, so decoding ends after as many steps as the table has bytes; what cannot be understood ends the
//! table.
//!
//! Offsets are bytes from the first instruction. [`instruction_offset`] makes them from what a frame holds.

mod ranges;
#[cfg(test)]
mod tests;

use ranges::Ranges;

use super::version::PyVersion;

/// How a version writes its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `co_lnotab` (3.8, 3.9; `Objects/lnotab_notes.txt` of 3.9).
    Lnotab,
    /// `co_linetable` of PEP 626 (3.10; `Objects/lnotab_notes.txt` of 3.10).
    Deltas,
    /// `co_linetable` with columns of PEP 657 (3.11+; `Objects/locations.md` of 3.11, later
    /// `InternalDocs/code_objects.md`).
    Locations,
}

impl Format {
    fn of(version: PyVersion) -> Self {
        match version.minor_version() {
            (..=2, _) | (3, ..=9) => Self::Lnotab,
            (3, 10) => Self::Deltas,
            _ => Self::Locations,
        }
    }
}

/// The lines of one code object, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTable {
    /// Where each range ends (exclusive) and its line, in ascending order.
    ranges: Vec<(u32, Option<i32>)>,
    first_line: i32,
}

impl LineTable {
    /// `table` is `co_lnotab` (3.8, 3.9) or `co_linetable`, `first_line` is `co_firstlineno`.
    pub fn decode(version: PyVersion, table: &[u8], first_line: i32) -> Self {
        let mut ranges: Vec<(u32, Option<i32>)> = Vec::new();
        for range in Ranges::new(Format::of(version), table, first_line) {
            match ranges.last_mut() {
                Some((end, line)) if *line == range.line => *end = range.end,
                _ => ranges.push((range.end, range.line)),
            }
        }
        ranges.shrink_to_fit();
        Self { ranges, first_line }
    }

    /// The line that CPython itself gives; `None` where it gives none (instructions that the compiler added, or
    /// an offset outside of the code).
    pub fn line(&self, offset: u32) -> Option<i32> {
        let index = self.ranges.partition_point(|&(end, _)| end <= offset);
        self.ranges.get(index).and_then(|&(_, line)| line)
    }

    /// The line to show for a frame: where there is none, and before the first instruction (`None`), the
    /// first line of the function. 0 if that is no line either.
    pub fn line_to_show(&self, offset: Option<u32>) -> u32 {
        let line = offset
            .and_then(|offset| self.line(offset))
            .unwrap_or(self.first_line);
        u32::try_from(line).unwrap_or(0)
    }
}

/// The same as [`LineTable::line`], for questions that come one by one over a long time: from the table itself, read on
/// from the nearest of its [`marks`].
pub fn line(version: PyVersion, table: &[u8], first_line: i32, marks: &[Mark], offset: u32) -> Option<i32> {
    let passed = marks.partition_point(|mark| mark.end <= offset);
    let format = Format::of(version);
    let mut ranges = match passed.checked_sub(1).and_then(|last| marks.get(last)) {
        Some(mark) => Ranges::resume(format, table, *mark),
        None => Ranges::new(format, table, first_line),
    };
    ranges
        .find(|range| offset < range.end)
        .and_then(|range| range.line)
}

/// A place from which a table can be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of the table before it.
    pub table_bytes: u32,
    /// Where the range before it ends.
    pub end: u32,
    pub line: i32,
}

/// Ranges from one mark to the next. A range is a byte at least, so marks take at most a fifth of their table.
const RANGES_TO_MARK: usize = 64;

/// Marks of a whole table, none for a short one. Without them each question reads the table from its beginning, and a
/// module of a hundred thousand instructions has as many questions.
pub fn marks(version: PyVersion, table: &[u8], first_line: i32) -> Vec<Mark> {
    let mut ranges = Ranges::new(Format::of(version), table, first_line);
    let mut marks = Vec::new();
    while ranges.nth(RANGES_TO_MARK - 1).is_some() {
        marks.extend(ranges.mark(table));
    }
    marks.shrink_to_fit();
    marks
}

/// Where a frame stands in its code, in bytes; `None` if it has not begun or points outside of the code.
///
/// `instruction` is that of a [`RawFrame`](memray_ebpf::event::RawFrame): `f_lasti` up to 3.10 (bytes in 3.8 and
/// 3.9, units of 2 bytes in 3.10), the address in `prev_instr` or `instr_ptr` later. `first_instruction` is the
/// address of `co_code_adaptive`, unused before 3.11. In 3.11 and 3.12 `prev_instr` is the instruction executed
/// last or one of its cache entries, in 3.13+ `instr_ptr` is the current one: all lie in the range of the line.
pub fn instruction_offset(version: PyVersion, first_instruction: u64, instruction: u64) -> Option<u32> {
    let offset = match version.minor_version() {
        (3, 11..) => instruction.checked_sub(first_instruction)?,
        // The kernel sends `f_lasti` as a signed number of 64 bits; -1 is a frame that has not begun.
        (3, 10) => instruction.checked_mul(2)?,
        _ => instruction,
    };
    u32::try_from(offset)
        .ok()
        .filter(|&offset| offset <= i32::MAX.unsigned_abs())
}
