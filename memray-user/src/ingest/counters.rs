//! What was lost or is not known for sure: the kernel's counters and those of `ingest`, as rows, and the check that
//! every event that the kernel saw is in the capture or in one of them.

use memray_ebpf::{
    event::RecordKind,
    stat::{StatId, StatKind},
};

use super::decode::DecodeError;
use crate::model::{LossRow, ProcessId};

/// What `ingest` itself counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    MalformedRecord,
    UnknownProcess,
    FreeOfUnknown,
    ImplicitFree,
    UndoneUnknown,
    StackIncomplete,
    StackUnknown,
    CodeUnknown,
    NameIncomplete,
    LineTableIncomplete,
    ThreadUnannounced,
    ThreadNameUnknown,
    ProgramLate,
    InterpreterUnknown,
    NotProbed,
    CodeDeathsUnseen,
    AfterEnd,
    ArenaOfFree,
    EndedWithoutRecord,
    StackTableFull,
    SiteTableFull,
    FrameTableFull,
    ImpossibleEvent,
}

impl Counter {
    pub const ALL: [Self; 23] = [
        Self::MalformedRecord,
        Self::UnknownProcess,
        Self::FreeOfUnknown,
        Self::ImplicitFree,
        Self::UndoneUnknown,
        Self::StackIncomplete,
        Self::StackUnknown,
        Self::CodeUnknown,
        Self::NameIncomplete,
        Self::LineTableIncomplete,
        Self::ThreadUnannounced,
        Self::ThreadNameUnknown,
        Self::ProgramLate,
        Self::InterpreterUnknown,
        Self::NotProbed,
        Self::CodeDeathsUnseen,
        Self::AfterEnd,
        Self::ArenaOfFree,
        Self::EndedWithoutRecord,
        Self::StackTableFull,
        Self::SiteTableFull,
        Self::FrameTableFull,
        Self::ImpossibleEvent,
    ];

    /// The name in captures: stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedRecord => "malformed_record",
            Self::UnknownProcess => "unknown_process",
            Self::FreeOfUnknown => "free_of_unknown",
            Self::ImplicitFree => "implicit_free",
            Self::UndoneUnknown => "undone_unknown",
            Self::StackIncomplete => "stack_incomplete",
            Self::StackUnknown => "stack_unknown",
            Self::CodeUnknown => "code_unknown",
            Self::NameIncomplete => "name_incomplete",
            Self::LineTableIncomplete => "line_table_incomplete",
            Self::ThreadUnannounced => "thread_unannounced",
            Self::ThreadNameUnknown => "thread_name_unknown",
            Self::ProgramLate => "program_late",
            Self::InterpreterUnknown => "interpreter_unknown",
            Self::NotProbed => "not_probed",
            Self::CodeDeathsUnseen => "code_deaths_unseen",
            Self::AfterEnd => "after_end",
            Self::ArenaOfFree => "arena_of_free",
            Self::EndedWithoutRecord => "ended_without_record",
            Self::StackTableFull => "stack_table_full",
            Self::SiteTableFull => "site_table_full",
            Self::FrameTableFull => "frame_table_full",
            Self::ImpossibleEvent => "impossible_event",
        }
    }

    /// One sentence for a report.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::MalformedRecord => "records that could not be read",
            Self::UnknownProcess => "events of processes that were not being recorded",
            Self::FreeOfUnknown => {
                "frees of blocks that the recording does not know: allocated before it began, or kept by glibc for a thread that ended"
            }
            Self::ImplicitFree => {
                "blocks whose free was not seen, ended when their address was handed out again"
            }
            Self::UndoneUnknown => "failed realloc and mremap calls whose beginning was not seen",
            Self::StackIncomplete => "stacks of which a part was lost, shown without frames",
            Self::StackUnknown => "events whose stack was never described, shown without frames",
            Self::CodeUnknown => "frames whose code object was never described",
            Self::NameIncomplete => "names of files and functions that could not be read to their end",
            Self::LineTableIncomplete => "line tables that could not be read to their end",
            Self::ThreadUnannounced => "threads whose name was never sent",
            Self::ThreadNameUnknown => {
                "threads that went on before Python's name for them could be read; they have the kernel's"
            }
            Self::ProgramLate => {
                "children or programs whose beginning was not seen in time; their first allocations may be missing"
            }
            Self::InterpreterUnknown => {
                "programs whose interpreter is not known, recorded without Python stacks"
            }
            Self::NotProbed => {
                "programs without a function of an allocator that could be probed: only what they map is recorded"
            }
            Self::CodeDeathsUnseen => {
                "programs whose functions end unseen: names come anew with each event, which is slow, and long ones are cut"
            }
            Self::AfterEnd => "events of processes that went on after their recording had ended, left out",
            Self::ArenaOfFree => {
                "reservations that glibc made for the arena of a thread whose first call was `free`, left out"
            }
            Self::EndedWithoutRecord => "blocks that were ended by a free that found the ring full",
            Self::StackTableFull => {
                "stacks beyond the largest number that is kept (`--max-stacks`), shown as one"
            }
            Self::SiteTableFull => {
                "allocations of stacks and threads beyond the largest number that is kept (`--max-stacks`), shown with one stack"
            }
            Self::FrameTableFull => {
                "frames and names beyond the largest number that is kept (`--max-stacks`), shown as one"
            }
            Self::ImpossibleEvent => {
                "allocations of more bytes than there are addresses, at addresses that no program has, or beyond 2^63 bytes in all"
            }
        }
    }

    pub const fn kind(self) -> StatKind {
        match self {
            Self::MalformedRecord | Self::UnknownProcess | Self::NotProbed | Self::ImpossibleEvent => {
                StatKind::Lost
            }
            Self::FreeOfUnknown | Self::AfterEnd | Self::ArenaOfFree | Self::EndedWithoutRecord => {
                StatKind::Neutral
            }
            _ => StatKind::Degraded,
        }
    }
}

