//! The blocks of one process that are alive, by address.
//!
//! `realloc` speaks twice: the old block when the call begins, the new one when it has succeeded, or that it
//! failed. The free is held back until the same thread speaks again, so it takes effect together with the new
//! block, as in memray, which records a free and an allocation once `realloc` has returned. Nothing ever has to be
//! taken back.
//!
//! A free without a record ends a block by time, so of each block the true time is known, also where the capture shows
//! a later one because times in it do not run backwards.

use rustc_hash::FxHashMap;

use crate::model::{AllocationId, SiteId};

/// The site of blocks that the start-up of the interpreter made: they are in no figures.
pub const STARTUP_SITE: SiteId = 0;

/// One live block. With its key 40 bytes in the table; at the table's mean load of two thirds that is about 62
/// bytes for each live block, 94 right after the table has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub size_bytes: u64,
    pub alloc_ts: u64,
    pub site: SiteId,
    id_low: u32,
    sequence_low: u32,
    /// Bits 32 to 47 of the id, then bits 32 to 46 of the sequence, then [`IS_MOVED`].
    high: u32,
}

/// Bit of [`Block::high`]: the block was made before its `alloc_ts`.
const IS_MOVED: u32 = 1 << 31;

const _: () = assert!(size_of::<(u64, Block)>() == 40);

impl Block {
    /// `id` is kept in 48 bits, `sequence` in 47: 1.4e14 allocations.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are taken apart on purpose"
    )]
    pub fn new(size_bytes: u64, alloc_ts: u64, site: SiteId, id: AllocationId, sequence: u64) -> Self {
        let high = (id >> 32 & 0xffff) as u32 | ((sequence >> 32 & 0x7fff) as u32) << 16;
        Self {
            size_bytes,
            alloc_ts,
            site,
            id_low: id as u32,
            sequence_low: sequence as u32,
            high,
        }
    }

    pub fn id(&self) -> AllocationId {
        u64::from(self.id_low) | u64::from(self.high & 0xffff) << 32
    }

    /// Number of the allocation in its thread.
    pub fn sequence(&self) -> u64 {
        u64::from(self.sequence_low) | u64::from(self.high >> 16 & 0x7fff) << 32
    }
}

/// What a held-back free turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Ended(Block),
    /// No block was known at the address, or it has ended otherwise since.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct PendingFree {
    address: u64,
    block: Option<Block>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Blocks {
    by_address: FxHashMap<u64, Block>,
    pending_by_tid: FxHashMap<u32, PendingFree>,
    /// When the blocks were made that have [`IS_MOVED`].
    true_ts: FxHashMap<u64, u64>,
}

impl Blocks {
    pub fn get(&self, address: u64) -> Option<&Block> {
        self.by_address.get(&address)
    }

    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Returns the block that was still alive at the address. `true_ts` is not after the block's `alloc_ts`.
    pub fn insert(&mut self, address: u64, mut block: Block, true_ts: u64) -> Option<Block> {
        let old = self.remove(address);
        if true_ts != block.alloc_ts {
            block.high |= IS_MOVED;
            self.true_ts.insert(address, true_ts);
        }
        self.by_address.insert(address, block);
        old
    }

    pub fn remove(&mut self, address: u64) -> Option<Block> {
        let block = self.by_address.remove(&address)?;
        if block.high & IS_MOVED != 0 {
            self.true_ts.remove(&address);
        }
        Some(block)
    }

    /// Removes the block at the address if it was made before this time.
    pub fn remove_older(&mut self, address: u64, ts: u64) -> Option<Block> {
        let block = self.by_address.get(&address)?;
        let true_ts = if block.high & IS_MOVED == 0 {
            block.alloc_ts
        } else {
            self.true_ts.get(&address).copied().unwrap_or(block.alloc_ts)
        };
        if true_ts < ts { self.remove(address) } else { None }
    }

    pub fn has_pending(&self) -> bool {
        !self.pending_by_tid.is_empty()
    }

    /// Holds back a free of the thread; the one before must have been settled.
    pub fn begin_free(&mut self, tid: u32, address: u64) {
        let block = self.by_address.get(&address).copied();
        self.pending_by_tid.insert(tid, PendingFree { address, block });
    }

