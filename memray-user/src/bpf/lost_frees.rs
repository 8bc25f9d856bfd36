//! Frees that found no room in the ring: the table in which the programs keep their addresses.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::{MapData, MapError};
use memray_ebpf::lost_free::LostFreeKey;

use super::{error::BpfError, programs::LOST_FREES, system::take_entries};

/// Entries that are taken at once.
const CHUNK: usize = 4096;

/// A block of a process that was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostFree {
    pub pid: u32,
    pub address: u64,
    /// `CLOCK_MONOTONIC`: whatever was handed out at the address before has ended.
    pub time_ns: u64,
}

/// The table.
pub struct LostFrees {
    pub(super) table: MapData,
}

impl std::fmt::Debug for LostFrees {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LostFrees").finish_non_exhaustive()
    }
}

impl LostFrees {
    /// Takes out all that are there. What the programs put in meanwhile is taken now or the next time.
    pub fn take(&self) -> Result<Vec<LostFree>, BpfError> {
        let mut found = Vec::new();
        let map = self.table.fd().as_fd().as_raw_fd();
        take_entries::<{ size_of::<LostFreeKey>() }>(map, CHUNK, |key, time_ns| {
            found.push(lost_free(key, time_ns));
        })
        .map_err(|error: io::Error| BpfError::Map {
            map: LOST_FREES,
            source: Box::new(MapError::IoError(error)),
        })?;
        Ok(found)
    }
}

/// As in [`LostFreeKey`].
fn lost_free(key: &[u8; size_of::<LostFreeKey>()], time_ns: u64) -> LostFree {
    let word = |index: usize| [key[index], key[index + 1], key[index + 2], key[index + 3]];
    let (low, high) = (u32::from_ne_bytes(word(8)), u32::from_ne_bytes(word(12)));
    LostFree {
        pid: u32::from_ne_bytes(word(0)),
        address: u64::from(high) << 32 | u64::from(low),
        time_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&7u32.to_ne_bytes());
        key[4..8].copy_from_slice(&8u32.to_ne_bytes());
        key[8..].copy_from_slice(&0x7f12_3456_789a_bcd0_u64.to_ne_bytes());
        let expect = LostFree {
            pid: 7,
            address: 0x7f12_3456_789a_bcd0,
            time_ns: 9,
        };
        assert_eq!(lost_free(&key, 9), expect);
    }
}
