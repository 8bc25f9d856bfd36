//! Allocation ids, and which rows of live allocations a batch adds and removes.
//!
//! Ids are given in the order of events, so the allocations since the last batch are a dense run of them: one
//! that ends inside the window is crossed out by its index, without a search, and never becomes a live row.

use crate::model::AllocationId;

/// In place of the address of what has ended; no allocation is there, since user addresses end far below.
const ENDED: u64 = u64::MAX;

/// What holds the row's other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Blocks,
    Ranges,
}

/// An allocation of the window that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivor {
    pub id: AllocationId,
    pub address: u64,
    /// Index of the process inside `ingest`.
    pub process: usize,
    pub home: Home,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    process: u32,
    home: Home,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    first_id: AllocationId,
    entries: Vec<Entry>,
    removed: Vec<AllocationId>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            first_id: 1,
            entries: Vec::new(),
            removed: Vec::new(),
        }
    }
}

impl Window {
    /// The id of a new row. `process` is an index that fits 32 bits.
    pub fn add(&mut self, process: usize, address: u64, home: Home) -> AllocationId {
        let id = self.first_id + self.entries.len() as u64;
        let process = u32::try_from(process).expect("processes are numbered with 32 bits");
        self.entries.push(Entry {
            address,
            process,
            home,
        });
        id
    }

    /// The row has ended, or has been replaced.
    pub fn end(&mut self, id: AllocationId) {
        match id
            .checked_sub(self.first_id)
            .and_then(|index| usize::try_from(index).ok())
        {
            Some(index) => self.entries[index].address = ENDED,
            None => self.removed.push(id),
        }
    }

    /// The allocations of one process since the last batch that live, in order of id; they are taken out.
    pub fn take_survivors_of(&mut self, process: usize) -> Vec<Survivor> {
        let mut survivors = self.survivors();
        survivors.retain(|survivor| survivor.process == process);
        for survivor in &survivors {
            self.end(survivor.id);
        }
        survivors
    }

    /// Begins a new window: the allocations of the old one that live, in order of id, and the ids of older ones
    /// that have ended, ascending.
    pub fn take(&mut self) -> (Vec<Survivor>, Vec<AllocationId>) {
        let survivors = self.survivors();
        self.first_id += self.entries.len() as u64;
        self.entries.clear();
        let mut removed = std::mem::take(&mut self.removed);
        removed.sort_unstable();
        (survivors, removed)
    }

    fn survivors(&self) -> Vec<Survivor> {
        let alive = (self.first_id..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.address != ENDED);
        alive
            .map(
                |(
                    id,
                    &Entry {
                        address,
                        process,
                        home,
                    },
                )| Survivor {
                    id,
                    address,
                    process: process as usize,
                    home,
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_added_once_and_removed_only_if_it_was_added() {
        let mut window = Window::default();
        let ids: Vec<_> = (0..4)
            .map(|index| window.add(index % 2, 0x10 * index as u64, Home::Blocks))
            .collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        window.end(2);
        assert_eq!(
            window
                .take_survivors_of(0)
                .iter()
                .map(|row| row.id)
                .collect::<Vec<_>>(),
            [1, 3]
        );
        let (survivors, removed) = window.take();
        assert_eq!(
            (survivors.len(), survivors[0].id, survivors[0].address),
            (1, 4, 0x30)
        );
        assert!(removed.is_empty());

        assert_eq!(window.add(0, 0x50, Home::Ranges), 5);
        window.end(4);
        window.end(3);
        let (survivors, removed) = window.take();
        assert_eq!((survivors[0].id, survivors[0].home), (5, Home::Ranges));
        assert_eq!(removed, [3, 4]);
    }
}
