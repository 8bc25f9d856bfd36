//! One traced process: what its records do to its heap and to the figures.
//!
//! Each handler gets a record and its time on the capture's clock. Order inside a handler: what the thread held
//! back is settled, what the event ends is ended, then what it makes is counted.

mod pages;

use std::ops::Range;

use memray_ebpf::event::{
    AllocationRecord, FreeRecord, RawFrame, RawString, RecordHeader, ThreadRecord, flags,
};

use super::{
    codes::{CodeId, CodeObject, CodeReader, Codes, DecodedString, ThreadName},
    counters::{Counter, EventKind},
    histogram::Histogram,
    live::{Block, Blocks, STARTUP_SITE, Settled},
    mapped::Mapped,
    maps::PendingUnmaps,
    ranges::{Changes, Owner, Ranges},
    script::ScriptStart,
    shared::Shared,
    sites::{Shrink, SiteKey, Sites, TEMPORARY_THRESHOLD},
    stacks::{KnownStack, Outermost, Stacks},
    threads::ProcessThreads,
    timeline::Timeline,
    totals::Totals,
    window::{Home, Survivor},
};
use crate::model::{Allocator, FreedRow, LiveRow, ProcessRow, SiteId, ThreadId};

/// `allocations_between` of a part of a mapping: as in memray, only what ends as it was made can be temporary, at
/// any threshold. The largest number of SQLite.
pub const NEVER_TEMPORARY: u64 = i64::MAX.cast_unsigned();

/// See the module.
#[derive(Debug)]
pub struct Process {
    pub row: ProcessRow,
    pub row_changed: bool,
    pub reader: Box<dyn CodeReader>,
    pub script: ScriptStart,
    pub started: bool,
    /// Nothing of it is taken in any more.
    pub is_over: bool,
    pub threads: ProcessThreads,
    pub totals: Totals,
    pub timeline: Timeline,
    pub histogram: Histogram,
    pub stacks: Stacks,
    pub codes: Codes,
    index: usize,
    blocks: Blocks,
    ranges: Ranges,
    changes: Changes,
    /// What is mapped beside the heap.
    mapped: Mapped,
    pending_unmaps: PendingUnmaps,
}

/// What ends, or a part of it.
struct End {
    id: u64,
    size_bytes: u64,
    owner: Owner,
    /// Nothing of the allocation is left.
    ended: bool,
    /// It ends as it was made.
    whole: bool,
}

impl Process {
    pub fn new(index: usize, row: ProcessRow, reader: Box<dyn CodeReader>, script: ScriptStart) -> Self {
        let mut totals = Totals::default();
        totals.touch(row.started_ns);
        let has_python = !row.python_version.is_empty();
        Self {
            threads: ProcessThreads::new(index, row.process_id, row.pid, has_python),
            row,
            row_changed: true,
            reader,
            started: script == ScriptStart::Immediately,
            is_over: false,
            script,
            totals,
            timeline: Timeline::default(),
            histogram: Histogram::default(),
            stacks: Stacks::default(),
            codes: Codes::default(),
            index,
            blocks: Blocks::default(),
            ranges: Ranges::default(),
            changes: Changes::default(),
            mapped: Mapped::default(),
            pending_unmaps: PendingUnmaps::default(),
        }
    }

    pub fn allocation(
        &mut self,
        record: &AllocationRecord,
        allocator: Allocator,
        ts: u64,
        shared: &mut Shared,
    ) {
        let AllocationRecord {
            header,
            address,
            size_bytes,
            stack_id,
        } = *record;
        self.settle(header.tid, ts, shared);
        if self.blocks.has_pending()
            && let Some(tid) = self.blocks.pending_tid(address)
        {
            self.settle_free(tid, ts, shared);
        }
        if !shared.reserve(self.index, EventKind::Allocation, size_bytes) {
            if let Some(old) = self.blocks.remove(address) {
                self.end_implicitly(&old, ts, shared);
            }
            return;
        }
        let stack = self.stack(&header, stack_id, shared);
        let thread_id = self.threads.id(header.tid, &mut shared.threads);
        let owner = self.owner(stack, thread_id, allocator, ts, shared);
        let id = self.new_id(owner.site, address, Home::Blocks, shared);
        let block = Block::new(size_bytes, ts, owner.site, id, owner.sequence);
        let true_ts = header.time_ns.saturating_sub(shared.clock_base_ns);
        if let Some(old) = self.blocks.insert(address, block, true_ts.min(ts)) {
            self.end_implicitly(&old, ts, shared);
        }
        shared.threads.allocated(thread_id);
        self.count(owner, allocator, size_bytes, shared);
        if shared.lost_frees.has_ended(header.pid, address, header.time_ns) {
            self.lost_free(address, u64::MAX, ts, shared);
        }
    }

