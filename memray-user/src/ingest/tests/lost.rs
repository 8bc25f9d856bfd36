//! Frees without a record, told late and out of order, against the truth; and what is beyond the bounds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::harness::{CLOCK_BASE_NS, Harness, PID};
use crate::{
    ingest::{ScriptStart, bounds::IngestBounds, fixture},
    model::Allocator,
};

const TID: u32 = 101;
/// Where records of a time that is ahead of those behind them allocate; never freed.
const AHEAD_AT: u64 = 0x9000;

/// What a program does next.
#[derive(Clone, Copy, Debug)]
struct Act {
    /// Of eight blocks: allocated if it is not, else freed.
    block: u64,
    is_lost: bool,
    /// A record gets its place in the ring and, a while later, its time.
    is_ahead: bool,
}

fn act() -> impl Strategy<Value = Act> {
    (0..8_u64, prop::bool::weighted(0.4), prop::bool::weighted(0.1)).prop_map(|(block, is_lost, is_ahead)| {
        Act {
            block,
            is_lost,
            is_ahead,
        }
    })
}

/// A program and a ring.
#[derive(Default)]
struct World {
    time_ns: u64,
    ahead: u64,
    /// By address: the size, if the record of the allocation was sent.
    alive: BTreeMap<u64, Option<u64>>,
    ring: Vec<Vec<u64>>,
    table: BTreeMap<u64, u64>,
    size: u64,
}

impl World {
    fn act(&mut self, act: Act) {
        self.time_ns += 100;
        let (time, source) = (CLOCK_BASE_NS + self.time_ns, Harness::source(TID));
        let allocation =
            |time, address, size| fixture::allocation(source, time, Allocator::Malloc, address, size, 0);
        if act.is_ahead {
            self.ahead += 1;
            let address = AHEAD_AT + self.ahead * 16;
            self.ring.push(allocation(time + 450, address, 1));
            self.alive.insert(address, Some(1));
        }
        let address = 0x1000 + act.block * 16;
        if self.alive.remove(&address).is_some() {
            if act.is_lost {
                self.table.insert(address, time);
            } else {
                self.ring
                    .push(fixture::free(source, time, Allocator::Free, address));
            }
            return;
        }
        self.size += 1;
        self.alive.insert(address, (!act.is_lost).then_some(self.size));
        if !act.is_lost {
            self.ring.push(allocation(time, address, self.size));
        }
    }

    /// Pushes the records before a place in the ring.
    fn push_before(&mut self, end: usize, run: &mut Harness) {
        for record in self.ring.drain(..end) {
            run.ingest.push(record.as_bytes());
        }
    }
}

/// The reader of the ring looks at the table as `session::lost_frees` does: where the ring ends, then, a little later, the
/// table, then the ring to that place.
fn check(rounds: &[(Vec<Act>, Vec<Act>)]) {
    let mut run = Harness::new(ScriptStart::Immediately);
    let mut world = World::default();
    let quiet = [(); 3].map(|()| (Vec::new(), Vec::new()));
    for (before, meanwhile) in rounds.iter().chain(&quiet) {
        for &act in before {
            world.act(act);
        }
        let end = world.ring.len();
        run.ingest.turn_lost_frees();
        for &act in meanwhile {
            world.act(act);
        }
        for (address, time_ns) in std::mem::take(&mut world.table) {
            run.ingest.lost_free(PID, address, time_ns);
        }
        world.push_before(end, &mut run);
    }
    run.finish_without_stats();
    let found: BTreeSet<(u64, u64)> = run
        .store
        .live
        .values()
        .map(|row| (row.address, row.size))
        .collect();
    let expected: BTreeSet<(u64, u64)> = world
        .alive
        .iter()
        .filter_map(|(&address, size)| Some((address, (*size)?)))
        .collect();
    assert_eq!(found, expected);
    let mut last = 0;
    for row in &run.store.freed {
        assert!(row.free_ts >= row.alloc_ts && row.free_ts >= last, "{row:?}");
        last = row.free_ts;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), ..ProptestConfig::default() })]

    #[test]
    fn what_lives_is_what_was_sent_and_not_freed(
        rounds in prop::collection::vec((prop::collection::vec(act(), 0..12), prop::collection::vec(act(), 0..5)), 0..12)
    ) {
        check(&rounds);
    }
}

#[test]
fn an_end_without_a_record_has_the_time_of_the_free() {
    let mut run = Harness::new(ScriptStart::Immediately);
    run.alloc(TID, Allocator::Malloc, 0x10, 8, 0);
    let free_ns = run.tick();
    run.alloc(TID, Allocator::Malloc, 0x20, 9, 0);
    run.ingest.lost_free(PID, 0x10, free_ns);
    run.ingest.lost_free(PID, 0x30, free_ns);
    run.alloc(TID, Allocator::Malloc, 0x40, 10, 0);
    run.finish_without_stats();
    let freed: Vec<_> = run
        .store
        .freed
        .iter()
        .map(|row| (row.size, row.free_ts))
        .collect();
    // What came out of the ring before it was told is not overtaken.
    assert_eq!(freed, [(8, 3000)]);
    assert_eq!(run.store.loss("ended_without_record"), 1);
    // How many allocations its thread made before that is not known.
    assert_eq!(
        run.store.sites.values().map(|site| site.temp_count).sum::<u64>(),
        0
    );
}

#[test]
fn stacks_and_sites_beyond_the_bound_are_shown_as_one() {
    let bounds = IngestBounds {
        stacks: 8,
        ..IngestBounds::default()
    };
    let mut run = Harness::bounded(ScriptStart::Immediately, bounds);
    for number in 1..=9_u64 {
        run.describe(
            TID,
            number,
            &[(0x1000 * number, &format!("f{number}"), "a.py", 1)],
        );
        run.alloc(TID, Allocator::Malloc, number * 16, 10, number);
    }
    run.finish_without_stats();
    let mut shown: Vec<_> = run
        .store
        .sites
        .values()
        .map(|site| (run.functions(site.stack_id).join(" > "), site.alloc_count))
        .collect();
    shown.sort_unstable();
    let total: u64 = shown.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 9, "{shown:?}");
    assert!(shown.contains(&("<too many stacks>".to_owned(), 8)), "{shown:?}");
    assert!(run.store.loss("frame_table_full") > 0);
}
