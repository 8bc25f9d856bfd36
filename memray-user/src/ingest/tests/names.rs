//! Stacks, code objects and threads as records describe them, also where some of these are lost or late.

use memray_ebpf::{
    event::{RawFrame, RecordKind, WalkStatus, flags},
    limits::FRAMES_PER_RECORD,
};

use super::harness::{FakeReader, Harness, PID, READABLE_LATER, Step, UNREADABLE_THREAD};
use crate::{
    ingest::{ScriptStart, fixture, fixture::Source},
    model::{Allocator, FrameKind, ProcessRow},
};

const OTHER: u32 = 101;

fn harness() -> Harness {
    Harness::new(ScriptStart::Immediately)
}

/// Functions of the stack of the only site, outermost first, with their lines.
fn only_stack(run: &Harness) -> Vec<(String, u32)> {
    let sites: Vec<_> = run.store.sites.values().collect();
    let [site] = sites[..] else { panic!("{sites:?}") };
    let mut stack = Vec::new();
    let mut next = Some(site.stack_id);
    while let Some(stack_id) = next {
        let row = run.store.stacks[&stack_id];
        let frame = &run.store.frames[&row.frame_id];
        stack.insert(0, (frame.function.clone(), frame.line));
        next = row.parent_id;
    }
    stack
}

/// Sends frames and the end of a stack, and an allocation with it.
fn walk(run: &mut Harness, tid: u32, frames: &[RawFrame], status: WalkStatus) {
    let (time, source) = (run.tick(), Harness::source(tid));
    run.push(&fixture::stack_frames(source, time, 7, 0, frames));
    let count = u32::try_from(frames.len()).unwrap();
    run.push(&fixture::stack_end(source, time, 7, count, status));
    run.alloc(tid, Allocator::Malloc, 1, 10, 7);
}

fn code(run: &mut Harness, tid: u32, code: u64, line_table_bytes: u64, function: &str) {
    let time = run.tick();
    run.push(&fixture::code(
        Harness::source(tid),
        time,
        code,
        1,
        line_table_bytes,
        (function, "main.py"),
    ));
}

#[test]
fn stacks_are_outermost_first_without_shims() {
    for (status, outermost) in [
        (WalkStatus::Complete, None),
        (WalkStatus::Truncated, Some("<outer frames cut>")),
        (WalkStatus::Fault, Some("<unreadable frames>")),
    ] {
        let mut run = harness();
        code(&mut run, PID, 0x10, 0, "inner");
        code(&mut run, PID, 0x20, 0, "outer");
        let frames = [
            fixture::frame(0x10, 0, 5),
            fixture::frame(0x30, 3, 0),
            fixture::frame(0x20, 1, 9),
        ];
        walk(&mut run, PID, &frames, status);
        run.finish();
        let mut expect: Vec<_> = outermost.map(|name| (name.to_owned(), 0)).into_iter().collect();
        expect.extend([("outer".to_owned(), 9), ("inner".to_owned(), 5)]);
        assert_eq!(only_stack(&run), expect);
        let markers = run
            .store
            .frames
            .values()
            .filter(|frame| frame.kind == FrameKind::Marker)
            .count();
        assert_eq!(markers, usize::from(outermost.is_some()));
    }
}

