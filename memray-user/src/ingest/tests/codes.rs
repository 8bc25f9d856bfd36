//! Code objects whose addresses come back as others: no event is shown under the name of another, whatever records are
//! lost.

use std::collections::BTreeMap;

use memray_ebpf::event::{RawFrame, RecordKind, WalkStatus, flags};
use proptest::prelude::*;

use super::harness::{Harness, PID};
use crate::{
    ingest::{ScriptStart, fixture},
    model::Allocator,
};

const OTHER: u32 = 101;
/// Where code objects come and go.
const CODE: u64 = 0x10;
const FIRST: u64 = 20;
const SECOND: u64 = 40;

fn harness() -> Harness {
    Harness::new(ScriptStart::Immediately)
}

/// Marks a record as of what the programs do not remember.
fn not_remembered(mut words: Vec<u64>) -> Vec<u64> {
    words[0] |= u64::from(flags::NOT_REMEMBERED) << 16;
    words
}

fn code(tid: u32, serial: u64, name: &str) -> Vec<u64> {
    code_at(tid, (CODE, serial), 0, name)
}

fn code_at(tid: u32, code: (u64, u64), line_table_bytes: u64, name: &str) -> Vec<u64> {
    fixture::code_with(
        Harness::source(tid),
        1,
        code,
        1,
        line_table_bytes,
        (name, "main.py"),
    )
}

fn frame(serial: u64, instruction: u64) -> RawFrame {
    RawFrame::new(CODE, 0, instruction).with_serial(serial)
}

fn freed(tid: u32) -> Vec<u64> {
    fixture::code_freed(Harness::source(tid), 1, CODE)
}

/// A stack of one frame.
fn stack(run: &mut Harness, tid: u32, stack_id: u64, frame: RawFrame) {
    let source = Harness::source(tid);
    run.push(&fixture::stack_frames(source, 1, stack_id, 0, &[frame]));
    run.push(&fixture::stack_end(source, 1, stack_id, 1, WalkStatus::Complete));
}

/// The same and an allocation of this size with it.
fn walk(run: &mut Harness, tid: u32, size: u64, frame: RawFrame) {
    stack(run, tid, size, frame);
    run.alloc(tid, Allocator::Malloc, size, size, size);
}

/// By size: function and line of the innermost frame.
fn shown(run: &Harness) -> BTreeMap<u64, String> {
    let text = |stack_id| {
        let row = &run.store.frames[&run.store.stacks[&stack_id].frame_id];
        format!("{} {}", row.function, row.line)
    };
    let rows = run.store.live.values();
    rows.map(|row| (row.size, text(row.stack_id))).collect()
}

fn check(run: &mut Harness, expected: &[(u64, &str)]) {
    run.finish();
    let expected: BTreeMap<u64, String> = expected
        .iter()
        .map(|&(size, text)| (size, text.to_owned()))
        .collect();
    assert_eq!(shown(run), expected);
}

#[test]
fn a_death_that_was_lost_gives_no_name_to_the_next() {
    let mut run = harness();
    run.push(&code(PID, FIRST, "first"));
    walk(&mut run, PID, 1, frame(FIRST, 5));
    // The programs could not send the second's names, or these were lost on the way.
    walk(&mut run, PID, 2, frame(0, 5));
    walk(&mut run, OTHER, 3, frame(SECOND, 5));
    run.batch();
    run.push(&code(PID, SECOND, "second"));
    walk(&mut run, PID, 4, frame(SECOND, 5));
    check(
        &mut run,
        &[
            (1, "first 5"),
            (2, "<unknown function> 0"),
            (3, "<unknown function> 0"),
            (4, "second 5"),
        ],
    );
    assert_eq!(run.store.loss("code_unknown"), 2);
}

#[test]
fn a_frame_that_waits_has_its_name_when_the_code_object_dies() {
    for death in [true, false] {
        let mut run = harness();
        // The line table is still on its way.
        run.push(&code_at(PID, (CODE, FIRST), 10, "first"));
        walk(&mut run, OTHER, 1, frame(FIRST, 5));
        run.push(&fixture::line_table(
            Harness::source(PID),
            1,
            CODE,
            0,
            b"abcdefghij",
        ));
        if death {
            run.push(&freed(PID));
        }
        run.push(&code(PID, SECOND, "second"));
        walk(&mut run, PID, 2, frame(SECOND, 5));
        check(&mut run, &[(1, "first 102"), (2, "second 5")]);
        assert_eq!(run.store.loss("code_unknown"), 0, "{death}");
    }
}

#[test]
fn two_threads_can_describe_one_code_object() {
    let mut run = harness();
    let part = |tid, offset, data: &[u8]| fixture::line_table(Harness::source(tid), 1, CODE, offset, data);
    run.push(&code_at(PID, (CODE, FIRST), 10, "work"));
    run.push(&part(PID, 0, b"abcdef"));
    run.push(&code_at(OTHER, (CODE, FIRST), 10, "work"));
    run.push(&part(OTHER, 0, b"abcdef"));
    run.push(&part(OTHER, 6, b"ghij"));
    walk(&mut run, OTHER, 1, frame(FIRST, 9));
    run.push(&part(PID, 6, b"ghij"));
    walk(&mut run, PID, 2, frame(FIRST, 0));
    check(&mut run, &[(1, "work 106"), (2, "work 97")]);
}

