//! What all processes of a capture share: sites, stacks, threads, the rows of the batch, and the counters.

use super::{
    bounds::IngestBounds,
    codes::{CodeReader, Naming},
    counters::{Counter, Counters, EventKind},
    frames::Frames,
    lost_frees::LostFrees,
    sites::Sites,
    stacks::{KnownStack, lost_stack, no_python_stack, too_many_stack},
    threads::Threads,
    tree::Tree,
    window::Window,
};
use crate::model::{FreedRow, MappingRow};

/// What all processes of a capture share.
#[derive(Debug)]
pub struct Shared {
    pub sites: Sites,
    pub tree: Tree,
    pub frames: Frames,
    pub threads: Threads,
    pub window: Window,
    /// As `window`, of what is mapped beside the heap; what it removes are rows that are written anew.
    pub mapped_window: Window,
    /// Rows of the next batch.
    pub mappings: Vec<MappingRow>,
    pub freed: Vec<FreedRow>,
    pub counters: Counters,
    pub lost_frees: LostFrees,
    /// `CLOCK_MONOTONIC` at time 0 of the capture.
    pub clock_base_ns: u64,
    /// Bytes of all allocations that are counted.
    pub counted_bytes: u64,
    /// The stack of an event outside Python.
    pub no_python: KnownStack,
    /// The stack of an event whose own could not be sent.
    pub lost: KnownStack,
    /// The stack of an event of a site beyond the bound.
    pub too_many: KnownStack,
}

impl Shared {
    pub fn new(clock_base_ns: u64, bounds: IngestBounds) -> Self {
        let mut tree = Tree::new(bounds.stacks);
        let mut frames = Frames::new(bounds.frames(), bounds.name_bytes);
        let no_python = no_python_stack(&mut tree, &mut frames);
        let lost = lost_stack(&mut tree, &mut frames);
        let too_many = too_many_stack(&mut tree, &mut frames);
        Self {
            sites: Sites::new(bounds.sites()),
            tree,
            frames,
            threads: Threads::default(),
            window: Window::default(),
            mapped_window: Window::default(),
            mappings: Vec::new(),
            freed: Vec::new(),
            counters: Counters::default(),
            lost_frees: LostFrees::default(),
            clock_base_ns,
            counted_bytes: 0,
            no_python,
            lost,
            too_many,
        }
    }

    /// Makes room for an allocation in the sums. Integers of SQLite end at 2^63 - 1, and a program needs but a loop of
    /// mappings that it never touches to come there. False, and counted, if there is none.
    pub fn reserve(&mut self, process: usize, kind: EventKind, size_bytes: u64) -> bool {
        let sum = self.counted_bytes.checked_add(size_bytes);
        if let Some(sum) = sum.filter(|sum| i64::try_from(*sum).is_ok()) {
            self.counted_bytes = sum;
            return true;
        }
        self.counters.add(process, Counter::ImpossibleEvent, size_bytes);
        self.counters.refused(kind);
        false
    }

    /// What naming frames needs, and the tree beside it. `process` is the process's index inside `ingest`.
    pub fn naming<'ingest>(
        &'ingest mut self,
        process: usize,
        reader: &'ingest dyn CodeReader,
    ) -> (Naming<'ingest>, &'ingest mut Tree) {
        let Self {
            frames,
            counters,
            tree,
            ..
        } = self;
        (
            Naming {
                reader,
                frames,
                counters,
                process,
            },
            tree,
        )
    }
}