    /// A block whose free was not seen: its address has been handed out again.
    fn end_implicitly(&mut self, old: &Block, ts: u64, shared: &mut Shared) {
        if old.site != STARTUP_SITE {
            shared
                .counters
                .add(self.index, Counter::ImplicitFree, old.size_bytes);
        }
        self.end(&End::of_block(old), ts, shared);
    }

    /// A free without a record has ended what was made at the address before `free_ts`.
    pub fn lost_free(&mut self, address: u64, free_ts: u64, ts: u64, shared: &mut Shared) {
        let Some(block) = self.blocks.remove_older(address, free_ts) else {
            return;
        };
        if block.site != STARTUP_SITE {
            shared
                .counters
                .add(self.index, Counter::EndedWithoutRecord, block.size_bytes);
        }
        // What its thread allocated meanwhile may be missing too: nothing can be said of how short it lived.
        let end = End {
            whole: false,
            ..End::of_block(&block)
        };
        self.end(&end, ts, shared);
    }

    pub fn free(&mut self, record: &FreeRecord, allocator: Allocator, ts: u64, shared: &mut Shared) {
        let FreeRecord { header, address } = *record;
        self.settle(header.tid, ts, shared);
        if matches!(
            allocator,
            Allocator::Realloc | Allocator::Reallocarray | Allocator::PymallocRealloc
        ) {
            self.blocks.begin_free(header.tid, address);
            return;
        }
        match self.blocks.remove(address) {
            Some(block) => self.end(&End::of_block(&block), ts, shared),
            None => shared.counters.add(self.index, Counter::FreeOfUnknown, 0),
        }
    }

    pub fn free_undone(&mut self, record: &FreeRecord, shared: &mut Shared) {
        if !self.blocks.undo_free(record.header.tid, record.address) {
            shared.counters.add(self.index, Counter::UndoneUnknown, 0);
        }
    }

    /// Carries out what the thread held back: it has gone on, so its call did not fail.
    pub fn settle(&mut self, tid: u32, ts: u64, shared: &mut Shared) {
        if self.blocks.has_pending() {
            self.settle_free(tid, ts, shared);
        }
        if !self.pending_unmaps.is_empty()
            && let Some(pending) = self.pending_unmaps.take(tid)
            && !pending.applied
        {
            self.end_range(pending.address, pending.size_bytes, ts, shared);
        }
    }

    /// Carries out what any thread held back: nothing more will come.
    pub fn settle_all(&mut self, ts: u64, shared: &mut Shared) {
        while let Some(tid) = self
            .blocks
            .first_pending_tid()
            .or_else(|| self.pending_unmaps.first_tid())
        {
            self.settle(tid, ts, shared);
        }
    }

    /// Drops the heap and the names; the figures stay.
    pub fn forget_heap(&mut self) {
        self.blocks = Blocks::default();
        self.ranges = Ranges::default();
        self.mapped = Mapped::default();
        self.stacks = Stacks::default();
        self.codes = Codes::default();
        self.reader = Box::new(Ended);
    }

    /// The row of an allocation that lives.
    pub fn live_row(&self, survivor: &Survivor, sites: &Sites) -> Option<LiveRow> {
        let (size, owner, id) = match survivor.home {
            Home::Blocks => {
                let block = self.blocks.get(survivor.address)?;
                (block.size_bytes, End::of_block(block).owner, block.id())
            }
            Home::Ranges => {
                let piece = self.ranges.piece(survivor.address)?;
                (piece.size_bytes, piece.owner, piece.id)
            }
        };
        let SiteKey {
            stack_id,
            thread_id,
            allocator,
        } = sites.key(owner.site);
        (id == survivor.id).then_some(LiveRow {
            allocation_id: id,
            alloc_ts: owner.alloc_ts,
            size,
            stack_id,
            thread_id,
            allocator,
            address: survivor.address,
        })
    }

    fn settle_free(&mut self, tid: u32, ts: u64, shared: &mut Shared) {
        match self.blocks.settle(tid) {
            Some(Settled::Ended(block)) => self.end(&End::of_block(&block), ts, shared),
            Some(Settled::Unknown) => shared.counters.add(self.index, Counter::FreeOfUnknown, 0),
            None => {}
        }
    }

    fn stack(&mut self, header: &RecordHeader, stack_id: u64, shared: &mut Shared) -> KnownStack {
        if header.flags & flags::STACK_LOST != 0 {
            return shared.lost;
        }
        if stack_id == 0 {
            return shared.no_python;
        }
        self.stacks.get(stack_id, header.tid).unwrap_or_else(|| {
            shared.counters.add(self.index, Counter::StackUnknown, 0);
            shared.lost
        })
    }