#[test]
fn what_the_programs_do_not_remember_is_good_for_one_stack() {
    let mut run = harness();
    let pass = |tid, serial, name| not_remembered(code_at(tid, (CODE, serial), 10, name));
    let part = |tid, data: &[u8]| fixture::line_table(Harness::source(tid), 1, CODE, 0, data);
    // A frame that is there twice; another thread has its own words for it.
    run.push(&pass(PID, FIRST, "first"));
    run.push(&part(PID, b"abcdefghij"));
    run.push(&pass(PID, FIRST + 2, "first"));
    run.push(&pass(OTHER, SECOND, "first"));
    run.push(&part(PID, b"ABCDEFGHIJ"));
    run.push(&part(OTHER, b"klmnopqrst"));
    walk(&mut run, OTHER, 1, frame(SECOND, 0));
    let source = Harness::source(PID);
    let frames = [frame(FIRST, 0), frame(FIRST + 2, 0)];
    run.push(&fixture::stack_frames(source, 1, 2, 0, &frames));
    run.push(&fixture::stack_end(source, 1, 2, 2, WalkStatus::Complete));
    run.alloc(PID, Allocator::Malloc, 2, 2, 2);
    for (size, tid, serial) in [(3, PID, FIRST), (4, OTHER, SECOND)] {
        walk(&mut run, tid, size, frame(serial, 0));
    }
    // One that is remembered is not touched by that.
    run.push(&code(OTHER, 60, "second"));
    stack(&mut run, PID, 9, frame(FIRST, 5));
    walk(&mut run, OTHER, 5, frame(60, 5));
    check(
        &mut run,
        &[
            (1, "first 107"),
            (2, "first 97"),
            (3, "<unknown function> 0"),
            (4, "<unknown function> 0"),
            (5, "second 5"),
        ],
    );
    let row = run.store.live.values().find(|row| row.size == 2).unwrap();
    assert_eq!(run.functions(row.stack_id), ["first", "first"]);
}

#[test]
fn a_stack_that_the_programs_do_not_remember_is_its_threads_last() {
    let mut run = harness();
    run.push(&code(PID, FIRST, "work"));
    let send = |run: &mut Harness, stack_id| {
        let source = Harness::source(PID);
        run.push(&fixture::stack_frames(
            source,
            1,
            stack_id,
            0,
            &[frame(FIRST, stack_id)],
        ));
        run.push(&not_remembered(fixture::stack_end(
            source,
            1,
            stack_id,
            1,
            WalkStatus::Complete,
        )));
    };
    send(&mut run, 1);
    run.alloc(OTHER, Allocator::Malloc, 1, 1, 1);
    run.alloc(PID, Allocator::Malloc, 2, 2, 1);
    for stack_id in 2..1000 {
        send(&mut run, stack_id);
    }
    assert_eq!(run.ingest.processes[0].stacks.count(), 1);
    run.alloc(PID, Allocator::Malloc, 3, 3, 1);
    run.alloc(PID, Allocator::Malloc, 4, 4, 999);
    check(
        &mut run,
        &[
            (1, "<stack lost> 0"),
            (2, "work 1"),
            (3, "<stack lost> 0"),
            (4, "work 999"),
        ],
    );
    assert_eq!(run.store.loss("stack_unknown"), 2);
}

#[test]
fn stacks_that_the_programs_forget_are_kept_as_long_as_an_event_can_name_them() {
    let mut run = harness();
    run.push(&code(PID, FIRST, "work"));
    for stack_id in 1..=100 {
        stack(&mut run, PID, stack_id, frame(FIRST, stack_id));
    }
    run.ingest.retire_stacks(PID, (1..=99).collect(), run.time_ns);
    let later = |run: &mut Harness, ns, stack_id| {
        run.time_ns += ns;
        let (time, source) = (run.tick(), Harness::source(PID));
        run.push(&fixture::stack_frames(
            source,
            time,
            stack_id,
            0,
            &[frame(FIRST, stack_id)],
        ));
        run.push(&fixture::stack_end(
            source,
            time,
            stack_id,
            1,
            WalkStatus::Complete,
        ));
        run.ingest.processes[0].stacks.count()
    };
    assert_eq!(later(&mut run, 9_000_000_000, 101), 101);
    run.alloc(PID, Allocator::Malloc, 1, 1, 50);
    assert_eq!(later(&mut run, 2_000_000_000, 102), 3);
    run.alloc(PID, Allocator::Malloc, 2, 2, 50);
    run.alloc(PID, Allocator::Malloc, 3, 3, 100);
    check(
        &mut run,
        &[(1, "work 50"), (2, "<stack lost> 0"), (3, "work 100")],
    );
}

