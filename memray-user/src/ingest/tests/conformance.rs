//! memray's own conformance cases, as tables of events.

use super::harness::{HEAP, Harness, PAGE, Step, range};
use crate::{
    ingest::{ScriptStart, fixture},
    model::{Allocator, FreedRow, MappingKind},
};

pub(super) const TID: u32 = 100;
const OTHER: u32 = 101;

fn alloc(address: u64, size: u64, line: u64) -> Step {
    Step::Alloc {
        tid: TID,
        address,
        size,
        line,
    }
}

fn free(address: u64) -> Step {
    Step::Free { tid: TID, address }
}

pub(super) fn map(page: u64, pages: u64, line: u64) -> Step {
    Step::Map {
        tid: TID,
        page,
        pages,
        line,
    }
}

pub(super) fn unmap(page: u64, pages: u64) -> Step {
    Step::Unmap {
        tid: TID,
        page,
        pages,
    }
}

/// Figures as (line, bytes, count).
fn check_peak(steps: &[Step], expect: &[(u64, u64, u64)]) {
    assert_eq!(Harness::run(steps).peak(), expect, "{steps:?}");
    // The same with a batch after each step, and with all the time in the world between the steps.
    let spread: Vec<_> = steps
        .iter()
        .flat_map(|&step| [step, Step::Batch { ns: 700_000_000 }])
        .collect();
    assert_eq!(Harness::run(&spread).peak(), expect, "{steps:?}");
}

fn check_leaks(steps: &[Step], expect: &[(u64, u64, u64)]) {
    assert_eq!(Harness::run(steps).leaks(), expect, "{steps:?}");
}

/// The same in pages.
fn check_peak_pages(steps: &[Step], expect: &[(u64, u64, u64)]) {
    let expect: Vec<_> = expect
        .iter()
        .map(|&(line, pages, count)| (line, pages * PAGE, count))
        .collect();
    check_peak(steps, &expect);
}

#[test]
fn each_allocator_counts_once() {
    use Allocator::{
        AlignedAlloc, Calloc, Malloc, Memalign, PosixMemalign, Pvalloc, Realloc, Reallocarray, Valloc,
    };
    for allocator in [
        Malloc,
        Calloc,
        Realloc,
        Reallocarray,
        PosixMemalign,
        AlignedAlloc,
        Memalign,
        Valloc,
        Pvalloc,
    ] {
        let steps = [
            Step::AllocWith {
                tid: TID,
                allocator,
                address: 16,
                size: 984,
                line: 1,
            },
            free(16),
        ];
        let run = Harness::run(&steps);
        assert_eq!(run.peak(), [(1, 984, 1)]);
        let sites: Vec<_> = run
            .store
            .sites
            .values()
            .map(|site| (site.allocator, site.alloc_count))
            .collect();
        assert_eq!(sites, [(allocator, 1)]);
        let [
            FreedRow {
                size: 984,
                allocations_between: 0,
                ..
            },
        ] = run.store.freed[..]
        else {
            panic!("{:?}", run.store.freed);
        };
    }
    let steps = [
        alloc(16, 1, 1),
        Step::ReallocEnter {
            tid: TID,
            address: 16,
        },
        Step::ReallocReturn {
            tid: TID,
            address: 16,
            size: 984,
            line: 2,
        },
        free(16),
    ];
    check_peak(&steps, &[(2, 984, 1)]);
    assert_eq!(Harness::run(&steps).store.freed.len(), 2);
}

#[test]
fn a_mapping_counts_as_long_as_it_was_asked_for() {
    let mut run = Harness::new(ScriptStart::Immediately);
    run.map(TID, Allocator::Mmap, (range(0, 0).0, 2048), 0, HEAP);
    run.step(unmap(0, 1));
    run.finish();
    assert_eq!(run.peak(), [(0, 2048, 1)]);
    assert_eq!((run.store.freed.len(), run.store.freed[0].size), (1, 2048));
    assert_eq!(run.store.freed[0].allocator, Allocator::Mmap);
}