    /// The call failed. False if the thread holds back no free of this address.
    pub fn undo_free(&mut self, tid: u32, address: u64) -> bool {
        let held_back = self
            .pending_by_tid
            .get(&tid)
            .is_some_and(|pending| pending.address == address);
        if held_back {
            self.pending_by_tid.remove(&tid);
        }
        held_back
    }

    /// Carries out the free that the thread holds back, if there is one.
    pub fn settle(&mut self, tid: u32) -> Option<Settled> {
        let pending = self.pending_by_tid.remove(&tid)?;
        let unchanged = pending
            .block
            .filter(|block| self.by_address.get(&pending.address) == Some(block));
        Some(match unchanged {
            Some(block) => {
                self.remove(pending.address);
                Settled::Ended(block)
            }
            None => Settled::Unknown,
        })
    }

    /// The thread that holds back a free of what is alive at the address.
    pub fn pending_tid(&self, address: u64) -> Option<u32> {
        let alive = self.by_address.get(&address)?;
        self.pending_by_tid
            .iter()
            .filter(|(_, pending)| pending.address == address && pending.block.as_ref() == Some(alive))
            .map(|(&tid, _)| tid)
            .min()
    }

    pub fn first_pending_tid(&self) -> Option<u32> {
        self.pending_by_tid.keys().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: AllocationId) -> Block {
        Block::new(8, 1, 2, id, 3)
    }

    #[test]
    fn ids_keep_48_bits_and_sequences_47() {
        for (id, sequence) in [
            (0, 0),
            (1, 2),
            (u64::from(u32::MAX), 1 << 32),
            ((1 << 48) - 1, 1 << 46),
            (1 << 47, (1 << 47) - 1),
        ] {
            let block = Block::new(u64::MAX, u64::MAX, u32::MAX, id, sequence);
            assert_eq!((block.id(), block.sequence()), (id, sequence));
        }
    }

    #[test]
    fn a_held_back_free_ends_the_block_it_saw_and_no_other() {
        let mut blocks = Blocks::default();
        blocks.insert(0x10, block(1), 1);
        blocks.begin_free(7, 0x10);
        assert_eq!(blocks.pending_tid(0x10), Some(7));
        assert_eq!(blocks.settle(8), None);
        assert_eq!(blocks.settle(7), Some(Settled::Ended(block(1))));
        assert_eq!(blocks.settle(7), None);

        blocks.insert(0x10, block(2), 1);
        blocks.begin_free(7, 0x10);
        assert_eq!(blocks.insert(0x10, block(3), 1), Some(block(2)));
        assert_eq!(blocks.settle(7), Some(Settled::Unknown));
        assert_eq!(blocks.get(0x10), Some(&block(3)));
    }

    #[test]
    fn what_is_older_than_a_free_goes_by_the_true_time() {
        // Shown and true time of a block, time of a free, whether the free ends the block.
        for (alloc_ts, true_ts, free_ts, expect) in [
            (10, 10, 11, true),
            (10, 10, 10, false),
            (10, 10, 9, false),
            (10, 7, 8, true),
            (10, 7, 7, false),
        ] {
            let mut blocks = Blocks::default();
            // An older block at the address, with another time of its own, is no matter.
            blocks.insert(0x10, Block::new(8, 5, 2, 1, 3), 4);
            blocks.insert(0x10, Block::new(8, alloc_ts, 2, 2, 3), true_ts);
            let found = blocks.remove_older(0x10, free_ts);
            assert_eq!(found.is_some(), expect, "{alloc_ts} {true_ts} {free_ts}");
            assert_eq!(blocks.is_empty(), expect);
            assert_eq!(blocks.true_ts.len(), usize::from(!expect && alloc_ts != true_ts));
        }
    }

    #[test]
    fn a_failed_realloc_changes_nothing() {
        let mut blocks = Blocks::default();
        blocks.insert(0x10, block(1), 1);
        blocks.begin_free(7, 0x10);
        assert!(!blocks.undo_free(7, 0x20));
        assert!(blocks.undo_free(7, 0x10));
        assert!(!blocks.undo_free(7, 0x10));
        assert_eq!((blocks.settle(7), blocks.get(0x10)), (None, Some(&block(1))));
    }
}