/// Kinds of events for which seen = recorded + lost is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Allocation,
    Free,
    Map,
    Unmap,
}

impl EventKind {
    const ALL: [Self; 4] = [Self::Allocation, Self::Free, Self::Map, Self::Unmap];

    const fn meta_key(self) -> &'static str {
        match self {
            Self::Allocation => "identity.allocations",
            Self::Free => "identity.frees",
            Self::Map => "identity.maps",
            Self::Unmap => "identity.unmaps",
        }
    }

    /// What the kernel saw, and what it could not send.
    const fn stats(self) -> (StatId, StatId) {
        match self {
            Self::Allocation => (StatId::AllocationSeen, StatId::AllocationRingFull),
            Self::Free => (StatId::FreeSeen, StatId::FreeRingFull),
            Self::Map => (StatId::MapSeen, StatId::MapRingFull),
            Self::Unmap => (StatId::UnmapSeen, StatId::UnmapRingFull),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    events: u64,
    bytes: u64,
    changed: bool,
}

type Tallies = [Tally; Counter::ALL.len()];

#[derive(Debug)]
struct KernelStats {
    process_id: Option<ProcessId>,
    values: [u64; StatId::COUNT],
    written: [u64; StatId::COUNT],
}

/// See the module.
#[derive(Debug, Default)]
pub struct Counters {
    shared: Tallies,
    by_process: Vec<Tallies>,
    kernel: Vec<KernelStats>,
    recorded: [u64; 4],
    dropped: [u64; 4],
}

impl Counters {
    /// Makes room for one more process, the index of which is the number of those before.
    pub fn add_process(&mut self) {
        self.by_process.push(Tallies::default());
    }

    pub fn add(&mut self, process: usize, counter: Counter, bytes: u64) {
        self.by_process[process][counter as usize].add(bytes);
    }

    pub fn add_shared(&mut self, counter: Counter) {
        self.shared[counter as usize].add(0);
    }

    pub fn add_many(&mut self, counter: Counter, events: u64) {
        let tally = &mut self.shared[counter as usize];
        tally.events += events;
        tally.changed |= events > 0;
    }

    /// A record that says nothing that could be taken in. Of one that claims what cannot be, the kind of event is known.
    pub fn malformed(&mut self, error: DecodeError) {
        match error {
            DecodeError::Range { kind, .. } => {
                self.add_shared(Counter::ImpossibleEvent);
                self.dropped(if kind == RecordKind::Map {
                    EventKind::Map
                } else {
                    EventKind::Allocation
                });
            }
            _ => self.add_shared(Counter::MalformedRecord),
        }
    }

    /// An event has come out of the ring and is in the capture.
    pub fn recorded(&mut self, kind: EventKind) {
        self.recorded[kind as usize] += 1;
    }

    /// An event has come out of the ring and belongs to no process that is recorded.
    pub fn dropped(&mut self, kind: EventKind) {
        self.dropped[kind as usize] += 1;
    }

    /// An event that was [`recorded`](Self::recorded) turns out to be one that is not.
    pub fn refused(&mut self, kind: EventKind) {
        self.recorded[kind as usize] -= 1;
        self.dropped(kind);
    }

    /// The kernel's counters as they are now; they replace those given before for the same process, or for all.
    pub fn set_kernel_stats(&mut self, process_id: Option<ProcessId>, values: &[u64; StatId::COUNT]) {
        if let Some(stats) = self
            .kernel
            .iter_mut()
            .find(|stats| stats.process_id == process_id)
        {
            stats.values = *values;
        } else {
            self.kernel.push(KernelStats {
                process_id,
                values: *values,
                written: [0; StatId::COUNT],
            });
        }
    }

    /// Counters that have changed since the last call.
    pub fn take_rows(&mut self) -> Vec<LossRow> {
        let mut rows = Vec::new();
        for stats in &mut self.kernel {
            for stat in StatId::ALL {
                let events = stats.values[stat as usize];
                if events != std::mem::replace(&mut stats.written[stat as usize], events) {
                    let names = (stat.name(), stat.kind(), stat.describe());
                    let bytes = match stat {
                        StatId::AllocationRingFull => stats.values[StatId::AllocationRingFullBytes as usize],
                        _ => 0,
                    };
                    rows.push(row(stats.process_id, names, events, bytes));
                }
            }
        }
        let by_process = (1..).map(Some).zip(&mut self.by_process);
        for (process_id, tallies) in std::iter::once((None, &mut self.shared)).chain(by_process) {
            for (counter, tally) in Counter::ALL.into_iter().zip(tallies) {
                if std::mem::take(&mut tally.changed) {
                    let names = (counter.name(), counter.kind(), counter.describe());
                    rows.push(row(process_id, names, tally.events, tally.bytes));
                }
            }
        }
        rows
    }

    /// For each kind of event whether seen = recorded + lost: `ok`, or how many more were seen. Empty while the
    /// kernel's counters are not known.
    pub fn identity(&self) -> Vec<(String, String)> {
        if self.kernel.is_empty() {
            return Vec::new();
        }
        let sum = |stat: StatId| -> i128 {
            self.kernel
                .iter()
                .map(|stats| i128::from(stats.values[stat as usize]))
                .sum()
        };
        EventKind::ALL
            .into_iter()
            .map(|kind| {
                let (seen, ring_full) = kind.stats();
                let accounted = self.recorded[kind as usize] + self.dropped[kind as usize];
                let difference = sum(seen) - sum(ring_full) - i128::from(accounted);
                let value = if difference == 0 {
                    "ok".to_owned()
                } else {
                    difference.to_string()
                };
                (kind.meta_key().to_owned(), value)
            })
            .collect()
    }
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
        self.changed = true;
    }
}

