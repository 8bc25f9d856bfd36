//! What the interpreter does before it runs the program is tracked and counted apart.

use super::harness::{CLOCK_BASE_NS, Harness, PID, Step};
use crate::{
    ingest::{ScriptStart, fixture},
    model::{Allocator, ProcessRow},
};

const SITE: (u64, &str, &str, u64) = (0x10, "<module>", "<frozen site>", 1);
const MAIN: (u64, &str, &str, u64) = (0x20, "<module>", "/home/me/main.py", 2);
const WORK: (u64, &str, &str, u64) = (0x30, "work", "/home/me/main.py", 3);

/// Two blocks and a mapping of the start-up.
fn start_up() -> Harness {
    let mut run = Harness::new(ScriptStart::File("main.py".to_owned()));
    run.describe(PID, 1, &[SITE]);
    run.alloc(PID, Allocator::Malloc, 1, 100, 1);
    run.alloc(PID, Allocator::Malloc, 2, 200, 1);
    run.step(Step::Map {
        tid: PID,
        page: 0,
        pages: 4,
        line: 90,
    });
    run
}

#[test]
fn start_up_is_in_no_figure_but_its_own() {
    let mut run = start_up();
    run.step(Step::Free { tid: PID, address: 1 });
    run.finish();
    assert!(run.store.sites.is_empty() && run.store.freed.is_empty() && run.store.stacks.is_empty());
    assert!(run.store.timeline.is_empty() && run.store.histogram.is_empty() && run.store.live.is_empty());
    let state = run.store.states[&1];
    assert_eq!((state.startup_count, state.startup_bytes), (3, 300 + 4 * 4096));
    assert_eq!((state.alloc_count, state.peak_bytes, state.max_size), (0, 0, 0));
    assert_eq!(run.store.processes[&1].script_started_ns, None);
    assert_eq!(run.store.loss("free_of_unknown"), 0);
}

#[test]
fn the_first_event_of_the_program_counts_and_all_after_it() {
    let mut run = start_up();
    run.describe(PID, 2, &[WORK, MAIN]);
    assert_eq!(run.ingest.script_started_ns(1), None);
    run.alloc(PID, Allocator::Malloc, 3, 50, 2);
    let started = run.time_ns - CLOCK_BASE_NS;
    // Outside Python, in no frame of the script: counts as well, because the program runs.
    run.alloc(PID, Allocator::Malloc, 4, 7, 0);
    run.step(Step::Free { tid: PID, address: 1 });
    run.finish();
    assert_eq!(run.store.processes[&1].script_started_ns, Some(started));
    let state = run.store.states[&1];
    assert_eq!(
        (
            state.alloc_count,
            state.alloc_bytes,
            state.live_bytes,
            state.free_count
        ),
        (2, 57, 57, 0)
    );
    assert_eq!(
        (
            state.startup_count,
            run.store.freed.len(),
            run.store.loss("free_of_unknown")
        ),
        (3, 0, 0)
    );
}

/// The stack of the program's first event ends before its code object is described, if it ever is.
#[test]
fn a_late_code_object_is_not_mistaken() {
    use memray_ebpf::event::WalkStatus;
    for (described, counts) in [(Some(MAIN), true), (Some(SITE), false), (None, true)] {
        let mut run = start_up();
        let (time, source) = (run.tick(), Harness::source(PID));
        run.push(&fixture::stack_frames(
            source,
            time,
            5,
            0,
            &[fixture::frame(0x77, 0, 2)],
        ));
        run.push(&fixture::stack_end(source, time, 5, 1, WalkStatus::Complete));
        if let Some((_, function, file, _)) = described {
            run.push(&fixture::code(source, time, 0x77, 1, 0, (function, file)));
        }
        run.alloc(PID, Allocator::Malloc, 3, 50, 5);
        run.finish();
        assert_eq!(run.ingest.script_started_ns(1).is_some(), counts, "{described:?}");
        assert_eq!(
            run.store.states[&1].alloc_count,
            u64::from(counts),
            "{described:?}"
        );
    }
}

#[test]
fn what_start_up_left_is_ended_in_silence() {
    let mut run = start_up();
    run.describe(PID, 2, &[MAIN]);
    run.alloc(PID, Allocator::Malloc, 1, 50, 2);
    run.step(Step::ReallocEnter { tid: PID, address: 2 });
    run.alloc(PID, Allocator::Realloc, 5, 60, 2);
    run.step(Step::Unmap {
        tid: PID,
        page: 1,
        pages: 1,
    });
    run.step(Step::MremapEnter {
        tid: PID,
        page: 2,
        pages: 2,
    });
    run.step(Step::MremapReturn {
        tid: PID,
        page: 20,
        pages: 3,
        line: 91,
    });
    run.finish();
    let state = run.store.states[&1];
    assert_eq!(
        (state.alloc_count, state.live_bytes, state.free_count),
        (3, 110 + 3 * 4096, 0)
    );
    assert_eq!((run.store.loss("implicit_free"), run.store.freed.len()), (0, 0));
}

#[test]
fn only_the_first_process_with_python_has_a_start_up() {
    let mut run = Harness::new(ScriptStart::CommandString);
    let (python, none) = ("3.12.1".to_owned(), String::new());
    for (pid, python_version, parent_process_id, counts) in [
        (200, python.clone(), None, false),
        (201, none, None, true),
        // What became Python by exec is the program that was asked for, not one that it started.
        (201, python.clone(), Some(3), false),
        (202, python, Some(1), true),
    ] {
        let row = ProcessRow {
            pid,
            parent_process_id,
            python_version,
            ..ProcessRow::default()
        };
        let reader = Box::new(super::harness::FakeReader {
            line_table: Vec::new(),
        });
        let process_id = run.ingest.add_process(row, reader);
        run.alloc_of(pid, 1, 10);
        run.batch();
        assert_eq!(
            run.store.states[&process_id].alloc_count,
            u64::from(counts),
            "{pid}"
        );
    }
}
