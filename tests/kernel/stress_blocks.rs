//! Threads that allocate and free as fast as they can, while the collector keeps up, is stopped, or may lose.
//!
//! The program counts its own calls. Nothing of it is lost in a lossless recording, however small the ring; in a lossy one
//! whatever is said of a block is true.

use std::{ffi::OsString, time::Duration};

use memray_tests::{Compiled, Stress, Stressed, behavior::usual_python};

/// How long the collector is stopped.
const STOP: Duration = Duration::from_secs(2);

/// What the C library allocates comes from calloc, and mappings are no calls of ours.
const OURS: &str =
    "allocator_id IN (SELECT allocator_id FROM allocators WHERE name IN ('malloc', 'realloc'))";

fn stress(words: &[&str]) -> (Compiled, Stress) {
    let program = Compiled::program("stress.c");
    let words = ["--".into(), program.path().as_os_str().to_owned()]
        .into_iter()
        .chain(words.iter().map(OsString::from));
    let stress = Stress::new(usual_python(), words);
    (program, stress)
}

/// The program has not noticed anything.
fn check_undisturbed(stressed: &Stressed) {
    assert_eq!(stressed.did("signals"), 0, "signals");
    assert_eq!(stressed.did("interrupted"), 0, "system calls with EINTR");
    assert!(stressed.did("waits") > 0);
}

/// Every call is there.
fn check_lossless(case: &str, stressed: &Stressed) {
    stressed.print(case);
    check_undisturbed(stressed);
    assert!(stressed.losses().is_empty(), "{case}: {:?}", stressed.losses());
    for (what, sql) in [
        (
            "allocations",
            format!("SELECT SUM(alloc_count) FROM sites WHERE {OURS}"),
        ),
        (
            "bytes",
            format!("SELECT SUM(alloc_bytes) FROM sites WHERE {OURS}"),
        ),
        (
            "frees",
            format!("SELECT COUNT(*) FROM freed_allocations WHERE {OURS}"),
        ),
        (
            "kept",
            format!("SELECT COUNT(*) FROM live_allocations WHERE {OURS} AND size = 40009"),
        ),
        (
            "kept",
            format!("SELECT COUNT(*) FROM live_allocations WHERE {OURS}"),
        ),
    ] {
        assert_eq!(stressed.number(&sql), stressed.did(what), "{case}: {what}");
    }
}

/// What is there is true: seen is what the program did, blocks that are shown alive are those that it kept, none of
/// which is shown as freed.
fn check_lossy(case: &str, stressed: &Stressed) {
    stressed.print(case);
    check_undisturbed(stressed);
    let lost = stressed.counter("allocation_ring_full");
    assert!(
        lost > 0 && stressed.counter("free_ring_full") > 0,
        "{case}: nothing was lost"
    );
    let allowed = ["allocation_ring_full", "free_ring_full", "implicit_free"];
    let mut losses = stressed.losses();
    losses.retain(|reason| !allowed.contains(&reason.as_str()));
    assert!(losses.is_empty(), "{case}: {losses:?}");

    let others = stressed.counter("allocation_seen") - stressed.did("allocations");
    assert!(others <= stressed.did("waits"), "{case}: {others}");
    let recorded = stressed.number(
        "SELECT SUM(alloc_count) FROM sites WHERE allocator_id NOT IN
        (SELECT allocator_id FROM allocators WHERE kind LIKE 'ranged%')",
    );
    assert_eq!(recorded + lost, stressed.counter("allocation_seen"), "{case}");
    let lost_bytes = stressed.number("SELECT bytes FROM losses WHERE reason = 'allocation_ring_full'");
    let recorded_bytes = stressed.number(&format!("SELECT SUM(alloc_bytes) FROM sites WHERE {OURS}"));
    assert!(
        recorded_bytes + lost_bytes >= stressed.did("bytes"),
        "{case}: bytes"
    );

    let alive = |condition: &str| {
        stressed.number(&format!(
            "SELECT COUNT(*) FROM live_allocations WHERE {OURS} AND {condition}"
        ))
    };
    assert_eq!(
        alive("size <> 40009"),
        0,
        "{case}: blocks that were freed look alive"
    );
    let recorded_kept = stressed.number("SELECT COUNT(*) FROM allocations WHERE size = 40009");
    assert_eq!(
        alive("size = 40009"),
        recorded_kept,
        "{case}: blocks that live look freed"
    );
    assert!(recorded_kept <= stressed.did("kept"), "{case}");
}

