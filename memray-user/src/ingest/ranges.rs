//! The mapped ranges of one process, and which mapping each part of them belongs to: those that count as heap, or in a
//! set of their own those beside it.
//!
//! One `mmap` is one mapping, whatever becomes of it: it is one allocation in every count until its last byte is
//! unmapped. What is left of it lies in pieces. A piece is one row of the capture and has an allocation id of its
//! own; when an unmapping touches a piece, its row ends and each rest of it becomes a new piece with a new id and
//! the mapping's own time, site and sequence. So bytes are exact in rows and in totals, while cutting a mapping
//! in two makes two rows and still counts once.
//!
//! Pieces never overlap. Every operation costs O(log n) and O(1) more for each piece that it ends.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::{AllocationId, SiteId};

/// Unmapping takes whole pages (mm/mmap.c `do_vmi_munmap`: the length is page-aligned), also where the mapping
/// was asked for, and is counted, with a length that is no multiple of it.
pub const PAGE_BYTES: u64 = 4096;

/// What the parts of one mapping of the heap have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub site: SiteId,
    pub alloc_ts: u64,
    /// Number of the allocation in its thread.
    pub sequence: u64,
}

/// A part that is no longer mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedPart<O = Owner> {
    /// Id of the row in which it lived, which ends with it.
    pub id: AllocationId,
    pub address: u64,
    pub size_bytes: u64,
    pub owner: O,
    /// No byte of the mapping is left.
    pub mapping_ended: bool,
    /// The part is the mapping as it was made.
    pub whole: bool,
}

/// What an unmapping did; kept and refilled by the caller, so that it costs no allocation.
#[derive(Clone, Debug)]
pub struct Changes<O = Owner> {
    /// In order of address.
    pub ended: Vec<EndedPart<O>>,
    overlapping: Vec<u64>,
}

impl<O> Default for Changes<O> {
    fn default() -> Self {
        Self {
            ended: Vec::new(),
            overlapping: Vec::new(),
        }
    }
}

/// A piece as the capture shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceView<O = Owner> {
    pub address: u64,
    pub size_bytes: u64,
    pub id: AllocationId,
    pub owner: O,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    id: AllocationId,
    mapping: u32,
}

#[derive(Clone, Copy, Debug)]
struct Mapping<O> {
    owner: O,
    mapped_bytes: u64,
    live_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Ranges<O = Owner> {
    /// By first address.
    pieces: BTreeMap<u64, Piece>,
    mappings: Vec<Mapping<O>>,
    unused_mappings: Vec<u32>,
}

impl<O> Default for Ranges<O> {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            mappings: Vec::new(),
            unused_mappings: Vec::new(),
        }
    }
}

impl<O: Copy> Ranges<O> {
    /// Adds a mapping. Nothing of the range may be in the set: [`Ranges::remove`] it first. A mapping without
    /// bytes is not added (the kernel makes none).
    pub fn insert(&mut self, address: u64, size_bytes: u64, id: AllocationId, owner: O) {
        let end = address.saturating_add(size_bytes);
        if end == address {
            return;
        }
        let size_bytes = end - address;
        let mapping = Mapping {
            owner,
            mapped_bytes: size_bytes,
            live_bytes: size_bytes,
        };
        let index = if let Some(index) = self.unused_mappings.pop() {
            self.mappings[index as usize] = mapping;
            index
        } else {
            self.mappings.push(mapping);
            u32::try_from(self.mappings.len() - 1).expect("more than 2^32 mappings do not fit a 47-bit space")
        };
        self.pieces.insert(
            address,
            Piece {
                end,
                id,
                mapping: index,
            },
        );
    }

    /// Ends what is mapped in the pages of the range. `next_id` gives the id of a new piece of an owner that begins at
    /// the address.
    pub fn remove(
        &mut self,
        address: u64,
        size_bytes: u64,
        next_id: impl FnMut(O, u64) -> AllocationId,
        changes: &mut Changes<O>,
    ) {
        self.remove_of(|_| true, address, size_bytes, next_id, changes);
    }

    /// As [`Ranges::remove`], of some owners alone.
    pub fn remove_of(
        &mut self,
        is_wanted: impl Fn(O) -> bool,
        address: u64,
        size_bytes: u64,
        mut next_id: impl FnMut(O, u64) -> AllocationId,
        changes: &mut Changes<O>,
    ) {
        changes.ended.clear();
        let end = page_end(address, size_bytes);
        self.find_overlapping(address, end, &mut changes.overlapping);
        changes
            .overlapping
            .retain(|start| is_wanted(self.mappings[self.pieces[start].mapping as usize].owner));
        for &start in &changes.overlapping {
            let piece = self
                .pieces
                .remove(&start)
                .expect("found above and not removed since");
            let (from, to) = (start.max(address), piece.end.min(end));
            let mapping = &mut self.mappings[piece.mapping as usize];
            let size_bytes = to - from;
            mapping.live_bytes -= size_bytes;
            let owner = mapping.owner;
            changes.ended.push(EndedPart {
                id: piece.id,
                address: from,
                size_bytes,
                owner,
                mapping_ended: mapping.live_bytes == 0,
                whole: size_bytes == mapping.mapped_bytes,
            });
            if mapping.live_bytes == 0 {
                self.unused_mappings.push(piece.mapping);
            }
            for (rest_start, rest_end) in [(start, from), (to, piece.end)] {
                if rest_start < rest_end {
                    let id = next_id(owner, rest_start);
                    self.pieces.insert(
                        rest_start,
                        Piece {
                            end: rest_end,
                            id,
                            ..piece
                        },
                    );
                }
            }
        }
    }

    /// Whose the lowest byte in the pages of the range is, if one is in the set.
    pub fn first_owner(&self, address: u64, size_bytes: u64) -> Option<O> {
        let end = page_end(address, size_bytes);
        let before = self.pieces.range(..address).next_back();
        let piece = match before.filter(|(_, piece)| piece.end > address && end > address) {
            Some((_, piece)) => piece,
            None => self.pieces.range(address..end.max(address)).next()?.1,
        };
        Some(self.mappings[piece.mapping as usize].owner)
    }

    /// The piece that begins at an address.
    pub fn piece(&self, address: u64) -> Option<PieceView<O>> {
        let piece = self.pieces.get(&address)?;
        Some(PieceView {
            address,
            size_bytes: piece.end - address,
            id: piece.id,
            owner: self.mappings[piece.mapping as usize].owner,
        })
    }

    fn find_overlapping(&self, address: u64, end: u64, starts: &mut Vec<u64>) {
        starts.clear();
        if end <= address {
            return;
        }
        if let Some((&start, piece)) = self.pieces.range(..address).next_back()
            && piece.end > address
        {
            starts.push(start);
        }
        starts.extend(self.pieces.range(address..end).map(|(&start, _)| start));
    }
}

/// Whether the pages of two ranges have a byte in common.
pub fn ranges_overlap(left: (u64, u64), right: (u64, u64)) -> bool {
    left.0 < page_end(right.0, right.1) && right.0 < page_end(left.0, left.1)
}

/// The end of a range in whole pages; the range itself if it has no bytes.
fn page_end(address: u64, size_bytes: u64) -> u64 {
    if size_bytes == 0 {
        return address;
    }
    let end = address.saturating_add(size_bytes);
    end.checked_next_multiple_of(PAGE_BYTES).unwrap_or(end)
}