#[test]
fn where_no_frames_are_a_marker_says_why() {
    let check = |act: &dyn Fn(&mut Harness), name: &str, loss: &str| {
        let mut run = harness();
        act(&mut run);
        run.finish();
        assert_eq!(only_stack(&run), [(name.to_owned(), 0)]);
        assert!(loss.is_empty() || run.store.loss(loss) == 1, "{name} {loss}");
    };
    let shim = fixture::frame(0x10, 3, 5);
    check(
        &|run| run.alloc(PID, Allocator::Malloc, 1, 10, 0),
        "<no Python frames>",
        "",
    );
    check(
        &|run| walk(run, PID, &[], WalkStatus::Complete),
        "<no Python frames>",
        "",
    );
    check(
        &|run| walk(run, PID, &[shim], WalkStatus::Complete),
        "<no Python frames>",
        "",
    );
    check(
        &|run| walk(run, PID, &[], WalkStatus::Fault),
        "<unreadable frames>",
        "",
    );
    check(
        &|run| run.alloc(PID, Allocator::Malloc, 1, 10, 9),
        "<stack lost>",
        "stack_unknown",
    );
    let lost = |run: &mut Harness| {
        let rest = [1, 10, 0];
        let allocator = Allocator::Malloc as u8;
        let source = Harness::source(PID);
        run.push(&fixture::words(
            RecordKind::Allocation,
            allocator,
            flags::STACK_LOST,
            source,
            1,
            &rest,
        ));
    };
    check(&lost, "<stack lost>", "");
    let frame = fixture::frame(0x10, 0, 5);
    let source = Harness::source(PID);
    for parts in [
        vec![],
        vec![(7, 1)],
        vec![(7, 0), (7, 2)],
        vec![(7, 0), (8, 1)],
        vec![(8, 0), (8, 1)],
        vec![(7, 0), (7, 1), (7, 2)],
    ] {
        let act = |run: &mut Harness| {
            for &(stack_id, first) in &parts {
                run.push(&fixture::stack_frames(source, 1, stack_id, first, &[frame]));
            }
            run.push(&fixture::stack_end(source, 1, 7, 2, WalkStatus::Complete));
            run.alloc(PID, Allocator::Malloc, 1, 10, 7);
        };
        check(&act, "<stack lost>", "stack_incomplete");
    }
}

#[test]
fn deep_stacks_of_two_threads_can_be_sent_at_once() {
    let mut run = harness();
    code(&mut run, PID, 0x10, 0, "deep");
    let frames: Vec<_> = (0..300).map(|line| fixture::frame(0x10, 0, line)).collect();
    for (first, chunk) in (0..)
        .step_by(FRAMES_PER_RECORD)
        .zip(frames.chunks(FRAMES_PER_RECORD))
    {
        for (tid, stack_id) in [(PID, 7), (OTHER, 8)] {
            run.push(&fixture::stack_frames(
                Harness::source(tid),
                1,
                stack_id,
                first,
                chunk,
            ));
        }
    }
    for (tid, stack_id) in [(PID, 7), (OTHER, 8)] {
        run.push(&fixture::stack_end(
            Harness::source(tid),
            1,
            stack_id,
            300,
            WalkStatus::Complete,
        ));
        run.alloc(tid, Allocator::Malloc, stack_id, 10, stack_id);
    }
    run.finish();
    assert_eq!(run.store.stacks.len(), 300);
    let mut stacks = run.store.sites.values().map(|site| site.stack_id);
    assert_eq!(
        (stacks.next(), stacks.next(), stacks.next()),
        (Some(300), Some(300), None)
    );
    let lines: Vec<_> = run
        .store
        .stacks
        .values()
        .map(|row| run.store.frames[&row.frame_id].line)
        .collect();
    assert!(
        lines.iter().copied().eq((0..300).rev()),
        "outermost first: {lines:?}"
    );
}

#[test]
fn a_code_object_can_be_described_after_the_stack_of_another_thread() {
    let mut run = harness();
    walk(
        &mut run,
        OTHER,
        &[fixture::frame(0x10, 0, 5)],
        WalkStatus::Complete,
    );
    code(&mut run, PID, 0x10, 0, "late");
    run.finish();
    assert_eq!(
        (only_stack(&run), run.store.loss("code_unknown")),
        (vec![("late".to_owned(), 5)], 0)
    );

    let mut run = harness();
    walk(
        &mut run,
        OTHER,
        &[fixture::frame(0x10, 0, 5)],
        WalkStatus::Complete,
    );
    run.batch();
    code(&mut run, PID, 0x10, 0, "too late");
    run.finish();
    let expect = vec![("<unknown function>".to_owned(), 0)];
    assert_eq!((only_stack(&run), run.store.loss("code_unknown")), (expect, 1));
}