#[test]
fn high_water_mark() {
    check_peak(
        &[alloc(1, 1024, 1), free(1), alloc(1, 1024, 1), free(1)],
        &[(1, 1024, 1)],
    );
    check_peak(
        &[alloc(1, 1024, 1), free(1), alloc(1, 2048, 2), free(1)],
        &[(2, 2048, 1)],
    );
    check_peak(
        &[alloc(1, 2048, 1), free(1), alloc(1, 1024, 2), free(1)],
        &[(1, 2048, 1)],
    );
    check_peak(
        &[alloc(1, 1024, 1), alloc(2, 1024, 1), free(1), free(2)],
        &[(1, 2048, 2)],
    );
    check_peak(
        &[alloc(1, 1024, 1), alloc(2, 2048, 2), free(1), free(2)],
        &[(1, 1024, 1), (2, 2048, 1)],
    );
    check_peak(&[alloc(1, 1024, 1), free(1), alloc(2, 2048, 2)], &[(2, 2048, 1)]);
    check_peak(
        &[alloc(1, 10, 1), free(1), alloc(2, 10, 2), free(2)],
        &[(2, 10, 1)],
    );
}

#[test]
fn spiky_recursion() {
    const KIB: u64 = 1024;
    let mut steps = Vec::new();
    // Each level allocates its size, frees it, and calls the next with half of it; what is held grows outwards.
    let held = [10 * KIB, 8 * KIB, 6 * KIB, 4 * KIB, 2 * KIB, KIB];
    for (level, &size) in (1..).zip(&held) {
        steps.extend([
            alloc(100 + level, size, 50),
            free(100 + level),
            alloc(level, size, level),
        ]);
    }
    steps.extend((1..=6).rev().map(free));
    let expect: Vec<_> = (1..).zip(held).map(|(line, size)| (line, size, 1)).collect();
    check_peak(&steps, &expect);
}

#[test]
fn unmapping_parts() {
    check_peak_pages(
        &[map(0, 2, 1), unmap(0, 1), map(20, 10, 2)],
        &[(1, 1, 1), (2, 10, 1)],
    );
    check_peak_pages(
        &[map(0, 4, 1), unmap(0, 1), unmap(3, 1), map(20, 10, 2)],
        &[(1, 2, 1), (2, 10, 1)],
    );
    check_peak_pages(
        &[map(0, 4, 1), map(4, 4, 2), unmap(0, 8), map(20, 10, 3)],
        &[(3, 10, 1)],
    );
    let four = [map(0, 2, 1), map(2, 2, 1), map(4, 2, 1), map(6, 2, 1)];
    let steps: Vec<_> = four
        .into_iter()
        .chain([unmap(0, 4), unmap(4, 4), map(20, 10, 2)])
        .collect();
    check_peak_pages(&steps, &[(2, 10, 1)]);
    check_peak_pages(
        &[map(0, 5, 1), unmap(1, 1), unmap(3, 1), map(20, 10, 2)],
        &[(1, 3, 1), (2, 10, 1)],
    );
    check_peak_pages(
        &[map(0, 8, 1), unmap(1, 1), map(20, 10, 2)],
        &[(1, 7, 1), (2, 10, 1)],
    );
}

#[test]
fn an_unmapping_that_the_kernel_refuses_ends_nothing() {
    let mut run = Harness::new(ScriptStart::Immediately);
    run.step(map(0, 4, 1));
    let (time, source) = (run.tick(), Harness::source(TID));
    run.push(&fixture::unmap(
        source,
        time,
        Allocator::Munmap,
        (range(0, 4).0 + 8, PAGE),
    ));
    run.push(&fixture::unmap(
        source,
        time,
        Allocator::Munmap,
        (range(0, 4).0, 0),
    ));
    run.finish();
    assert_eq!(run.leaks(), [(1, 4 * PAGE, 1)]);
}

