//! What could not be written yet: it is kept and goes with what comes after it.
//!
//! A batch holds only what has changed, so one that is left out makes all after it wrong: a site would keep an old
//! total, and a stack would name a parent that the file does not have. Input are batches in order, output is one batch
//! that says what all of them said. Its size is bounded by what `ingest` knows, and by [`ROWS_MOST`].

use std::hash::Hash;

use rustc_hash::FxHashSet;

use crate::model::Batch;

/// Rows of single allocations and of timelines that wait at most, some 100 bytes each.
const ROWS_MOST: usize = 500_000;

/// Puts a batch behind an older one that was not written.
pub(super) fn join(older: Batch, newer: Batch) -> Batch {
    let Batch {
        processes,
        threads,
        mut frames,
        mut stacks,
        sites,
        mut freed,
        mut live_added,
        mut live_removed,
        mut timeline,
        mut site_timeline,
        histogram,
        losses,
        states,
        mappings,
        mapping_totals,
        meta,
    } = older;
    // What began and ended between two writes is nowhere to be removed from.
    let ended: FxHashSet<_> = newer.live_removed.iter().copied().collect();
    let added: FxHashSet<_> = live_added.iter().map(|row| row.allocation_id).collect();
    live_added.retain(|row| !ended.contains(&row.allocation_id));
    live_removed.extend(newer.live_removed.iter().filter(|id| !added.contains(id)));
    frames.extend(newer.frames);
    stacks.extend(newer.stacks);
    freed.extend(newer.freed);
    live_added.extend(newer.live_added);
    timeline.extend(newer.timeline);
    site_timeline.extend(newer.site_timeline);
    Batch {
        processes: last_of_each(processes, newer.processes, |row| row.process_id),
        threads: last_of_each(threads, newer.threads, |row| row.thread_id),
        sites: last_of_each(sites, newer.sites, |row| row.site_id),
        histogram: last_of_each(histogram, newer.histogram, |row| {
            (row.process_id, row.size_from, row.allocator)
        }),
        losses: last_of_each(losses, newer.losses, |row| (row.process_id, row.reason.clone())),
        states: last_of_each(states, newer.states, |row| row.process_id),
        mappings: last_of_each(mappings, newer.mappings, |row| row.mapping_id),
        mapping_totals: last_of_each(mapping_totals, newer.mapping_totals, |row| {
            (row.process_id, row.kind)
        }),
        meta: last_of_each(meta, newer.meta, |(key, _value)| key.clone()),
        frames,
        stacks,
        freed,
        live_added,
        live_removed,
        timeline,
        site_timeline,
    }
}

/// Whether more rows wait than may.
pub(super) fn is_too_much(batch: &Batch) -> bool {
    let rows = batch.freed.len()
        + batch.live_added.len()
        + batch.live_removed.len()
        + batch.mappings.len()
        + batch.timeline.len()
        + batch.site_timeline.len();
    rows > ROWS_MOST
}

/// Rows replace those of the same key.
fn last_of_each<T, K: Eq + Hash>(mut older: Vec<T>, newer: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let replaced: FxHashSet<K> = newer.iter().map(&key).collect();
    older.retain(|row| !replaced.contains(&key(row)));
    older.extend(newer);
    older
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Allocator, LiveRow, StackRow, StateRow};

    fn state(process_id: u32, alloc_count: u64) -> StateRow {
        StateRow {
            process_id,
            alloc_count,
            ..StateRow::default()
        }
    }

    fn live(allocation_id: u64) -> LiveRow {
        LiveRow {
            allocation_id,
            alloc_ts: 1,
            size: 8,
            stack_id: 1,
            thread_id: 1,
            allocator: Allocator::Malloc,
            address: 16,
        }
    }

    fn stack(stack_id: u32) -> StackRow {
        StackRow {
            stack_id,
            parent_id: None,
            frame_id: 1,
            depth: 1,
        }
    }

    #[test]
    fn later_rows_replace_and_new_ones_follow() {
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let older = Batch {
            states: vec![state(1, 10), state(2, 20)],
            stacks: vec![stack(1)],
            live_added: vec![live(5), live(6)],
            live_removed: vec![1],
            meta: vec![entry("a", "1"), entry("b", "1")],
            ..Batch::default()
        };
        let newer = Batch {
            states: vec![state(3, 1), state(1, 11)],
            stacks: vec![stack(2)],
            live_added: vec![live(7)],
            live_removed: vec![2, 5],
            meta: vec![entry("b", "2")],
            ..Batch::default()
        };
        let expect = Batch {
            states: vec![state(2, 20), state(3, 1), state(1, 11)],
            stacks: vec![stack(1), stack(2)],
            live_added: vec![live(6), live(7)],
            // 5 never was in the file.
            live_removed: vec![1, 2],
            meta: vec![entry("a", "1"), entry("b", "2")],
            ..Batch::default()
        };
        assert_eq!(join(older, newer), expect);
    }

    #[test]
    fn rows_are_bounded() {
        let check = |count: u64, expect: bool| {
            let batch = Batch {
                live_removed: (0..count).collect(),
                ..Batch::default()
            };
            assert_eq!(is_too_much(&batch), expect, "{count}");
        };
        check(500_000, false);
        check(500_001, true);
    }
}
