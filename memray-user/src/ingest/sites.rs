//! One entry for each (stack, thread, allocator): totals, what lives, what was temporary, what lived at the peak.
//!
//! A site belongs to the process of its thread; the epochs that it compares are those of that process.

use rustc_hash::FxHashMap;

use crate::model::{Allocator, SiteId, SiteRow, SiteTimelineRow, StackId, ThreadId};

/// Most allocations of the allocating thread that may lie between an allocation and its end, so that it counts
/// as temporary in [`SiteRow::temp_count`].
pub const TEMPORARY_THRESHOLD: u64 = 1;

/// What a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteKey {
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
}

/// The end of an allocation, or of a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrink {
    pub size_bytes: u64,
    /// 0 while a part of the allocation lives on.
    pub count: u64,
    pub temporary: bool,
    /// Epoch of the process, this event taken into account.
    pub epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Site {
    is: SiteKey,
    in_batch: bool,
    in_interval: bool,
    alloc_count: u64,
    alloc_bytes: u64,
    live_count: u64,
    live_bytes: u64,
    temp_count: u64,
    temp_bytes: u64,
    peak_count: u64,
    peak_bytes: u64,
    peak_epoch: u64,
    /// The first four figures at the beginning of the interval of the site timeline.
    before: [u64; 4],
}

/// See the module. Site ids count from 1; 0 is the start-up's and not kept here.
#[derive(Debug)]
pub struct Sites {
    most: usize,
    all: Vec<Site>,
    ids: FxHashMap<SiteKey, SiteId>,
    changed_in_batch: Vec<SiteId>,
    changed_in_interval: Vec<SiteId>,
}

impl Sites {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            all: Vec::new(),
            ids: FxHashMap::default(),
            changed_in_batch: Vec::new(),
            changed_in_interval: Vec::new(),
        }
    }

    /// Whether the site is there or can be added without going beyond the bound.
    pub fn has_room_for(&self, key: SiteKey) -> bool {
        self.all.len() < self.most || self.ids.contains_key(&key)
    }

    pub fn id(&mut self, key: SiteKey, epoch: u64) -> SiteId {
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        self.all.push(Site {
            is: key,
            in_batch: false,
            in_interval: false,
            alloc_count: 0,
            alloc_bytes: 0,
            live_count: 0,
            live_bytes: 0,
            temp_count: 0,
            temp_bytes: 0,
            peak_count: 0,
            peak_bytes: 0,
            peak_epoch: epoch,
            before: [0; 4],
        });
        let id = SiteId::try_from(self.all.len()).expect("2^32 sites do not fit in memory");
        self.ids.insert(key, id);
        id
    }

    pub fn key(&self, id: SiteId) -> SiteKey {
        self.all[id as usize - 1].is
    }

    pub fn grow(&mut self, id: SiteId, size_bytes: u64, epoch: u64) {
        let site = self.touch(id, epoch);
        site.alloc_count += 1;
        site.alloc_bytes = site.alloc_bytes.wrapping_add(size_bytes);
        site.live_count += 1;
        site.live_bytes = site.live_bytes.wrapping_add(size_bytes);
    }

    /// Returns what the site is.
    pub fn shrink(&mut self, id: SiteId, shrink: Shrink) -> SiteKey {
        let site = self.touch(id, shrink.epoch);
        site.live_count -= shrink.count;
        site.live_bytes = site.live_bytes.wrapping_sub(shrink.size_bytes);
        if shrink.temporary {
            site.temp_count += 1;
            site.temp_bytes = site.temp_bytes.wrapping_add(shrink.size_bytes);
        }
        site.is
    }

    /// The sites that have changed since the last call, in order of id.
    pub fn take_rows(&mut self) -> Vec<SiteRow> {
        self.changed_in_batch.sort_unstable();
        let mut rows = Vec::with_capacity(self.changed_in_batch.len());
        for id in self.changed_in_batch.drain(..) {
            let site = &mut self.all[id as usize - 1];
            site.in_batch = false;
            rows.push(SiteRow {
                site_id: id,
                stack_id: site.is.stack_id,
                thread_id: site.is.thread_id,
                allocator: site.is.allocator,
                alloc_count: site.alloc_count,
                alloc_bytes: site.alloc_bytes,
                live_count: site.live_count,
                live_bytes: site.live_bytes,
                temp_count: site.temp_count,
                temp_bytes: site.temp_bytes,
                peak_count: site.peak_count,
                peak_bytes: site.peak_bytes,
                peak_epoch: site.peak_epoch,
            });
        }
        rows
    }

    /// What each site did since the last call, in order of id, as rows of the interval that began at `ts`.
    pub fn take_interval(&mut self, ts: u64, rows: &mut Vec<SiteTimelineRow>) {
        self.changed_in_interval.sort_unstable();
        for id in self.changed_in_interval.drain(..) {
            let site = &mut self.all[id as usize - 1];
            site.in_interval = false;
            let now = [
                site.alloc_count,
                site.alloc_bytes,
                site.live_count,
                site.live_bytes,
            ];
            let before = std::mem::replace(&mut site.before, now);
            let alloc_count = now[0] - before[0];
            let alloc_bytes = now[1].wrapping_sub(before[1]);
            rows.push(SiteTimelineRow {
                ts,
                site_id: id,
                alloc_count,
                alloc_bytes,
                free_count: before[2] + alloc_count - now[2],
                free_bytes: before[3].wrapping_add(alloc_bytes).wrapping_sub(now[3]),
            });
        }
    }

    /// To be called before each change: keeps what lived when the epoch began.
    fn touch(&mut self, id: SiteId, epoch: u64) -> &mut Site {
        let site = &mut self.all[id as usize - 1];
        if site.peak_epoch != epoch {
            site.peak_count = site.live_count;
            site.peak_bytes = site.live_bytes;
            site.peak_epoch = epoch;
        }
        if !site.in_batch {
            site.in_batch = true;
            self.changed_in_batch.push(id);
        }
        if !site.in_interval {
            site.in_interval = true;
            self.changed_in_interval.push(id);
        }
        site
    }
}