#[test]
fn a_mapping_over_a_mapping_replaces_it() {
    check_peak_pages(&[map(0, 4, 1), map(0, 4, 2), map(0, 4, 3)], &[(3, 4, 1)]);
    let uncounted = Step::MapBeside {
        tid: TID,
        kind: MappingKind::Reserved,
        page: 1,
        pages: 2,
        line: 1,
    };
    check_leaks(&[map(0, 4, 1), uncounted], &[(1, 2 * PAGE, 1)]);
    check_leaks(&[uncounted, map(1, 2, 1)], &[(1, 2 * PAGE, 1)]);
    check_leaks(&[uncounted], &[]);
}

#[test]
fn mremap_moves_what_it_counts() {
    let enter = |page, pages| Step::MremapEnter {
        tid: TID,
        page,
        pages,
    };
    let leave = |page, pages| Step::MremapReturn {
        tid: TID,
        page,
        pages,
        line: 2,
    };
    check_peak_pages(&[map(0, 4, 1), enter(0, 4), leave(10, 6)], &[(2, 6, 1)]);
    check_peak_pages(&[map(0, 4, 1), enter(0, 4), leave(0, 2)], &[(1, 4, 1)]);
    check_leaks(&[map(0, 4, 1), enter(0, 4), leave(0, 2)], &[(2, 2 * PAGE, 1)]);
    check_leaks(&[enter(0, 4), leave(10, 6)], &[]);
    check_leaks(
        &[map(0, 4, 1), enter(0, 4), Step::MremapUndone { tid: TID }],
        &[(1, 4 * PAGE, 1)],
    );
    check_leaks(
        &[map(0, 4, 1), enter(1, 1), leave(10, 2)],
        &[(1, 3 * PAGE, 1), (2, 2 * PAGE, 1)],
    );
    // Another thread maps where the old range was before the call has returned.
    let other = Step::Map {
        tid: OTHER,
        page: 0,
        pages: 1,
        line: 3,
    };
    check_leaks(
        &[map(0, 4, 1), enter(0, 4), other, leave(10, 6)],
        &[(2, 6 * PAGE, 1), (3, PAGE, 1)],
    );

    let mut run = Harness::new(ScriptStart::Immediately);
    run.step(map(0, 4, 1));
    run.step(enter(0, 4));
    let flags = u64::from((libc::MREMAP_DONTUNMAP | libc::MREMAP_MAYMOVE).cast_unsigned()) << 32;
    run.map(TID, Allocator::Mremap, range(10, 4), 0, flags);
    run.finish();
    assert_eq!(run.leaks(), [(0, 4 * PAGE, 1), (1, 4 * PAGE, 1)]);
}

#[test]
fn leaks() {
    check_leaks(&[alloc(1, 1024, 1)], &[(1, 1024, 1)]);
    check_leaks(&[alloc(1, 1024, 1), free(1)], &[]);
    check_leaks(
        &[
            alloc(1, 1, 1),
            alloc(2, 2048, 2),
            alloc(3, 3, 3),
            free(1),
            free(3),
        ],
        &[(2, 2048, 1)],
    );
    let ten: Vec<_> = (1..=10).map(|address| alloc(address, 1024, 1)).collect();
    check_leaks(&ten, &[(1, 10_240, 10)]);
    check_leaks(&[free(77)], &[]);
    assert_eq!(Harness::run(&[free(77)]).store.loss("free_of_unknown"), 1);
    let two_threads: Vec<_> = [TID, OTHER]
        .into_iter()
        .flat_map(|tid| {
            [1, 2].map(|index| Step::Alloc {
                tid,
                address: u64::from(tid) * 10 + index,
                size: 2048,
                line: 1,
            })
        })
        .collect();
    check_leaks(&two_threads, &[(1, 4096, 2), (1, 4096, 2)]);
}

