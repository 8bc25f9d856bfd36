//! `str` objects of the target as text.
//!
//! Input: what the kernel captured of a string ([`RawString`]), or the address of one, and the target's memory
//! for what is missing. Output: text, and whether it is all of it. Names are untrusted: any length, any code
//! point; [`MAX_STRING_BYTES`] bounds what is read. Control characters stay as they are, reports escape them.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use memray_ebpf::{
    config::CodeOffsets,
    event::RawString,
    limits::NAME_BYTES,
    memory::{Fault, RemoteMemory},
};

/// Bytes of one string that are read at most. A path has 4,096 at most (`PATH_MAX`), a qualified name has no bound.
pub const MAX_STRING_BYTES: usize = 64 << 10;

/// Stands at the end of text that was cut.
pub const ELLIPSIS: char = '…';

/// A string of the target as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedString {
    /// Ends with [`ELLIPSIS`] if it is not complete.
    pub text: String,
    pub complete: bool,
}

/// Text of a string that the kernel captured. What the kernel left out is read from `memory`, if the string is
/// still there: its object can have died since. That another of the same length and beginning is not in its place is
/// what `is_alive` has to know, which is asked after the reading.
pub fn decode(
    raw: &RawString,
    memory: &impl RemoteMemory,
    offsets: &CodeOffsets,
    is_alive: impl FnOnce() -> bool,
) -> DecodedString {
    let header = Header {
        length: raw.length,
        state: State(raw.state),
    };
    let captured = usize::try_from(raw.captured_bytes)
        .unwrap_or(NAME_BYTES)
        .min(NAME_BYTES);
    let captured = &raw.data[..captured];
    let Some(kind) = header.state.kind() else {
        return incomplete(String::new());
    };
    let wanted = header.bytes_wanted(kind);
    if wanted.complete && captured.len() >= wanted.bytes {
        return DecodedString {
            text: text_of(&captured[..wanted.bytes], kind),
            complete: true,
        };
    }
    // Taken only if it still is the string that the kernel saw.
    let read = Header::read(memory, raw.address, offsets)
        .ok()
        .filter(|now| *now == header)
        .and_then(|now| now.read_data(memory, raw.address, offsets).ok())
        .filter(|data| data.starts_with(&captured[..captured.len().min(data.len())]))
        .filter(|_| is_alive());
    match read {
        Some(data) if wanted.complete => DecodedString {
            text: text_of(&data, kind),
            complete: true,
        },
        Some(data) => incomplete(text_of(&data, kind)),
        None => incomplete(text_of(&captured[..captured.len().min(wanted.bytes)], kind)),
    }
}

/// Text of the string at `address`. The caller has checked that the object is a `str`.
pub fn read(memory: &impl RemoteMemory, address: u64, offsets: &CodeOffsets) -> Result<DecodedString, Fault> {
    let header = Header::read(memory, address, offsets)?;
    let kind = header.state.kind().ok_or(Fault)?;
    let text = text_of(&header.read_data(memory, address, offsets)?, kind);
    Ok(if header.bytes_wanted(kind).complete {
        DecodedString { text, complete: true }
    } else {
        incomplete(text)
    })
}

/// Whether the string at `address` is `text`, which is ASCII; reads no more than it must.
pub fn equals(memory: &impl RemoteMemory, address: u64, text: &str, offsets: &CodeOffsets) -> bool {
    let Ok(header) = Header::read(memory, address, offsets) else {
        return false;
    };
    header.state.kind() == Some(Kind::One)
        && usize::try_from(header.length).is_ok_and(|length| length == text.len())
        && header
            .read_data(memory, address, offsets)
            .is_ok_and(|data| data == text.as_bytes())
}

fn incomplete(mut text: String) -> DecodedString {
    text.push(ELLIPSIS);
    DecodedString {
        text,
        complete: false,
    }
}

/// `PyASCIIObject.state` (Include/cpython/unicodeobject.h, 3.8 to 3.15): `interned` in bits 0 and 1, `kind` in 2
/// to 4, `compact` in 5, `ascii` in 6. Builds without the GIL make `interned` wider; they are not supported yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u32);

impl State {
    fn kind(self) -> Option<Kind> {
        match (self.0 >> 2) & 7 {
            1 => Some(Kind::One),
            2 => Some(Kind::Two),
            4 => Some(Kind::Four),
            // 0 is a string of 3.11 or older that was never made ready (`PyUnicode_WCHAR_KIND`).
            _ => None,
        }
    }

    const fn is_compact(self) -> bool {
        self.0 & (1 << 5) != 0
    }

    const fn is_ascii(self) -> bool {
        self.0 & (1 << 6) != 0
    }
}

/// Bytes of one code point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One = 1,
    Two = 2,
    Four = 4,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    /// In code points.
    length: u64,
    state: State,
}

/// `interned` changes in the life of a string.
impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.state.0 & 0x7c == other.state.0 & 0x7c
    }
}

struct Wanted {
    bytes: usize,
    /// Whether these bytes are the whole string.
    complete: bool,
}

impl Header {
    fn read(memory: &impl RemoteMemory, address: u64, offsets: &CodeOffsets) -> Result<Self, Fault> {
        Ok(Self {
            length: memory.read_u64(address.wrapping_add(offsets.string_length.into()))?,
            state: State(memory.read_u32(address.wrapping_add(offsets.string_state.into()))?),
        })
    }

    fn bytes_wanted(self, kind: Kind) -> Wanted {
        let all = usize::try_from(self.length)
            .ok()
            .and_then(|length| length.checked_mul(kind as usize))
            .filter(|&bytes| bytes <= MAX_STRING_BYTES);
        Wanted {
            bytes: all.unwrap_or(MAX_STRING_BYTES),
            complete: all.is_some(),
        }
    }

    fn read_data(
        self,
        memory: &impl RemoteMemory,
        address: u64,
        offsets: &CodeOffsets,
    ) -> Result<Vec<u8>, Fault> {
        let kind = self.state.kind().ok_or(Fault)?;
        let compact_data = address.wrapping_add(offsets.string_compact_data.into());
        let data = match (self.state.is_compact(), self.state.is_ascii()) {
            (true, true) => address.wrapping_add(offsets.string_ascii_data.into()),
            (true, false) => compact_data,
            // An instance of a subclass, or up to 3.11 a string that C code filled: a pointer to the characters.
            (false, _) => memory.read_u64(compact_data)?,
        };
        let mut bytes = vec![0; self.bytes_wanted(kind).bytes];
        memory.read_into(data, &mut bytes)?;
        Ok(bytes)
    }
}

fn text_of(data: &[u8], kind: Kind) -> String {
    let code_points = data.chunks_exact(kind as usize).map(|chunk| {
        chunk
            .iter()
            .rev()
            .fold(0_u32, |value, &byte| (value << 8) | u32::from(byte))
    });
    let mut text = String::with_capacity(data.len() / kind as usize);
    for code_point in code_points {
        match char::from_u32(code_point) {
            Some(character) => text.push(character),
            // As `backslashreplace` writes it: file names hold bytes that are no text as single surrogates.
            None if code_point <= 0xffff => {
                write!(text, "\\u{code_point:04x}").expect("a String takes all text");
            }
            None => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
    text
}
