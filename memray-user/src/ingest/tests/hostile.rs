//! Streams of records that no kernel sends: valid ones in any order, from processes and threads that come and go, and
//! the same with their bytes changed. Whatever comes, the store's promises hold, each event is recorded or counted as
//! lost, and memory is bounded.

use std::{ops::Range, time::Duration};

use memray_ebpf::{
    config::FrameOffsets,
    event::{RawFrame, RawString, RecordKind, ThreadRecord, WalkStatus},
    memory::{Fault, RemoteMemory},
    stat::StatId,
};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::{harness::CLOCK_BASE_NS, store::Store};
use crate::{
    cpython::{PyVersion, linetable, offsets, strings},
    ingest::{
        CodeId, CodeObject, CodeReader, DecodedString, Ingest, IngestOptions, ScriptStart, ThreadName,
        decode::{DecodeError, decode},
        fixture,
        fixture::Source,
    },
    model::{Allocator, ProcessRow, Resident},
    tests::hostile::{
        Bounds,
        bytes::{Mutation, hostile_number, mutated, mutations},
        fuzz_test,
        names::ATTACKS,
    },
};

const BOUNDS: Bounds = Bounds {
    // A line table of 16 MiB is read to be used once.
    memory_bytes: 64 << 20,
    time: Duration::from_secs(30),
};

/// Memory of a process that has gone.
struct Nowhere;

impl RemoteMemory for Nowhere {
    fn read_into(&self, _address: u64, _destination: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }
}

/// The real decoders, as the session asks them.
#[derive(Debug)]
struct Reader(PyVersion);

impl CodeReader for Reader {
    fn string(&self, raw: &RawString, _: CodeId) -> DecodedString {
        let offsets = offsets::of_version(PyVersion::new(3, 12, 1)).unwrap().code;
        let strings::DecodedString { text, complete } = strings::decode(raw, &Nowhere, &offsets, || true);
        DecodedString { text, complete }
    }

    fn line(&self, code: &CodeObject, frame: RawFrame) -> u32 {
        let offset = linetable::instruction_offset(self.0, code.id.address, frame.instruction);
        let marks = linetable::marks(self.0, &code.line_table, code.first_line);
        let line = linetable::line(
            self.0,
            &code.line_table,
            code.first_line,
            &marks,
            offset.unwrap_or(0),
        );
        line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
    }

    fn is_python_frame(&self, frame: RawFrame) -> bool {
        frame.owner() < FrameOffsets::FIRST_SHIM_OWNER
    }

    fn thread_name(&self, record: &ThreadRecord) -> ThreadName {
        match record.thread_state % 3 {
            0 => ThreadName::None,
            1 => ThreadName::Unknown,
            _ => ThreadName::Known("</script>\u{1b}".to_owned()),
        }
    }

    fn line_table_rest(&self, _: &CodeObject, missing: Range<u64>) -> Option<Vec<u8>> {
        let length = usize::try_from(missing.end - missing.start).unwrap();
        missing.start.is_multiple_of(2).then(|| vec![0x80; length])
    }
}

/// What the session can do to `ingest`.
#[derive(Clone, Debug)]
enum Act {
    /// A record, and what is changed of it.
    Push(Vec<u64>, Vec<Mutation>),
    Batch(u64),
    AddProcess {
        pid: u32,
        parent: Option<u32>,
    },
    EndProcess(u32),
    LeaveOut(u32),
    Rename(u32, u32, Vec<u8>),
    Sample(u32, u64),
}

const PIDS: Range<u32> = 100..103;

fn source() -> impl Strategy<Value = Source> {
    (PIDS, 100_u32..105).prop_map(|(pid, tid)| Source { pid, tid })
}

/// Times run on and, a little or without bound, backwards.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0_u64..3_000_000_000).prop_map(|time| CLOCK_BASE_NS + time),
        1 => hostile_number(),
    ]
}