#[test]
fn realloc_is_a_free_and_an_allocation_unless_it_fails() {
    let enter = Step::ReallocEnter { tid: TID, address: 1 };
    let leave = Step::ReallocReturn {
        tid: TID,
        address: 2,
        size: 30,
        line: 2,
    };
    let undone = Step::ReallocUndone { tid: TID, address: 1 };
    check_peak(&[alloc(1, 20, 1), enter, leave], &[(2, 30, 1)]);
    check_leaks(&[alloc(1, 20, 1), enter, undone], &[(1, 20, 1)]);
    // What another thread makes meanwhile adds to the block that lives on.
    let other = Step::Alloc {
        tid: OTHER,
        address: 3,
        size: 5,
        line: 3,
    };
    let gone = Step::Free {
        tid: OTHER,
        address: 3,
    };
    check_peak(
        &[alloc(1, 20, 1), enter, other, gone, undone],
        &[(1, 20, 1), (3, 5, 1)],
    );
    // Another thread gets the old block before the call has returned.
    let reuse = Step::Alloc {
        tid: OTHER,
        address: 1,
        size: 5,
        line: 3,
    };
    let run = Harness::run(&[alloc(1, 20, 1), enter, reuse, leave]);
    assert_eq!(
        (run.leaks(), run.store.loss("implicit_free")),
        (vec![(2, 30, 1), (3, 5, 1)], 0)
    );
    // realloc(p, 0): no block comes after it.
    check_leaks(&[alloc(1, 20, 1), enter], &[]);
    check_leaks(&[alloc(1, 20, 1), enter, alloc(9, 1, 4)], &[(4, 1, 1)]);
}

#[test]
fn a_lost_free_ends_the_older_block() {
    let run = Harness::run(&[alloc(1, 20, 1), alloc(1, 30, 2)]);
    assert_eq!(run.leaks(), [(2, 30, 1)]);
    assert_eq!(run.peak(), [(2, 30, 1)]);
    let loss = run
        .store
        .losses
        .values()
        .find(|row| row.reason == "implicit_free")
        .unwrap();
    assert_eq!((loss.events, loss.bytes, loss.kind.as_str()), (1, 20, "degraded"));
}

#[test]
fn temporary() {
    /// `expect`: allocations that each threshold finds.
    fn check(steps: &[Step], expect: &[(u64, usize)]) {
        let run = Harness::run(steps);
        for &(threshold, count) in expect {
            let found = run
                .store
                .freed
                .iter()
                .filter(|row| row.allocations_between <= threshold)
                .count();
            assert_eq!(found, count, "{threshold}: {steps:?}");
        }
    }
    check(&[alloc(1, 8, 1), free(1)], &[(0, 1), (1, 1)]);
    for nested in 2..6 {
        let down = (1..=nested).map(|address| alloc(address, 8, address));
        let steps: Vec<_> = down.chain((1..=nested).rev().map(free)).collect();
        let threshold = nested - 2;
        check(&steps, &[(threshold, usize::try_from(threshold).unwrap() + 1)]);
    }
    let other = |address| Step::Alloc {
        tid: OTHER,
        address,
        size: 8,
        line: 9,
    };
    let steps = [
        alloc(1, 8, 1),
        other(2),
        free(1),
        Step::Free {
            tid: OTHER,
            address: 2,
        },
    ];
    check(&steps, &[(0, 2)]);
    // Freed by another thread, which the allocating thread's own allocations decide.
    check(
        &[
            alloc(1, 8, 1),
            other(2),
            other(3),
            Step::Free {
                tid: OTHER,
                address: 1,
            },
        ],
        &[(0, 1)],
    );
    check(&[map(0, 2, 1), unmap(0, 2)], &[(0, 1)]);
    check(&[map(0, 2, 1), unmap(0, 1), unmap(1, 1)], &[(1, 0), (1 << 40, 0)]);
}
