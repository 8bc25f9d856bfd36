//! Mappings beside the heap, and what becomes heap or ends it otherwise than by mmap and munmap.

use MappingKind::{File, Reserved, SharedFile, Stack};

use super::{
    conformance::{TID, map, unmap},
    harness::{CLOCK_BASE_NS, HEAP, Harness, PAGE, Step, flags_of, range},
};
use crate::{
    ingest::{ScriptStart, fixture},
    model::{Allocator, MappingKind},
};

fn beside(kind: MappingKind, page: u64, pages: u64, line: u64) -> Step {
    Step::MapBeside {
        tid: TID,
        kind,
        page,
        pages,
        line,
    }
}

fn protect(page: u64, pages: u64, line: u64) -> Step {
    Step::Protect {
        tid: TID,
        is_usable: true,
        page,
        pages,
        line,
    }
}

/// Rows of `mappings` as (line, kind, page, pages, still there).
fn mappings(run: &Harness) -> Vec<(u64, MappingKind, u64, u64, bool)> {
    let mut rows: Vec<_> = run
        .store
        .mappings
        .values()
        .map(|row| {
            let frame = &run.store.frames[&run.store.stacks[&row.stack_id].frame_id];
            let page = (row.address - range(0, 0).0) / PAGE;
            let is_there = row.unmapped_ts.is_none();
            (u64::from(frame.line), row.kind, page, row.size / PAGE, is_there)
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// Heap that is left as (line, pages, count), and the rows of mappings.
fn check(steps: &[Step], heap: &[(u64, u64, u64)], rows: &[(u64, MappingKind, u64, u64, bool)]) {
    let spread: Vec<_> = steps
        .iter()
        .flat_map(|&step| [step, Step::Batch { ns: 700_000_000 }])
        .collect();
    // All in one batch, and each step in one of its own.
    for steps in [steps.to_vec(), spread] {
        let run = Harness::run(&steps);
        let left: Vec<_> = run
            .leaks()
            .iter()
            .map(|&(line, bytes, count)| (line, bytes / PAGE, count))
            .collect();
        assert_eq!(left, heap, "{steps:?}");
        assert_eq!(mappings(&run), rows, "{steps:?}");
    }
}

#[test]
fn kinds_are_told_apart_and_cut_like_the_heap() {
    check(&[beside(File, 0, 4, 1)], &[], &[(1, File, 0, 4, true)]);
    check(
        &[beside(Stack, 0, 9, 1), beside(SharedFile, 3, 2, 2)],
        &[],
        &[
            (1, Stack, 0, 3, true),
            (1, Stack, 3, 2, false),
            (1, Stack, 5, 4, true),
            (2, SharedFile, 3, 2, true),
        ],
    );
    // One hole through all kinds.
    check(
        &[
            beside(File, 0, 4, 1),
            map(4, 4, 2),
            beside(Reserved, 8, 4, 3),
            unmap(2, 8),
        ],
        &[],
        &[
            (1, File, 0, 2, true),
            (1, File, 2, 2, false),
            (3, Reserved, 8, 2, false),
            (3, Reserved, 10, 2, true),
        ],
    );
}

#[test]
fn a_reservation_that_becomes_usable_is_heap() {
    check(
        &[beside(Reserved, 0, 10, 1), protect(2, 3, 2)],
        &[(2, 3, 1)],
        &[
            (1, Reserved, 0, 2, true),
            (1, Reserved, 2, 3, false),
            (1, Reserved, 5, 5, true),
        ],
    );
    // Once is enough.
    check(
        &[beside(Reserved, 0, 2, 1), protect(0, 2, 2), protect(0, 2, 3)],
        &[(2, 2, 1)],
        &[(1, Reserved, 0, 2, false)],
    );
    // Two ranges with one between that is heap already are two allocations.
    check(
        &[beside(Reserved, 0, 6, 1), protect(2, 2, 2), protect(0, 6, 3)],
        &[(2, 2, 1), (3, 4, 2)],
        &[
            (1, Reserved, 0, 2, false),
            (1, Reserved, 2, 2, false),
            (1, Reserved, 4, 2, false),
        ],
    );
    // Two reservations side by side are one.
    check(
        &[
            beside(Reserved, 0, 2, 1),
            beside(Reserved, 2, 2, 2),
            protect(0, 4, 3),
        ],
        &[(3, 4, 1)],
        &[(1, Reserved, 0, 2, false), (2, Reserved, 2, 2, false)],
    );
    // Nothing else becomes heap by it, and without access nothing does.
    for kind in [File, SharedFile, Stack] {
        let expect = [(1, kind, 0, 4, true)];
        check(&[beside(kind, 0, 4, 1), protect(0, 4, 2)], &[], &expect);
    }
    let without_access = Step::Protect {
        tid: TID,
        is_usable: false,
        page: 0,
        pages: 4,
        line: 2,
    };
    check(
        &[beside(Reserved, 0, 4, 1), without_access],
        &[],
        &[(1, Reserved, 0, 4, true)],
    );
    check(&[map(0, 4, 1), without_access], &[(1, 4, 1)], &[]);
}

#[test]
fn what_is_committed_is_an_allocation_of_mprotect() {
    let run = Harness::run(&[beside(Reserved, 0, 4, 1), protect(1, 2, 2), unmap(0, 4)]);
    let sites: Vec<_> = run
        .store
        .sites
        .values()
        .map(|site| (site.allocator, site.alloc_bytes))
        .collect();
    assert_eq!(sites, [(Allocator::Mprotect, 2 * PAGE)]);
    assert_eq!(run.peak(), [(2, 2 * PAGE, 1)]);
    let totals = run.store.mapping_totals[&(1, Reserved)];
    assert_eq!((totals.map_count, totals.live_count), (1, 0));
    assert_eq!(
        (totals.highest_bytes, totals.heap_peak_bytes),
        (4 * PAGE, 2 * PAGE)
    );
}

#[test]
fn the_end_of_the_data_moves_by_bytes() {
    let mut run = Harness::new(ScriptStart::Immediately);
    let start = range(0, 0).0 + 100;
    run.map(TID, Allocator::Brk, (start, 5000), 0, HEAP);
    run.map(TID, Allocator::Brk, (start + 5000, 300), 0, HEAP);
    let source = Harness::source(TID);
    let time = run.tick();
    run.push(&fixture::unmap(source, time, Allocator::Brk, (start + 4900, 400)));
    run.finish();
    let live: Vec<_> = run
        .store
        .live
        .values()
        .map(|row| (row.address, row.size))
        .collect();
    assert_eq!(live, [(start, 4900)]);
    let freed: Vec<_> = run
        .store
        .freed
        .iter()
        .map(|row| (row.allocator, row.size))
        .collect();
    assert_eq!(freed, [(Allocator::Brk, 100), (Allocator::Brk, 300)]);
}

#[test]
fn moved_mappings_keep_their_kind() {
    let enter = Step::MremapEnter {
        tid: TID,
        page: 1,
        pages: 3,
    };
    let leave = Step::MremapReturn {
        tid: TID,
        page: 20,
        pages: 6,
        line: 2,
    };
    for kind in MappingKind::ALL {
        check(
            &[beside(kind, 0, 4, 1), enter, leave],
            &[],
            &[
                (1, kind, 0, 1, true),
                (1, kind, 1, 3, false),
                (2, kind, 20, 6, true),
            ],
        );
    }
}

#[test]
fn what_the_start_up_mapped_is_in_no_figure() {
    let mut run = Harness::new(ScriptStart::File("main.py".to_owned()));
    run.describe(TID, 1, &[(0x1000, "boot", "frozen.py", 1)]);
    run.map(TID, Allocator::Mmap, range(0, 4), 1, flags_of(Reserved));
    run.map(TID, Allocator::Mmap, range(10, 4), 1, flags_of(File));
    run.batch();
    run.describe(TID, 2, &[(0x2000, "<module>", "main.py", 2)]);
    run.map(TID, Allocator::Mmap, range(20, 4), 2, flags_of(Stack));
    run.map(
        TID,
        Allocator::Mprotect,
        range(1, 2),
        2,
        u64::from(libc::PROT_READ.cast_unsigned()),
    );
    run.step(unmap(9, 20));
    run.finish();
    assert_eq!(mappings(&run), [(2, Stack, 20, 4, false)]);
    assert_eq!(run.leaks(), [(2, 2 * PAGE, 1)]);
}

/// The first call of a thread can be `free`, which is not followed to its return.
#[test]
fn the_arena_of_a_thread_that_only_frees_is_left_out() {
    const OTHER: u32 = TID + 1;
    let no_reserve = u64::from(libc::MAP_NORESERVE.cast_unsigned()) << 32;
    let pages = (128 << 20) / PAGE;
    for (tid, pages, flags, has_allocated, is_left_out) in [
        (OTHER, pages, no_reserve, false, true),
        (OTHER, pages, 0, false, true),
        (OTHER, pages / 2, no_reserve, false, true),
        (OTHER, pages + 1, no_reserve, false, false),
        (OTHER, pages, no_reserve, true, false),
        (TID, pages, no_reserve, false, false),
    ] {
        let mut run = Harness::new(ScriptStart::Immediately);
        if has_allocated {
            run.alloc(tid, Allocator::Malloc, 16, 1, 0);
        }
        run.map(
            tid,
            Allocator::Mmap,
            range(0, pages),
            0,
            flags_of(Reserved) | flags,
        );
        run.step(unmap(0, 10));
        run.step(protect(10, 33, 1));
        run.finish();
        let case = format!("{tid} {pages} {flags:#x} {has_allocated}");
        assert_eq!(run.store.mappings.is_empty(), is_left_out, "{case}");
        assert_eq!(run.store.loss("arena_of_free"), u64::from(is_left_out), "{case}");
        let committed = run.store.live.values().any(|row| row.size == 33 * PAGE);
        assert_eq!(committed, !is_left_out, "{case}");
    }
}

#[test]
fn the_timeline_shows_what_is_mapped() {
    let mut run = Harness::new(ScriptStart::Immediately);
    run.step(beside(Reserved, 0, 4, 1));
    run.time_ns = CLOCK_BASE_NS + 25_000_000;
    run.step(protect(0, 1, 2));
    run.step(beside(SharedFile, 10, 2, 1));
    run.finish();
    let rows: Vec<_> = run
        .store
        .timeline
        .values()
        .map(|row| {
            (
                row.ts / 1_000_000,
                row.live_bytes / PAGE,
                row.mapped_reserved_bytes.map(|bytes| bytes / PAGE),
                row.mapped_shared_file_bytes.map(|bytes| bytes / PAGE),
            )
        })
        .collect();
    assert_eq!(rows, [(0, 0, Some(4), Some(0)), (20, 1, Some(3), Some(2))]);
}
