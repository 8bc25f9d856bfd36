//! How many events a second `ingest` takes in: run it by hand, in release, with
//! `cargo test --release -p memray-user ingest::tests::speed -- --ignored --nocapture`.

use nix::time::{ClockId, clock_gettime};
use zerocopy::IntoBytes as _;

use super::harness::{Harness, PID};
use crate::{
    ingest::{ScriptStart, fixture, fixture::Source},
    model::Allocator,
};

const SITES: u64 = 5000;
const PAIRS: u64 = 5_000_000;
const LIVE: u64 = 100_000;

/// CPU time of this thread: the wall clock of a shared machine says little.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// Pairs of an allocation and the free of one made `LIVE` allocations before, over `SITES` sites, a batch each
/// half million events.
#[test]
#[ignore = "a measurement, not a check"]
fn events_per_second() {
    let mut run = Harness::new(ScriptStart::Immediately);
    for stack_id in 1..=SITES {
        run.describe(PID, stack_id, &[(0x1000 + stack_id, "work", "main.py", stack_id)]);
    }
    let source = Source { pid: PID, tid: PID };
    let mut words = Vec::new();
    let mut random = 1_u64;
    let mut lengths = Vec::new();
    for index in 0..PAIRS + LIVE {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let time = run.time_ns + index * 200;
        let address = |index: u64| 0x5500_0000_0000 + index % (2 * LIVE) * 64;
        let stack_id = (random >> 33) % SITES + 1;
        let size = 16 + (random >> 20) % 2000;
        let record = fixture::allocation(source, time, Allocator::Malloc, address(index), size, stack_id);
        lengths.push(record.len());
        words.extend(record);
        if index >= LIVE {
            let record = fixture::free(source, time, Allocator::Free, address(index - LIVE));
            lengths.push(record.len());
            words.extend(record);
        }
    }
    let start = cpu_seconds();
    let mut rest = &words[..];
    let (mut longest_batch, mut batches, mut rows) = (0.0_f64, 0.0, 0);
    for (index, length) in lengths.iter().enumerate() {
        let (record, behind) = rest.split_at(*length);
        rest = behind;
        run.ingest.push(record.as_bytes());
        if index % 500_000 == 499_999 {
            let before = cpu_seconds();
            let batch = run.ingest.take_batch(record[2]);
            rows += batch.freed.len() + batch.live_added.len();
            longest_batch = longest_batch.max(cpu_seconds() - before);
            batches += cpu_seconds() - before;
        }
    }
    let seconds = cpu_seconds() - start;
    println!(
        "{} events in {seconds:.3} CPU s: {:.2} million a second; batches {batches:.3} s, longest {longest_batch:.3} s; {rows} rows",
        lengths.len(),
        lengths.len() as f64 / seconds / 1e6,
    );
}
