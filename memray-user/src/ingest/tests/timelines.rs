//! Time, the ends of processes, and what is counted beside the events.

use memray_ebpf::stat::StatId;

use super::harness::{CLOCK_BASE_NS, Harness, PID, Step};
use crate::{
    ingest::{ScriptStart, fixture, fixture::Source, timeline::SITE_INTERVAL_NS},
    model::{Allocator, Resident},
};

const MS: u64 = 1_000_000;
const INTERVAL_NS: u64 = 10 * MS;

fn harness() -> Harness {
    Harness::new(ScriptStart::Immediately)
}

fn alloc(address: u64, size: u64) -> Step {
    Step::Alloc {
        tid: PID,
        address,
        size,
        line: 1,
    }
}

#[test]
fn intervals_have_rows_where_something_happened() {
    let mut run = harness();
    run.step(alloc(1, 100));
    let resident = Resident {
        rss_bytes: 4096,
        ..Resident::default()
    };
    run.ingest.sample_rss(1, CLOCK_BASE_NS + 5 * MS, resident);
    run.time_ns += 40 * MS;
    run.step(alloc(2, 50));
    run.step(Step::Free { tid: PID, address: 1 });
    run.batch();
    assert_eq!(
        run.store.timeline.len(),
        1,
        "the second interval can still change"
    );
    run.step(Step::Batch { ns: 800 * MS });
    let rows: Vec<_> = run
        .store
        .timeline
        .values()
        .map(|row| {
            (
                row.ts,
                row.max_bytes,
                row.live_bytes,
                row.free_count,
                row.rss_bytes,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [(0, 100, 100, 0, Some(4096)), (4 * INTERVAL_NS, 150, 50, 1, None)]
    );
    let sites: Vec<_> = run
        .store
        .site_timeline
        .values()
        .map(|row| (row.ts, row.alloc_count))
        .collect();
    assert_eq!(sites, [(0, 2)]);
    // A record that comes after its interval was closed counts in a later one.
    run.time_ns = CLOCK_BASE_NS + 45 * MS;
    run.step(alloc(3, 1));
    run.finish();
    assert_eq!(
        run.store.timeline.keys().map(|key| key.1).collect::<Vec<_>>(),
        [0, 4 * INTERVAL_NS, SITE_INTERVAL_NS]
    );
    assert_eq!(
        run.store
            .site_timeline
            .keys()
            .map(|key| key.0)
            .collect::<Vec<_>>(),
        [0, SITE_INTERVAL_NS]
    );
}

#[test]
fn time_never_runs_backwards() {
    let mut run = harness();
    for (address, time) in [(1, 500), (2, 400), (3, 600)] {
        let time = CLOCK_BASE_NS + time;
        let source = Harness::source(PID);
        run.push(&fixture::allocation(
            source,
            time,
            Allocator::Malloc,
            address,
            1,
            0,
        ));
    }
    run.push(&fixture::allocation(
        Harness::source(PID),
        7,
        Allocator::Malloc,
        4,
        1,
        0,
    ));
    run.finish();
    assert_eq!(
        run.store
            .live
            .values()
            .map(|row| row.alloc_ts)
            .collect::<Vec<_>>(),
        [500, 500, 600, 600]
    );
}

#[test]
fn a_process_that_ended_keeps_its_rows() {
    let mut run = harness();
    run.step(alloc(1, 100));
    run.step(alloc(2, 50));
    run.step(Step::Free { tid: PID, address: 1 });
    run.ingest.end_process(1, CLOCK_BASE_NS + 9 * MS, Some(139));
    run.ingest.end_process(1, CLOCK_BASE_NS + 10 * MS, Some(0));
    run.ingest.end_process(99, CLOCK_BASE_NS + 10 * MS, Some(0));
    run.step(alloc(3, 7));
    run.batch();
    let row = &run.store.processes[&1];
    assert_eq!((row.ended_ns, row.exit_status), (Some(9 * MS), Some(139)));
    assert_eq!(
        run.store.live.values().map(|row| row.size).collect::<Vec<_>>(),
        [50]
    );
    assert_eq!(run.store.loss("unknown_process"), 1);
    assert_eq!(run.store.timeline.len(), 1);
    // The pid is used again.
    assert_eq!(run.add_process(PID), 2);
    run.step(Step::Free { tid: PID, address: 2 });
    run.step(alloc(2, 5));
    run.finish();
    assert_eq!(
        (run.store.states[&1].live_bytes, run.store.states[&2].live_bytes),
        (50, 5)
    );
    assert_eq!(run.store.live.len(), 2);
}

#[test]
fn processes_have_peaks_of_their_own() {
    let mut run = harness();
    run.add_process(200);
    run.alloc_of(PID, 1, 100);
    run.alloc_of(200, 1, 30);
    for pid in [PID, 200] {
        run.push(&fixture::free(Source { pid, tid: pid }, 1, Allocator::Free, 1));
    }
    run.alloc_of(200, 2, 31);
    run.finish();
    let peaks: Vec<_> = run
        .store
        .states
        .values()
        .map(|state| (state.peak_bytes, state.live_bytes))
        .collect();
    assert_eq!(peaks, [(100, 0), (31, 31)]);
}

#[test]
fn every_event_is_accounted_for() {
    let mut run = harness();
    run.step(alloc(1, 1));
    run.step(alloc(2, 1));
    run.step(Step::Free { tid: PID, address: 1 });
    run.alloc_of(999, 1, 1);
    run.ingest.push(&[99; 24]);
    run.ingest.push(&[]);
    let mut values = [0; StatId::COUNT];
    values[StatId::AllocationSeen as usize] = 5;
    values[StatId::AllocationRingFull as usize] = 2;
    values[StatId::FreeSeen as usize] = 2;
    run.ingest.set_kernel_stats(None, &values);
    run.finish_without_stats();
    let meta: Vec<_> = run
        .store
        .meta
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        meta,
        [
            ("identity.allocations", "ok"),
            ("identity.frees", "1"),
            ("identity.maps", "ok"),
            ("identity.unmaps", "ok"),
        ]
    );
    for (reason, events) in [
        ("unknown_process", 1),
        ("malformed_record", 2),
        ("allocation_ring_full", 2),
        ("free_seen", 2),
    ] {
        assert_eq!(run.store.loss(reason), events, "{reason}");
    }
}