fn allocator() -> impl Strategy<Value = Allocator> {
    prop::sample::select(Allocator::ALL.to_vec())
}

/// Few, so that events meet each other.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..8).prop_map(|slot| 0x7f00_0000_0000 + slot * 4096),
        2 => (0_u64..8).prop_map(|slot| 0x5500_0000_0000 + slot * 16),
        1 => hostile_number(),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..5000,
        2 => (0_u64..6).prop_map(|pages| pages * 4096),
        1 => Just((1 << 56) - 1),
        1 => hostile_number(),
    ]
}

fn small() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..5, 1 => hostile_number()]
}

fn event() -> BoxedStrategy<Vec<u64>> {
    let base = || (source(), time());
    let range = || (address(), size());
    prop_oneof![
        (base(), allocator(), range(), small()).prop_map(|((source, time), allocator, range, stack)| {
            fixture::allocation(source, time, allocator, range.0, range.1, stack)
        }),
        (base(), allocator(), address())
            .prop_map(|((source, time), allocator, address)| fixture::free(source, time, allocator, address)),
        (base(), address()).prop_map(|((source, time), address)| fixture::free_undone(source, time, address)),
        (
            base(),
            allocator(),
            range(),
            small(),
            prop_oneof![Just(super::harness::HEAP), any::<u64>()]
        )
            .prop_map(|((source, time), allocator, range, stack, flags)| {
                fixture::map(source, time, allocator, range, stack, flags)
            }),
        (base(), allocator(), range())
            .prop_map(|((source, time), allocator, range)| fixture::unmap(source, time, allocator, range)),
        (base(), range()).prop_map(|((source, time), range)| fixture::unmap_undone(source, time, range)),
    ]
    .boxed()
}

fn description() -> BoxedStrategy<Vec<u64>> {
    let base = || (source(), time());
    let frames = prop::collection::vec((small(), any::<u8>(), small()), 0..12);
    let attack = || prop::sample::select(ATTACKS);
    let status = prop::sample::select(vec![
        WalkStatus::Complete,
        WalkStatus::Truncated,
        WalkStatus::Fault,
    ]);
    let kind = prop::sample::select(vec![
        RecordKind::ThreadSeen,
        RecordKind::ThreadExit,
        RecordKind::ProcessExec,
        RecordKind::LeaderExit,
    ]);
    prop_oneof![
        (base(), small(), 0_u32..3, frames).prop_map(|((source, time), stack, first, frames)| {
            let frames: Vec<_> = frames
                .iter()
                .map(|&(code, owner, at)| fixture::frame(code, owner % 5, at))
                .collect();
            fixture::stack_frames(source, time, stack, first, &frames)
        }),
        (base(), small(), 0_u32..13, status).prop_map(|((source, time), stack, count, status)| {
            fixture::stack_end(source, time, stack, count, status)
        }),
        (base(), small(), attack(), attack(), small()).prop_map(
            |((source, time), code, function, file, table)| {
                fixture::code(source, time, code, 7, table, (function, file))
            }
        ),
        (
            base(),
            small(),
            0_u32..4,
            prop::collection::vec(any::<u8>(), 0..1024)
        )
            .prop_map(|((source, time), code, offset, data)| fixture::line_table(
                source, time, code, offset, &data
            )),
        (base(), small()).prop_map(|((source, time), code)| fixture::code_freed(source, time, code)),
        (base(), kind, small()).prop_map(|((source, time), kind, state)| fixture::thread(
            kind,
            source,
            time,
            state % (1 << 40),
            "comm"
        )),
    ]
    .boxed()
}