/// Where the programs stand, as far as they decide on names: `programs/codes.rs` and `programs/stacks.rs` in short.
#[derive(Default)]
struct Programs {
    serials: u64,
    known: BTreeMap<u64, u64>,
    epoch: u64,
    stacks: BTreeMap<(u64, u64), u64>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// A thread allocates in the code object at an address.
    Run {
        tid: u32,
        code: u64,
    },
    /// The code object dies, another comes.
    Replace {
        code: u64,
    },
    Batch,
}

/// What finds the ring full.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is lost or not, in every mixture"
)]
struct Lost {
    code: bool,
    death: bool,
    frames: bool,
    end: bool,
    /// The table of code objects is full.
    room: bool,
}

fn replay(acts: &[(Act, Lost)]) {
    let mut run = harness();
    let mut programs = Programs::default();
    let mut generations: BTreeMap<u64, u64> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for (size, &(act, lost)) in (1..).zip(acts) {
        match act {
            Act::Batch => run.batch(),
            Act::Replace { code } => {
                *generations.entry(code).or_default() += 1;
                if programs.known.remove(&code).is_some() {
                    programs.epoch += 1;
                    if !lost.death {
                        run.push(&fixture::code_freed(Harness::source(PID), 1, code));
                    }
                }
            }
            Act::Run { tid, code } => {
                let name = format!("{code}_{}", generations.entry(code).or_default());
                let stack_id = programs.stack_id(&mut run, tid, code, &name, lost);
                match stack_id {
                    Some(stack_id) => run.alloc(tid, Allocator::Malloc, size, size, stack_id),
                    None => run.push(&fixture::words(
                        RecordKind::Allocation,
                        Allocator::Malloc as u8,
                        flags::STACK_LOST,
                        Harness::source(tid),
                        1,
                        &[size, size, 0],
                    )),
                }
                expected.insert(size, name);
            }
        }
    }
    run.finish();
    let shown = shown(&run);
    assert_eq!(shown.len(), expected.len());
    let nothing_lost = acts
        .iter()
        .all(|(_, lost)| !lost.code && !lost.death && !lost.frames && !lost.end);
    for (size, name) in expected {
        let text = &shown[&size];
        let is_marked = text.starts_with('<');
        assert!(
            *text == format!("{name} 5") || is_marked && !nothing_lost,
            "{size}: {text}, not {name}"
        );
    }
}

impl Programs {
    fn stack_id(&mut self, run: &mut Harness, tid: u32, code: u64, name: &str, lost: Lost) -> Option<u64> {
        if let Some(stack_id) = self.stacks.get(&(code, self.epoch)) {
            return Some(*stack_id);
        }
        let mut is_unsure = false;
        let serial = if let Some(serial) = self.known.get(&code) {
            *serial
        } else {
            self.serials += 2;
            let words = code_at(tid, (code, self.serials), 0, name);
            let has_room = !lost.room;
            is_unsure = lost.code || !has_room;
            if !lost.code {
                run.push(&if has_room { words } else { not_remembered(words) });
            }
            if !is_unsure {
                self.known.insert(code, self.serials);
            }
            if lost.code { 0 } else { self.serials }
        };
        let stack_id =
            self.serials << 32 | self.epoch << 16 | u64::try_from(self.stacks.len()).unwrap() << 8 | code;
        let source = Harness::source(tid);
        let frame = RawFrame::new(code, 0, 5).with_serial(serial);
        if lost.frames {
            return None;
        }
        run.push(&fixture::stack_frames(source, 1, stack_id, 0, &[frame]));
        if lost.end {
            return None;
        }
        let end = fixture::stack_end(source, 1, stack_id, 1, WalkStatus::Complete);
        if is_unsure {
            run.push(&not_remembered(end));
        } else {
            run.push(&end);
            self.stacks.insert((code, self.epoch), stack_id);
        }
        Some(stack_id)
    }
}

fn acts() -> impl Strategy<Value = Vec<(Act, Lost)>> {
    let act = prop_oneof![
        6 => (PID..=OTHER, 1..4_u64).prop_map(|(tid, code)| Act::Run { tid, code }),
        3 => (1..4_u64).prop_map(|code| Act::Replace { code }),
        1 => Just(Act::Batch),
    ];
    let lost =
        prop::array::uniform5(prop::bool::weighted(0.2)).prop_map(|[code, death, frames, end, room]| Lost {
            code,
            death,
            frames,
            end,
            room,
        });
    prop::collection::vec((act, lost), 1..60)
}

proptest! {
    #[test]
    fn no_order_of_records_and_losses_makes_a_wrong_name(acts in acts()) {
        replay(&acts);
    }

    #[test]
    fn where_nothing_is_lost_every_name_is_there(acts in acts()) {
        let none = Lost { code: false, death: false, frames: false, end: false, room: false };
        let acts: Vec<_> = acts.into_iter().map(|(act, lost)| (act, Lost { room: lost.room, ..none })).collect();
        replay(&acts);
    }
}