/// Parts of a line table of ten bytes, then a walk to instruction 9 by `tid`; the rest of the parts after it.
fn check_line(parts: &[(u32, &[u8])], tid: u32, after: &[(u32, &[u8])], expect: u32) {
    let mut run = harness();
    code(&mut run, PID, 0x10, 10, "work");
    let send = |run: &mut Harness, parts: &[(u32, &[u8])]| {
        for &(offset, data) in parts {
            run.push(&fixture::line_table(Harness::source(PID), 1, 0x10, offset, data));
        }
    };
    send(&mut run, parts);
    walk(&mut run, tid, &[fixture::frame(0x10, 0, 9)], WalkStatus::Complete);
    send(&mut run, after);
    run.finish();
    assert_eq!(
        only_stack(&run),
        [("work".to_owned(), expect)],
        "{parts:?} {tid} {after:?}"
    );
}

#[test]
fn line_tables_come_in_parts() {
    // What the process itself holds ends in b'9'; the records end in b'j'.
    let first: (u32, &[u8]) = (0, b"abcdef");
    let second: (u32, &[u8]) = (6, b"ghij");
    check_line(&[first, second], PID, &[], u32::from(b'j'));
    check_line(&[first], PID, &[], u32::from(b'9'));
    check_line(&[second], PID, &[], u32::from(b'9'));
    check_line(&[], PID, &[], u32::from(b'9'));
    check_line(&[first], OTHER, &[second], u32::from(b'j'));
    check_line(&[first], OTHER, &[], u32::from(b'9'));
    check_line(&[first, second, (10, b"more")], PID, &[], u32::from(b'j'));
    check_line(&[(0, b"abcdefghijklmn")], PID, &[], u32::from(b'j'));
}

#[test]
fn a_line_table_that_cannot_be_completed_is_counted() {
    let mut run = harness();
    code(&mut run, PID, 0x10, 1 << 60, "work");
    walk(&mut run, PID, &[fixture::frame(0x10, 0, 9)], WalkStatus::Complete);
    run.finish();
    assert_eq!(only_stack(&run), [("work".to_owned(), 0)]);
    assert_eq!(run.store.loss("line_table_incomplete"), 1);
}

#[test]
fn line_tables_have_a_bound_in_all() {
    let mut run = harness();
    let table: Vec<u8> = std::iter::repeat_n(b'x', 16 << 20).collect();
    let row = ProcessRow {
        pid: 200,
        ..ProcessRow::default()
    };
    run.ingest
        .add_process(row, Box::new(FakeReader { line_table: table }));
    let source = Source { pid: 200, tid: 200 };
    // Counters that have changed once the table of the code object was asked for.
    let losses = |run: &mut Harness, address| {
        run.push(&fixture::code(
            source,
            1,
            address,
            1,
            16 << 20,
            ("work", "main.py"),
        ));
        run.push(&fixture::stack_frames(
            source,
            1,
            address,
            0,
            &[fixture::frame(address, 0, 9)],
        ));
        run.push(&fixture::stack_end(source, 1, address, 1, WalkStatus::Complete));
        run.ingest.take_batch(0).losses.len()
    };
    for address in 1..=16 {
        assert_eq!(losses(&mut run, address), 0, "{address}: 16 tables of 16 MiB fit");
    }
    assert_eq!(losses(&mut run, 17), 1);
    assert_eq!(losses(&mut run, 16), 0, "what is replaced makes room");
    run.push(&fixture::code_freed(source, 1, 1));
    assert_eq!(losses(&mut run, 18), 0, "what has died makes room");
    assert_eq!(losses(&mut run, 19), 1);
}

#[test]
fn an_address_can_come_back_as_another_code_object() {
    let mut run = harness();
    run.describe(PID, 1, &[(0x10, "first", "main.py", 3)]);
    run.alloc(PID, Allocator::Malloc, 1, 10, 1);
    let time = run.tick();
    run.push(&fixture::code_freed(Harness::source(PID), time, 0x10));
    run.describe(PID, 1, &[(0x10, "second", "main.py", 3)]);
    run.alloc(PID, Allocator::Malloc, 2, 10, 1);
    run.finish();
    let functions: Vec<_> = run
        .store
        .sites
        .values()
        .flat_map(|site| run.functions(site.stack_id))
        .collect();
    assert_eq!(functions, ["first", "second"]);
}

