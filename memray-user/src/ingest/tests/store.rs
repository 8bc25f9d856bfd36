//! A store of plain maps that takes batches as the real one does and checks what they promise.

use std::collections::BTreeMap;

use crate::model::{
    AllocationId, Allocator, Batch, FrameRow, FreedRow, LiveRow, LossRow, MappingId, MappingKind, MappingRow,
    MappingTotalsRow, ProcessId, ProcessRow, SiteId, SiteRow, SiteTimelineRow, SizeHistogramRow, StackId,
    StackRow, StateRow, ThreadId, ThreadRow, TimelineRow,
};

#[derive(Debug, Default)]
pub(super) struct Store {
    pub processes: BTreeMap<ProcessId, ProcessRow>,
    pub threads: BTreeMap<ThreadId, ThreadRow>,
    pub frames: BTreeMap<u32, FrameRow>,
    pub stacks: BTreeMap<StackId, StackRow>,
    pub sites: BTreeMap<SiteId, SiteRow>,
    pub freed: Vec<FreedRow>,
    pub live: BTreeMap<AllocationId, LiveRow>,
    pub timeline: BTreeMap<(ProcessId, u64), TimelineRow>,
    pub site_timeline: BTreeMap<(u64, SiteId), SiteTimelineRow>,
    pub histogram: BTreeMap<(ProcessId, u64, Allocator), SizeHistogramRow>,
    pub losses: BTreeMap<(Option<ProcessId>, String), LossRow>,
    pub states: BTreeMap<ProcessId, StateRow>,
    pub mappings: BTreeMap<MappingId, MappingRow>,
    pub mapping_totals: BTreeMap<(ProcessId, MappingKind), MappingTotalsRow>,
    pub meta: BTreeMap<String, String>,
}

impl Store {
    pub(super) fn apply(&mut self, batch: Batch) {
        self.processes
            .extend(batch.processes.into_iter().map(|row| (row.process_id, row)));
        self.threads
            .extend(batch.threads.into_iter().map(|row| (row.thread_id, row)));
        for row in batch.frames {
            assert!(self.frames.insert(row.frame_id, row).is_none(), "frames are new");
        }
        for row in batch.stacks {
            assert!(
                self.frames.contains_key(&row.frame_id),
                "a stack's frame comes with it"
            );
            let parent = row.parent_id.map(|id| self.stacks[&id]);
            assert!(row.parent_id.is_none_or(|id| id < row.stack_id));
            assert_eq!(row.depth, parent.map_or(0, |parent| parent.depth) + 1);
            assert!(self.stacks.insert(row.stack_id, row).is_none(), "stacks are new");
        }
        self.sites
            .extend(batch.sites.into_iter().map(|row| (row.site_id, row)));
        for id in batch.live_removed {
            assert!(
                self.live.remove(&id).is_some(),
                "only rows of earlier batches are removed"
            );
        }
        let mut last_id = 0;
        for row in batch.live_added {
            assert!(row.allocation_id > last_id, "live rows ascend");
            last_id = row.allocation_id;
            assert!(self.live.insert(last_id, row).is_none(), "live rows are new");
        }
        assert!(
            batch.freed.is_sorted_by_key(|row| row.free_ts),
            "frees are in order of time"
        );
        self.freed.extend(batch.freed);
        for row in batch.timeline {
            assert!(
                self.timeline.insert((row.process_id, row.ts), row).is_none(),
                "intervals are final"
            );
        }
        for row in batch.site_timeline {
            assert!(
                self.site_timeline.insert((row.ts, row.site_id), row).is_none(),
                "intervals are final"
            );
        }
        let key = |row: &SizeHistogramRow| (row.process_id, row.size_from, row.allocator);
        self.histogram
            .extend(batch.histogram.into_iter().map(|row| (key(&row), row)));
        self.losses.extend(
            batch
                .losses
                .into_iter()
                .map(|row| ((row.process_id, row.reason.clone()), row)),
        );
        self.states
            .extend(batch.states.into_iter().map(|row| (row.process_id, row)));
        let mut last_id = 0;
        for row in batch.mappings {
            assert!(row.mapping_id > last_id, "mappings ascend, each once");
            last_id = row.mapping_id;
            let before = self.mappings.insert(last_id, row);
            assert!(
                before.is_none_or(|before| before.unmapped_ts.is_none() && row.unmapped_ts.is_some()),
                "mappings are new or end"
            );
        }
        self.mapping_totals.extend(
            batch
                .mapping_totals
                .into_iter()
                .map(|row| ((row.process_id, row.kind), row)),
        );
        self.meta.extend(batch.meta);
        self.check();
        self.check_mappings();
    }

    /// What lived at the peak of the site's process: bytes and count.
    pub(super) fn peak_of(&self, site: &SiteRow) -> (u64, u64) {
        let state = self.states[&self.threads[&site.thread_id].process_id];
        if site.peak_epoch == state.peak_epoch {
            (site.peak_bytes, site.peak_count)
        } else {
            (site.live_bytes, site.live_count)
        }
    }

    /// Events of a counter, of all processes.
    pub(super) fn loss(&self, reason: &str) -> u64 {
        self.losses
            .values()
            .filter(|row| row.reason == reason)
            .map(|row| row.events)
            .sum()
    }