    /// Whom a new allocation belongs to. The start-up's site until the program's own code has begun.
    fn owner(
        &mut self,
        stack: KnownStack,
        thread_id: ThreadId,
        allocator: Allocator,
        ts: u64,
        shared: &mut Shared,
    ) -> Owner {
        let sequence = shared.threads.next_sequence(thread_id);
        if !self.has_started(stack, ts) {
            return Owner {
                site: STARTUP_SITE,
                alloc_ts: ts,
                sequence,
            };
        }
        let stack_id = shared.tree.publish(stack.node, &mut shared.frames);
        let mut key = SiteKey {
            stack_id,
            thread_id,
            allocator,
        };
        if !shared.sites.has_room_for(key) {
            shared.counters.add(self.index, Counter::SiteTableFull, 0);
            key.stack_id = shared.tree.publish(shared.too_many.node, &mut shared.frames);
        }
        Owner {
            site: shared.sites.id(key, self.totals.epoch()),
            alloc_ts: ts,
            sequence,
        }
    }

    /// Whether the program's own code has begun, if only with an event of this stack.
    fn has_started(&mut self, stack: KnownStack, ts: u64) -> bool {
        if !self.started && self.starts_script(stack.outermost) {
            self.started = true;
            self.row.script_started_ns = Some(ts);
            self.row_changed = true;
        }
        self.started
    }

    /// A code object that is never described counts as the program's: better some of the start-up in the figures
    /// than all of the program out of them because one record was lost.
    fn starts_script(&self, outermost: Outermost) -> bool {
        match outermost {
            Outermost::Script => true,
            Outermost::Elsewhere => false,
            Outermost::Undescribed(index) => self
                .stacks
                .undescribed(index)
                .and_then(|frame| self.codes.names(frame, 0))
                .is_none_or(|(function, file)| self.script.begins_at(function, file)),
        }
    }

    /// The id of a new row; 0 for the start-up's, which has none.
    fn new_id(&self, site: SiteId, address: u64, home: Home, shared: &mut Shared) -> u64 {
        if site == STARTUP_SITE {
            0
        } else {
            shared.window.add(self.index, address, home)
        }
    }

    fn count(&mut self, owner: Owner, allocator: Allocator, size_bytes: u64, shared: &mut Shared) {
        let ts = owner.alloc_ts;
        if owner.site == STARTUP_SITE {
            self.totals.start_up(size_bytes, ts);
            return;
        }
        self.timeline.before_change(ts, self.row.process_id, &self.totals);
        self.totals.grow(size_bytes, ts);
        self.timeline.grown(self.totals.live_bytes);
        self.histogram.add(allocator, size_bytes);
        shared.sites.grow(owner.site, size_bytes, self.totals.epoch());
    }

    fn end(&mut self, end: &End, ts: u64, shared: &mut Shared) {
        let Owner {
            site,
            alloc_ts,
            sequence,
        } = end.owner;
        if site == STARTUP_SITE {
            return;
        }
        self.timeline.before_change(ts, self.row.process_id, &self.totals);
        let count = u64::from(end.ended);
        self.totals.shrink(end.size_bytes, count, ts);
        let SiteKey {
            stack_id,
            thread_id,
            allocator,
        } = shared.sites.key(site);
        let between = if end.whole {
            shared.threads.allocations_since(thread_id, sequence)
        } else {
            NEVER_TEMPORARY
        };
        let temporary = between <= TEMPORARY_THRESHOLD;
        let epoch = self.totals.epoch();
        shared.sites.shrink(
            site,
            Shrink {
                size_bytes: end.size_bytes,
                count,
                temporary,
                epoch,
            },
        );
        shared.window.end(end.id);
        shared.freed.push(FreedRow {
            alloc_ts,
            free_ts: ts,
            size: end.size_bytes,
            stack_id,
            thread_id,
            allocator,
            allocations_between: between,
        });
    }
}

/// Reads nothing: nobody asks about a process that has ended, and what it was read through is let go.
#[derive(Debug)]
struct Ended;

impl CodeReader for Ended {
    fn string(&self, _raw: &RawString, _code: CodeId) -> DecodedString {
        DecodedString {
            text: String::new(),
            complete: false,
        }
    }

    fn line(&self, _code: &CodeObject, _frame: RawFrame) -> u32 {
        0
    }

    fn is_python_frame(&self, _frame: RawFrame) -> bool {
        true
    }

    fn thread_name(&self, _record: &ThreadRecord) -> ThreadName {
        ThreadName::None
    }

    fn line_table_rest(&self, _code: &CodeObject, _missing: Range<u64>) -> Option<Vec<u8>> {
        None
    }
}

impl End {
    fn of_block(block: &Block) -> Self {
        Self {
            id: block.id(),
            size_bytes: block.size_bytes,
            owner: Owner {
                site: block.site,
                alloc_ts: block.alloc_ts,
                sequence: block.sequence(),
            },
            ended: true,
            whole: true,
        }
    }
}