fn act() -> impl Strategy<Value = Act> {
    let changes = || prop_oneof![3 => Just(Vec::new()), 1 => mutations(1..4)];
    prop_oneof![
        30 => (event(), changes()).prop_map(|(words, changes)| Act::Push(words, changes)),
        20 => (description(), changes()).prop_map(|(words, changes)| Act::Push(words, changes)),
        4 => time().prop_map(Act::Batch),
        2 => (PIDS, prop::option::of(0_u32..4)).prop_map(|(pid, parent)| Act::AddProcess { pid, parent }),
        1 => (0_u32..5).prop_map(Act::EndProcess),
        1 => PIDS.prop_map(Act::LeaveOut),
        1 => (0_u32..4, 100_u32..105, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(process, tid, name)| Act::Rename(process, tid, name)),
        1 => (0_u32..4, hostile_number()).prop_map(|(process, bytes)| Act::Sample(process, bytes)),
    ]
}

struct Session {
    ingest: Ingest,
    store: Store,
    stats: [u64; StatId::COUNT],
    malformed: u64,
}

impl Session {
    fn new() -> Self {
        let options = IngestOptions {
            clock_base_ns: CLOCK_BASE_NS,
            script: ScriptStart::Immediately,
            ..IngestOptions::default()
        };
        let mut session = Self {
            ingest: Ingest::new(options),
            store: Store::default(),
            stats: [0; StatId::COUNT],
            malformed: 0,
        };
        session.add_process(PIDS.start, None);
        session
    }

    fn add_process(&mut self, pid: u32, parent_process_id: Option<u32>) {
        let row = ProcessRow {
            pid,
            parent_process_id,
            python_version: "3.12.1".to_owned(),
            ..ProcessRow::default()
        };
        // A parent has been told before.
        let minor = u8::try_from(pid % 3).unwrap() + 9;
        self.ingest
            .add_process(row, Box::new(Reader(PyVersion::new(3, minor, 1))));
    }

    fn push(&mut self, words: &[u64], changes: &[Mutation]) {
        let bytes = mutated(words.as_bytes(), changes, usize::MAX);
        // The ring aligns records.
        let mut room = vec![0_u64; bytes.len().div_ceil(8)];
        room.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
        let bytes = &room.as_bytes()[..bytes.len()];
        let seen = match (
            decode(bytes),
            bytes.first().copied().and_then(RecordKind::from_raw),
        ) {
            (
                Err(DecodeError::Range {
                    kind: RecordKind::Map,
                    ..
                }),
                _,
            ) => Some(StatId::MapSeen),
            (Err(DecodeError::Range { .. }), _) => Some(StatId::AllocationSeen),
            (Err(_), _) => {
                self.malformed += 1;
                None
            }
            (Ok(_), Some(RecordKind::Allocation)) => Some(StatId::AllocationSeen),
            (Ok(_), Some(RecordKind::Free | RecordKind::FreeUndone)) => Some(StatId::FreeSeen),
            (Ok(_), Some(RecordKind::Map)) => Some(StatId::MapSeen),
            (Ok(_), Some(RecordKind::Unmap | RecordKind::UnmapUndone)) => Some(StatId::UnmapSeen),
            _ => None,
        };
        if let Some(seen) = seen {
            self.stats[seen as usize] += 1;
        }
        self.ingest.push(bytes);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Push(words, changes) => self.push(words, changes),
            Act::Batch(time_ns) => {
                let batch = self.ingest.take_batch(*time_ns);
                self.store.apply(batch);
            }
            Act::AddProcess { pid, parent } => self.add_process(*pid, *parent),
            Act::EndProcess(process_id) => self.ingest.end_process(*process_id, CLOCK_BASE_NS, Some(0)),
            Act::LeaveOut(pid) => self.ingest.leave_out(*pid),
            Act::Rename(process_id, tid, name) => self.ingest.rename(*process_id, *tid, name),
            Act::Sample(process_id, bytes) => self.resident(*process_id, *bytes),
        }
    }

    fn resident(&mut self, process_id: u32, bytes: u64) {
        let resident = Resident {
            rss_bytes: bytes,
            ..Resident::default()
        };
        self.ingest.sample_rss(process_id, CLOCK_BASE_NS, resident);
    }

    fn finish(mut self) {
        self.ingest.set_kernel_stats(None, &self.stats);
        let batch = self.ingest.finish();
        self.store.apply(batch);
        self.store.check_finished();
        assert_eq!(
            self.store.loss("malformed_record"),
            self.malformed,
            "each is told"
        );
        for (key, value) in &self.store.meta {
            assert_eq!(value, "ok", "{key}");
        }
        // What the file can hold: a number beyond stands there as another one.
        for state in self.store.states.values() {
            let numbers = [
                state.alloc_bytes,
                state.live_bytes,
                state.peak_bytes,
                state.startup_bytes,
            ];
            assert!(
                numbers.iter().all(|&bytes| i64::try_from(bytes).is_ok()),
                "{state:?}"
            );
        }
        let all = self
            .store
            .states
            .values()
            .map(|state| i128::from(state.alloc_bytes))
            .sum::<i128>();
        assert!(
            i64::try_from(all).is_ok(),
            "a sum over processes that SQL cannot add up: {all}"
        );
    }
}