#[test]
fn two_threads_lossless() {
    let (_program, stress) = stress(&["churn", "2", "100000"]);
    check_lossless("2 threads", &stress.run());
}

#[test]
fn four_threads_lossless_in_the_smallest_ring() {
    let (_program, stress) = stress(&["churn", "4", "30000"]);
    let stressed = stress.options(&["--ring-size", "256K"]).run();
    check_lossless("4 threads, ring of 256 KiB", &stressed);
}

#[test]
fn a_stopped_collector_is_waited_for() {
    let (_program, stress) = stress(&["churn", "2", "100000"]);
    let stressed = stress.options(&["--ring-size", "1M"]).stopped_for(STOP).run();
    check_lossless("2 threads, collector stopped for 2 s, ring of 1 MiB", &stressed);
    // The program filled a ring of a megabyte in a few milliseconds and did not end before the collector went on.
    assert!(stressed.counter("throttle_wait_ns") > 1_000_000_000);
}

#[test]
fn a_stopped_collector_is_not_waited_for() {
    let (_program, stress) = stress(&["churn", "2", "450000"]);
    let stressed = stress
        .options(&["--lossy", "--ring-size", "256K"])
        .stopped_for(STOP)
        .run();
    check_lossy(
        "2 threads, collector stopped for 2 s, lossy, ring of 256 KiB",
        &stressed,
    );
    assert_eq!(stressed.counter("throttle_waits"), 0);
}

#[test]
#[ignore = "long"]
fn twenty_million_events() {
    let (_program, stress) = stress(&["churn", "2", "4450000"]);
    check_lossless("2 threads, 20 million events", &stress.run());
}

#[test]
#[ignore = "long"]
fn twenty_million_events_of_four_threads_with_a_stop() {
    let (_program, stress) = stress(&["churn", "4", "2225000"]);
    let stressed = stress.stopped_for(STOP).run();
    check_lossless(
        "4 threads, 20 million events, collector stopped for 2 s",
        &stressed,
    );
}

#[test]
#[ignore = "long"]
fn twenty_million_events_lossy() {
    for threads in ["2", "4"] {
        let rounds = if threads == "2" { "4450000" } else { "2225000" };
        let (_program, stress) = stress(&["churn", threads, rounds]);
        let stressed = stress
            .options(&["--lossy", "--ring-size", "4M"])
            .stopped_for(STOP)
            .run();
        check_lossy(&format!("{threads} threads, 20 million events, lossy"), &stressed);
    }
}

#[test]
fn ten_thousand_threads_at_one_time() {
    let (_program, stress) = stress(&["crowd", "10000"]);
    let stressed = stress.run();
    check_lossless("10,000 threads at one time", &stressed);
    assert_eq!(threads_with_a_block(&stressed), 10_000);
}

#[test]
fn ten_thousand_threads_one_after_the_other() {
    let (_program, stress) = stress(&["queue", "10000"]);
    let stressed = stress.run();
    check_lossless("10,000 threads one after the other", &stressed);
    assert_eq!(threads_with_a_block(&stressed), 10_000);
}

/// Of the sizes that the program asks for.
fn threads_with_a_block(stressed: &Stressed) -> u64 {
    stressed.number(&format!(
        "SELECT COUNT(DISTINCT thread_id) FROM freed_allocations WHERE {OURS} AND size BETWEEN 100 AND 199"
    ))
}

#[test]
fn more_threads_than_there_is_room_for_are_counted() {
    let (_program, stress) = stress(&["crowd", "300"]);
    let stressed = stress.options(&["--max-threads", "100"]).run();
    stressed.print("300 threads, room for 100");
    check_undisturbed(&stressed);
    // Of a thread without a place neither the beginning nor the end of a call is known.
    assert_eq!(
        stressed.losses().into_iter().collect::<Vec<_>>(),
        ["return_without_entry", "thread_table_full"]
    );
    let (missing, found) = (
        stressed.counter("thread_table_full"),
        threads_with_a_block(&stressed),
    );
    // At one time there is room for a hundred, and one ends before another begins.
    assert!(found >= 98 && missing > 0 && found < 300, "{found} {missing}");
}