fn row(
    process_id: Option<ProcessId>,
    (reason, kind, description): (&str, StatKind, &str),
    events: u64,
    bytes: u64,
) -> LossRow {
    let kind = match kind {
        StatKind::Neutral => "neutral",
        StatKind::Lost => "lost",
        StatKind::Degraded => "degraded",
    };
    LossRow {
        process_id,
        reason: reason.to_owned(),
        kind: kind.to_owned(),
        events,
        bytes,
        description: description.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_in_order_and_no_name_is_used_twice() {
        let mut names: Vec<_> = StatId::ALL.iter().map(|stat| stat.name()).collect();
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
            assert!(!names.contains(&counter.name()), "{}", counter.name());
            names.push(counter.name());
        }
        for (index, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn rows_are_those_that_changed() {
        let mut counters = Counters::default();
        counters.add_process();
        counters.add(0, Counter::ImplicitFree, 10);
        counters.add(0, Counter::ImplicitFree, 5);
        let mut values = [0; StatId::COUNT];
        values[StatId::AllocationRingFull as usize] = 4;
        values[StatId::AllocationRingFullBytes as usize] = 99;
        counters.set_kernel_stats(None, &values);
        let figures = |rows: Vec<LossRow>| -> Vec<_> {
            rows.into_iter()
                .map(|row| (row.process_id, row.reason, row.kind, row.events, row.bytes))
                .collect()
        };
        assert_eq!(
            figures(counters.take_rows()),
            [
                (None, "allocation_ring_full".to_owned(), "lost".to_owned(), 4, 99),
                (
                    None,
                    "allocation_ring_full_bytes".to_owned(),
                    "neutral".to_owned(),
                    99,
                    0
                ),
                (Some(1), "implicit_free".to_owned(), "degraded".to_owned(), 2, 15),
            ]
        );
        assert!(counters.take_rows().is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut counters = Counters::default();
        assert!(counters.identity().is_empty());
        let mut values = [0; StatId::COUNT];
        values[StatId::AllocationSeen as usize] = 5;
        values[StatId::AllocationRingFull as usize] = 2;
        values[StatId::FreeSeen as usize] = 1;
        counters.set_kernel_stats(Some(1), &values);
        for _ in 0..2 {
            counters.recorded(EventKind::Allocation);
        }
        counters.dropped(EventKind::Allocation);
        counters.recorded(EventKind::Unmap);
        let values: Vec<_> = counters.identity().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["ok", "1", "ok", "-1"]);
    }
}
