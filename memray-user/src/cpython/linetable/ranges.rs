//! The three formats, each as a sequence of ranges of instructions with one line.

use super::{Format, Mark};

/// Instructions from the end of the range before to `end` (exclusive), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub end: u32,
    pub line: Option<i32>,
}

/// Reads a table from its beginning. Lines and offsets wrap instead of overflowing; a table that makes them do
/// so is damaged anyhow.
pub(super) struct Ranges<'table> {
    format: Format,
    rest: &'table [u8],
    /// End of the last range that was given.
    end: u32,
    line: i32,
    finished: bool,
}

impl<'table> Ranges<'table> {
    pub(super) fn new(format: Format, table: &'table [u8], first_line: i32) -> Self {
        Self {
            format,
            rest: table,
            end: 0,
            line: first_line,
            finished: false,
        }
    }

    /// Goes on where a mark of the same table was made.
    pub(super) fn resume(format: Format, table: &'table [u8], mark: Mark) -> Self {
        Self {
            format,
            rest: table.get(mark.table_bytes as usize..).unwrap_or_default(),
            end: mark.end,
            line: mark.line,
            finished: false,
        }
    }

    /// A mark of the place that has been reached; `None` at the end.
    pub(super) fn mark(&self, table: &[u8]) -> Option<Mark> {
        let table_bytes = u32::try_from(table.len().checked_sub(self.rest.len())?).ok()?;
        (!self.finished).then_some(Mark {
            table_bytes,
            end: self.end,
            line: self.line,
        })
    }

    /// `PyCode_Addr2Line` of 3.9 (Objects/codeobject.c): an entry says where the line changes, so its range is
    /// the one before it, and the last line has no end.
    fn next_lnotab(&mut self) -> Range {
        while let [address_delta, line_delta, rest @ ..] = self.rest {
            self.rest = rest;
            let line = self.line;
            let end = self.end.saturating_add(u32::from(*address_delta));
            self.line = self.line.wrapping_add(i32::from(line_delta.cast_signed()));
            // Of several entries for one address only the sum is a line.
            if end > self.end {
                return Range {
                    end,
                    line: Some(line),
                };
            }
        }
        self.finished = true;
        Range {
            end: u32::MAX,
            line: Some(self.line),
        }
    }

    fn next_deltas(&mut self) -> Option<Range> {
        let [address_delta, line_delta, rest @ ..] = self.rest else {
            return None;
        };
        self.rest = rest;
        let line_delta = line_delta.cast_signed();
        let line = (line_delta != i8::MIN).then(|| {
            self.line = self.line.wrapping_add(i32::from(line_delta));
            self.line
        });
        let end = self.end.saturating_add(u32::from(*address_delta));
        Some(Range { end, line })
    }

    fn next_location(&mut self) -> Option<Range> {
        let first = self.byte()?;
        // Every entry begins with a byte whose top bit is set, and no other byte of it has that bit.
        if first & 0x80 == 0 {
            return None;
        }
        let code = (first >> 3) & 15;
        let line_delta = match code {
            0..=9 => {
                self.byte()?;
                0
            }
            10..=12 => {
                self.byte()?;
                self.byte()?;
                i32::from(code) - 10
            }
            13 => self.signed_varint()?,
            14 => {
                let delta = self.signed_varint()?;
                for _ in 0..3 {
                    self.varint()?;
                }
                delta
            }
            _ => 0,
        };
        self.line = self.line.wrapping_add(line_delta);
        let units = u32::from(first & 7) + 1;
        Some(Range {
            end: self.end.saturating_add(units * 2),
            line: (code != 15).then_some(self.line),
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Groups of 6 bits, the lowest first; bit 6 says that more follow.
    fn varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(6) {
            let byte = self.byte()?;
            value |= u32::from(byte & 63).wrapping_shl(shift);
            if byte & 64 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The sign is in the lowest bit.
    fn signed_varint(&mut self) -> Option<i32> {
        let value = self.varint()?;
        let magnitude = (value >> 1).cast_signed();
        Some(if value & 1 == 1 { -magnitude } else { magnitude })
    }
}

impl Iterator for Ranges<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        if self.finished {
            return None;
        }
        let range = match self.format {
            Format::Lnotab => Some(self.next_lnotab()),
            Format::Deltas => self.next_deltas(),
            Format::Locations => self.next_location(),
        };
        match range {
            Some(range) => self.end = range.end,
            None => self.finished = true,
        }
        range
    }
}
