//! Where the characters of a `str` lie.

use crate::{
    config::CodeOffsets,
    memory::{Fault, RemoteMemory},
};

/// The parts of a `PyUnicodeObject` that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringLayout {
    /// Code points.
    pub length: u64,
    /// The `state` bit field as it is.
    pub state: u32,
    pub data_address: u64,
    /// Length times the bytes of one character; saturating.
    pub data_bytes: u64,
}

/// Bits of `PyASCIIObject.state`: interned 0-1, kind 2-4, compact 5, ascii 6 (Include/cpython/unicodeobject.h,
/// unchanged from 3.6 to 3.15 in builds with the GIL).
pub mod state {
    pub const fn kind(state: u32) -> u32 {
        (state >> 2) & 7
    }

    pub const fn is_compact(state: u32) -> bool {
        state >> 5 & 1 != 0
    }

    pub const fn is_ascii(state: u32) -> bool {
        state >> 6 & 1 != 0
    }
}

/// Reads the header of the `str` at `address`. A legacy string (not compact, until 3.11) points at its characters.
#[inline(always)]
pub fn string_layout<M: RemoteMemory>(
    memory: &M,
    address: u64,
    offsets: &CodeOffsets,
) -> Result<StringLayout, Fault> {
    let length = memory.read_u64(address.wrapping_add(u64::from(offsets.string_length)))?;
    let state = memory.read_u32(address.wrapping_add(u64::from(offsets.string_state)))?;
    let data_address = if !state::is_compact(state) {
        memory.read_u64(address.wrapping_add(u64::from(offsets.string_compact_data)))?
    } else if state::is_ascii(state) {
        address.wrapping_add(u64::from(offsets.string_ascii_data))
    } else {
        address.wrapping_add(u64::from(offsets.string_compact_data))
    };
    let kind = u64::from(state::kind(state));
    // No multiplication that could overflow: a hostile length only has to end up large.
    let data_bytes = if length > u64::from(u32::MAX) {
        u64::MAX
    } else {
        length * kind
    };
    Ok(StringLayout {
        length,
        state,
        data_address,
        data_bytes,
    })
}