#[test]
fn names_that_are_cut_say_so() {
    let mut run = harness();
    run.describe(PID, 1, &[(0x10, "long name", "main.py", 3)]);
    run.alloc(PID, Allocator::Malloc, 1, 10, 1);
    run.finish();
    assert_eq!(only_stack(&run), [("long name…<cut>".to_owned(), 3)]);
    assert_eq!(run.store.loss("name_incomplete"), 1);
}

#[test]
fn stacks_that_nothing_names_have_no_rows() {
    let mut run = harness();
    run.describe(PID, 1, &[(0x10, "unused", "main.py", 3)]);
    run.describe(PID, 2, &[(0x10, "used", "main.py", 3)]);
    run.alloc(PID, Allocator::Malloc, 1, 10, 2);
    run.finish();
    assert_eq!((run.store.stacks.len(), run.store.frames.len()), (1, 1));
}

/// Names of all threads in order of number, each with the kernel's id.
fn threads(run: &Harness) -> Vec<(u32, &str)> {
    run.store
        .threads
        .values()
        .map(|row| (row.tid, row.name.as_str()))
        .collect()
}

#[test]
fn a_thread_id_lives_more_than_once() {
    let mut run = harness();
    let (seen, exit) = (RecordKind::ThreadSeen, RecordKind::ThreadExit);
    let (main, other) = (Harness::source(PID), Harness::source(OTHER));
    run.push(&fixture::thread(seen, main, 1, 0, "python3"));
    run.push(&fixture::thread(seen, other, 1, 0, "python3"));
    // Seen again at its first Python frame.
    run.push(&fixture::thread(seen, other, 1, 5, "python3"));
    run.alloc(OTHER, Allocator::Malloc, 1, 10, 0);
    run.push(&fixture::thread(exit, other, 1, 0, "python3"));
    run.push(&fixture::thread(seen, other, 1, 6, "python3"));
    run.alloc(OTHER, Allocator::Malloc, 2, 10, 0);
    run.batch();
    assert_eq!(
        threads(&run),
        [(PID, "MainThread"), (OTHER, "Thread-5"), (OTHER, "Thread-6")]
    );
    run.ingest.rename(1, OTHER, b"fetcher\0");
    run.ingest.rename(1, 999, b"nobody");
    run.ingest.rename(77, OTHER, b"nobody");
    run.finish();
    assert_eq!(
        threads(&run),
        [(PID, "MainThread"), (OTHER, "Thread-5"), (OTHER, "fetcher")]
    );
    assert_eq!(
        (run.store.sites.len(), run.store.loss("thread_unannounced")),
        (2, 0)
    );
}

#[test]
fn a_thread_that_was_never_announced_has_a_row() {
    let run = Harness::run(&[
        Step::Alloc {
            tid: PID,
            address: 1,
            size: 1,
            line: 1,
        },
        Step::Alloc {
            tid: OTHER,
            address: 2,
            size: 1,
            line: 1,
        },
    ]);
    assert_eq!(threads(&run), [(PID, "MainThread"), (OTHER, "")]);
    assert_eq!(run.store.loss("thread_unannounced"), 2);
}

#[test]
fn names_that_were_missed_are_looked_for_again_or_counted() {
    let mut run = harness();
    let (seen, exit) = (RecordKind::ThreadSeen, RecordKind::ThreadExit);
    let other = Harness::source(OTHER);
    for read_at_exit in [0, 5] {
        run.push(&fixture::thread(seen, other, 1, UNREADABLE_THREAD, "worker"));
        run.alloc(OTHER, Allocator::Malloc, 1 + read_at_exit, 10, 0);
        run.push(&fixture::thread(exit, other, 1, read_at_exit, "worker"));
    }
    run.push(&fixture::thread(seen, other, 1, UNREADABLE_THREAD, "worker"));
    run.alloc(OTHER, Allocator::Malloc, 20, 10, 0);
    let third = Harness::source(102);
    run.push(&fixture::thread(seen, third, 1, READABLE_LATER, "worker"));
    run.alloc(102, Allocator::Malloc, 30, 10, 0);
    run.batch();
    let names: Vec<&str> = threads(&run).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["worker", "Thread-5", "worker", "read later"]);
    run.finish();
    assert_eq!(
        run.store.loss("thread_name_unknown"),
        2,
        "one that ended and one that lives"
    );
}
