//! What the programs remember of each process, kept here too, so that it can be taken out: of a process that ends, and
//! of any process before the kernel's tables are full.
//!
//! Those tables are keyed by what cannot be enumerated by process. A process adds to them by records that pass through
//! here. Stacks grow stale: whenever a code object dies, those that were known before are not found again. Which they
//! are is not worth knowing. The oldest go, stale or not, and what is still in use is described once more.

use std::collections::VecDeque;

use memray_ebpf::{
    event::{RecordHeader, RecordKind, flags},
    limits::MAX_KNOWN_STACKS,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    bpf::LifeMemory,
    ingest::decode::{Record, decode},
};

/// Stacks that are remembered before the oldest go: three quarters of the table, so that there is room for those that
/// come meanwhile.
const ROOM: usize = MAX_KNOWN_STACKS as usize / 4 * 3;

#[derive(Debug, Default)]
struct Life {
    number: u32,
    codes: FxHashSet<u64>,
    /// Hash and number, oldest first.
    stacks: VecDeque<([u64; 2], u64)>,
}

/// By pid.
#[derive(Debug)]
pub(super) struct Remembered {
    lives: FxHashMap<u32, Life>,
    n_stacks: usize,
    room: usize,
}

/// Stacks of a process that the programs are to forget.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldStacks {
    pub(super) pid: u32,
    pub(super) hashes: Vec<[u64; 2]>,
    pub(super) stack_ids: Vec<u64>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Remembered {
    fn with_room(room: usize) -> Self {
        Self {
            lives: FxHashMap::default(),
            n_stacks: 0,
            room,
        }
    }

    /// A life of a process begins, with the number that the programs have for it.
    pub(super) fn begin(&mut self, pid: u32, number: u32) {
        let life = Life {
            number,
            ..Life::default()
        };
        let before = self.lives.insert(pid, life);
        self.n_stacks -= before.map_or(0, |life| life.stacks.len());
    }

    /// Takes in a record of the ring; most are none of these. Returns what has to go now.
    pub(super) fn note(&mut self, record: &[u8]) -> Option<OldStacks> {
        let kind = record.first().and_then(|&kind| RecordKind::from_raw(kind))?;
        if !matches!(
            kind,
            RecordKind::StackEnd | RecordKind::Code | RecordKind::CodeFreed
        ) {
            return None;
        }
        let record = decode(record).ok()?;
        let RecordHeader { pid, flags: bits, .. } = *record.header();
        let life = self.lives.get_mut(&pid)?;
        match record {
            Record::CodeFreed(freed) => {
                life.codes.remove(&freed.code);
            }
            _ if bits & flags::NOT_REMEMBERED != 0 => {}
            Record::Code(code) => {
                life.codes.insert(code.code);
            }
            Record::StackEnd(end, _) => {
                life.stacks.push_back((end.hash, end.stack_id));
                self.n_stacks += 1;
                if self.n_stacks > self.room {
                    return self.oldest();
                }
            }
            _ => {}
        }
        None
    }

    /// The life is over, with all that is known of it.
    pub(super) fn end(&mut self, pid: u32) -> LifeMemory {
        let Some(life) = self.lives.remove(&pid) else {
            return LifeMemory::default();
        };
        self.n_stacks -= life.stacks.len();
        LifeMemory {
            codes: life.codes.iter().map(|&code| (pid, life.number, code)).collect(),
            hashes: life.stacks.into_iter().map(|(hash, _)| hash).collect(),
        }
    }

    /// The older half of the process that has most.
    fn oldest(&mut self) -> Option<OldStacks> {
        let (&pid, life) = self.lives.iter_mut().max_by_key(|(_, life)| life.stacks.len())?;
        let n_old = life.stacks.len().div_ceil(2);
        self.n_stacks -= n_old;
        let (hashes, stack_ids) = life.stacks.drain(..n_old).unzip();
        Some(OldStacks {
            pid,
            hashes,
            stack_ids,
        })
    }
}

#[cfg(test)]
mod tests {
    use memray_ebpf::event::flags::NOT_REMEMBERED;
    use zerocopy::IntoBytes as _;

    use super::*;

    const CODE_WORDS: usize = size_of::<memray_ebpf::event::CodeRecord>() / 8;

    fn note(remembered: &mut Remembered, words: &[u64]) -> Option<OldStacks> {
        remembered.note(words.as_bytes())
    }

    fn stack_end(pid: u64, bits: u16, number: u64) -> [u64; 7] {
        let first = RecordKind::StackEnd as u64 | u64::from(bits) << 16;
        [first, pid, 0, number, 0, number + 1000, number + 2000]
    }

    fn code(pid: u64, bits: u16, address: u64) -> [u64; CODE_WORDS] {
        let mut words = [0; CODE_WORDS];
        words[..4].copy_from_slice(&[RecordKind::Code as u64 | u64::from(bits) << 16, pid, 0, address]);
        words
    }

    fn hash(number: u64) -> [u64; 2] {
        [number + 1000, number + 2000]
    }

    #[test]
    fn the_older_half_of_whoever_has_most_goes() {
        let mut remembered = Remembered::with_room(5);
        remembered.begin(1, 11);
        remembered.begin(2, 12);
        let mut old = Vec::new();
        for number in 1..=4 {
            old.extend(note(&mut remembered, &stack_end(1, 0, number)));
        }
        old.extend(note(&mut remembered, &stack_end(2, 0, 5)));
        // Not remembered, or of a process that is none of ours.
        old.extend(note(&mut remembered, &stack_end(2, NOT_REMEMBERED, 6)));
        old.extend(note(&mut remembered, &stack_end(3, 0, 6)));
        assert_eq!(old, []);
        let expect = OldStacks {
            pid: 1,
            hashes: vec![hash(1), hash(2)],
            stack_ids: vec![1, 2],
        };
        assert_eq!(note(&mut remembered, &stack_end(2, 0, 7)), Some(expect));
        // There is room again.
        assert_eq!(note(&mut remembered, &stack_end(2, 0, 8)), None);
        assert_eq!(remembered.end(1).hashes, [hash(3), hash(4)]);
        assert_eq!(remembered.n_stacks, 3);
        remembered.begin(2, 13);
        assert_eq!(remembered.n_stacks, 0);
    }

    #[test]
    fn what_ends_takes_what_is_known_of_it_along() {
        let mut remembered = Remembered::with_room(5);
        remembered.begin(1, 11);
        let freed = [RecordKind::CodeFreed as u64, 1, 0, 0x20];
        for words in [
            &code(1, 0, 0x10)[..],
            &code(1, 0, 0x20),
            &code(1, NOT_REMEMBERED, 0x30),
            &code(2, 0, 0x40),
            &freed,
            &stack_end(1, 0, 7),
        ] {
            assert_eq!(note(&mut remembered, words), None);
        }
        let expect = LifeMemory {
            codes: vec![(1, 11, 0x10)],
            hashes: vec![hash(7)],
        };
        assert_eq!(remembered.end(1), expect);
        assert_eq!(remembered.end(1), LifeMemory::default());
    }
}