    /// What holds after every batch.
    fn check(&self) {
        for (&process_id, state) in &self.states {
            let of_process = |thread_id: ThreadId| self.threads[&thread_id].process_id == process_id;
            let sites: Vec<_> = self
                .sites
                .values()
                .filter(|site| of_process(site.thread_id))
                .collect();
            let sum = |value: fn(&SiteRow) -> u64| -> u64 { sites.iter().map(|site| value(site)).sum() };
            assert_eq!(sum(|site| site.live_bytes), state.live_bytes);
            assert_eq!(sum(|site| site.live_count), state.live_count);
            assert_eq!(sum(|site| site.alloc_bytes), state.alloc_bytes);
            assert_eq!(sum(|site| site.alloc_count), state.alloc_count);
            assert_eq!(state.alloc_count - state.free_count, state.live_count);
            let peaks = sites.iter().map(|site| self.peak_of(site));
            let peak = peaks.fold((0, 0), |sum, peak| (sum.0 + peak.0, sum.1 + peak.1));
            assert_eq!(
                peak,
                (state.peak_bytes, state.peak_count),
                "the peak is the sum over its sites"
            );
            let live = self.live.values().filter(|row| of_process(row.thread_id));
            assert_eq!(live.map(|row| row.size).sum::<u64>(), state.live_bytes);
            let freed = self.freed.iter().filter(|row| of_process(row.thread_id));
            let freed_bytes = freed.map(|row| row.size).sum::<u64>();
            assert_eq!(freed_bytes, state.alloc_bytes - state.live_bytes);
            let histogram = self.histogram.values().filter(|row| row.process_id == process_id);
            let counted = histogram.fold((0, 0), |sum, row| {
                (sum.0 + row.alloc_count, sum.1 + row.alloc_bytes)
            });
            assert_eq!(counted, (state.alloc_count, state.alloc_bytes));
        }
        for site in self.sites.values() {
            assert!(self.stacks.contains_key(&site.stack_id) && self.threads.contains_key(&site.thread_id));
            let temporary = |row: &&FreedRow| {
                (row.stack_id, row.thread_id, row.allocator)
                    == (site.stack_id, site.thread_id, site.allocator)
                    && row.allocations_between <= 1
            };
            let rows = self.freed.iter().filter(temporary);
            let figures = rows.fold((0, 0), |sum, row| (sum.0 + 1, sum.1 + row.size));
            assert_eq!(figures, (site.temp_count, site.temp_bytes), "rows and site agree");
        }
    }

    fn check_mappings(&self) {
        for (&(process_id, kind), totals) in &self.mapping_totals {
            let rows = self.mappings.values();
            let rows = rows.filter(|row| row.process_id == process_id && row.kind == kind);
            let (mut all, mut live) = (0, 0);
            for row in rows {
                assert!(self.threads.contains_key(&row.thread_id) && self.stacks.contains_key(&row.stack_id));
                assert!(row.unmapped_ts.is_none_or(|end| end >= row.mapped_ts));
                all += row.size;
                live += row.unmapped_ts.map_or(row.size, |_| 0);
            }
            assert_eq!((all, live), (totals.map_bytes, totals.live_bytes), "{kind:?}");
            assert!(totals.highest_bytes >= totals.live_bytes.max(totals.heap_peak_bytes));
            assert_eq!(totals.live_count == 0, totals.live_bytes == 0);
        }
    }

    /// What holds after the last batch.
    pub(super) fn check_finished(&self) {
        for (&process_id, state) in &self.states {
            let rows = || self.timeline.values().filter(|row| row.process_id == process_id);
            assert_eq!(rows().map(|row| row.alloc_count).sum::<u64>(), state.alloc_count);
            assert_eq!(rows().map(|row| row.alloc_bytes).sum::<u64>(), state.alloc_bytes);
            assert_eq!(rows().map(|row| row.free_count).sum::<u64>(), state.free_count);
            let free_bytes = state.alloc_bytes - state.live_bytes;
            assert_eq!(rows().map(|row| row.free_bytes).sum::<u64>(), free_bytes);
            assert_eq!(
                rows().map(|row| row.max_bytes).max().unwrap_or(0),
                state.peak_bytes
            );
            if let Some(last) = rows().next_back() {
                assert_eq!(
                    (last.live_bytes, last.live_count),
                    (state.live_bytes, state.live_count)
                );
            }
        }
        for site in self.sites.values() {
            let rows = || {
                self.site_timeline
                    .values()
                    .filter(|row| row.site_id == site.site_id)
            };
            assert_eq!(rows().map(|row| row.alloc_count).sum::<u64>(), site.alloc_count);
            assert_eq!(rows().map(|row| row.alloc_bytes).sum::<u64>(), site.alloc_bytes);
            assert_eq!(
                rows().map(|row| row.free_count).sum::<u64>(),
                site.alloc_count - site.live_count
            );
            assert_eq!(
                rows().map(|row| row.free_bytes).sum::<u64>(),
                site.alloc_bytes - site.live_bytes
            );
        }
    }
}