fuzz_test!(
    streams,
    streams_long,
    BOUNDS,
    prop_oneof![4 => prop::collection::vec(act(), 1..40), 1 => prop::collection::vec(act(), 40..160)],
    |acts: Vec<Act>| {
        let mut session = Session::new();
        for act in &acts {
            session.act(act);
        }
        session.finish();
    }
);

fuzz_test!(
    any_bytes,
    any_bytes_long,
    BOUNDS,
    (
        prop::collection::vec(any::<u64>(), 0..200),
        0_usize..8,
        any::<u8>()
    ),
    |(mut words, cut, kind): (Vec<u64>, usize, u8)| {
        if let Some(first) = words.first_mut() {
            *first = *first & !0xff | u64::from(kind % 20);
        }
        let bytes = words.as_bytes();
        let _any = decode(&bytes[..bytes.len().saturating_sub(cut)]);
        if bytes.len() > cut {
            assert!(decode(&bytes[cut..]).is_err() || cut % 8 == 0, "misaligned");
        }
    }
);

/// Found by `streams`: the bytes of a mapping that ends behind all addresses were counted and never ended.
#[test]
fn a_mapping_behind_all_addresses_is_counted_as_lost() {
    let mut session = Session::new();
    let source = Source { pid: 100, tid: 100 };
    for (address, size_bytes) in [(u64::MAX, 1), ((1 << 56) - 4096, 8192), (u64::MAX - 4095, 4096)] {
        let range = (address, size_bytes);
        session.push(
            &fixture::map(
                source,
                CLOCK_BASE_NS,
                Allocator::Mmap,
                range,
                0,
                super::harness::HEAP,
            ),
            &[],
        );
    }
    session.ingest.set_kernel_stats(None, &session.stats);
    let batch = session.ingest.take_batch(CLOCK_BASE_NS);
    session.store.apply(batch);
    assert_eq!(session.store.loss("impossible_event"), 3);
    session.finish();
}

/// What each allocation claims could be, all of them together could not be written down.
#[test]
fn sums_end_where_those_of_a_capture_do() {
    let mut session = Session::new();
    session.add_process(101, None);
    for number in 0..400 {
        let source = Source {
            pid: 100 + number % 2,
            tid: 100,
        };
        // Each at the address of the one before, which ends although the new one is not taken in.
        let words = fixture::allocation(source, CLOCK_BASE_NS, Allocator::Malloc, 0x1000, (1 << 56) - 1, 0);
        session.push(&words, &[]);
    }
    let batch = session.ingest.take_batch(CLOCK_BASE_NS);
    session.store.apply(batch);
    assert_eq!(session.store.loss("impossible_event"), 400 - 128);
    assert!(session.store.states.values().all(|state| state.live_bytes == 0));
    session.finish();
}
