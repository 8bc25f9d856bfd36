//! Ring records in, rows of the capture out.
//!
//! Pure and single-threaded: no clock, no file, no kernel. The session feeds records in the order of the ring,
//! which is the order of events, and takes a [`Batch`] every half second: all that changed since the one before,
//! consistent in itself, so that a capture that ends with any batch is whole.
//!
//! Invariants:
//!  - every allocation that is counted is a live row, or one or more freed rows, never both;
//!  - live bytes of a process are the sum over its sites, and so is its peak (see [`totals`]);
//!  - no work per event depends on how much is alive, but for a logarithm where ranges are mapped;
//!  - what is not known is counted (see [`counters`]) and shown as what it is, never guessed.
//!
//! Times that come in are `CLOCK_MONOTONIC` in nanoseconds; times in rows count from
//! [`IngestOptions::clock_base_ns`] and never run backwards, since records can be a few microseconds out of order
//! in time while their order is true.

pub mod bounds;
pub mod codes;
pub mod counters;
pub mod decode;
mod dispatch;
pub mod frames;
pub mod histogram;
pub mod live;
pub mod lost_frees;
pub mod mapped;
pub mod maps;
pub mod process;
pub mod ranges;
pub mod script;
pub mod shared;
pub mod sites;
pub mod stacks;
pub mod threads;
pub mod timeline;
pub mod totals;
pub mod tree;
pub mod window;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use codes::{CodeId, CodeObject, CodeReader, DecodedString, ThreadName};
use memray_ebpf::{
    event::{RecordHeader, RecordKind, ThreadRecord},
    limits::COMM_BYTES,
    stat::StatId,
};
use rustc_hash::{FxHashMap, FxHashSet};
pub use script::ScriptStart;

use self::{
    bounds::IngestBounds,
    counters::Counter,
    decode::{Record, decode},
    dispatch::{dispatch, event_kind, resolve_frame},
    process::Process,
    shared::Shared,
    timeline::{Interval, SiteIntervals, Timeline},
};
use crate::model::{Batch, LiveRow, ProcessId, ProcessRow, Resident, SiteTimelineRow};

/// What a recording is to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// `CLOCK_MONOTONIC` at time 0 of the capture (`meta.clock_base_ns`).
    pub clock_base_ns: u64,
    /// When the first process begins to count; [`ScriptStart::Immediately`] to include start-up.
    pub script: ScriptStart,
    /// Length of an interval of the timeline.
    pub interval: Interval,
    pub bounds: IngestBounds,
}

/// See the module.
#[derive(Debug)]
pub struct Ingest {
    options: IngestOptions,
    last_ts: u64,
    processes: Vec<Process>,
    by_pid: FxHashMap<u32, usize>,
    /// Pids whose processes go on after their recording.
    left_out: FxHashSet<u32>,
    /// The last one asked for: records of one process come in runs.
    last_process: Option<(u32, usize)>,
    shared: Shared,
    site_intervals: SiteIntervals,
    site_timeline: Vec<SiteTimelineRow>,
    /// Live rows of processes that have ended since the last batch.
    live_of_ended: Vec<LiveRow>,
}

impl Ingest {
    pub fn new(options: IngestOptions) -> Self {
        let shared = Shared::new(options.clock_base_ns, options.bounds);
        Self {
            options,
            last_ts: 0,
            processes: Vec::new(),
            by_pid: FxHashMap::default(),
            left_out: FxHashSet::default(),
            last_process: None,
            shared,
            site_intervals: SiteIntervals::default(),
            site_timeline: Vec::new(),
            live_of_ended: Vec::new(),
        }
    }

    /// When processes that are added from now on begin to count.
    pub fn set_script(&mut self, script: ScriptStart) {
        self.options.script = script;
    }

    /// Begins one life of a process, before its first record; a life of the same pid that was not ended is over.
    /// `row.process_id` is filled in. A process without Python, and one that another process of the capture started
    /// (`row.parent_process_id`), counts from its first event; one that became this by exec is no other process.
    pub fn add_process(&mut self, mut row: ProcessRow, reader: Box<dyn CodeReader>) -> ProcessId {
        let index = self.processes.len();
        row.process_id = ProcessId::try_from(index + 1).expect("2^32 processes do not fit in memory");
        let parent = row
            .parent_process_id
            .and_then(index_of)
            .and_then(|index| self.processes.get(index));
        let is_forked = parent.is_some_and(|parent| parent.row.pid != row.pid);
        let at_once = row.python_version.is_empty() || is_forked;
        let script = if at_once {
            ScriptStart::Immediately
        } else {
            self.options.script.clone()
        };
        let process_id = row.process_id;
        self.by_pid.insert(row.pid, index);
        self.left_out.remove(&row.pid);
        self.last_process = None;
        let mut process = Process::new(index, row, reader, script);
        process.timeline = Timeline::new(self.options.interval);
        self.processes.push(process);
        self.shared.counters.add_process();
        process_id
    }

    /// An interpreter has come into a process that had none: a library that was loaded late.
    pub fn set_interpreter(
        &mut self,
        process_id: ProcessId,
        python_version: String,
        python_allocator: String,
        reader: Box<dyn CodeReader>,
    ) {
        if let Some(process) = self.process_mut(process_id) {
            process.row.python_version = python_version;
            process.row.python_allocator = python_allocator;
            process.row_changed = true;
            process.reader = reader;
            process.threads.set_has_python();
        }
    }

    /// What came before the process was recorded is missing, though nothing of it was to be: a child or a program whose
    /// beginning was not seen in time.
    pub fn began_late(&mut self, process_id: ProcessId) {
        self.note(process_id, Counter::ProgramLate);
    }

    /// The interpreter of the process is none that is known; its events have no stack.
    pub fn has_unknown_python(&mut self, process_id: ProcessId) {
        self.note(process_id, Counter::InterpreterUnknown);
    }

    /// The process has no function of an allocator that could be probed.
    pub fn is_not_probed(&mut self, process_id: ProcessId) {
        self.note(process_id, Counter::NotProbed);
    }

    /// The end of the process's code objects is not seen.
    pub fn sees_no_code_deaths(&mut self, process_id: ProcessId) {
        self.note(process_id, Counter::CodeDeathsUnseen);
    }

    fn note(&mut self, process_id: ProcessId, counter: Counter) {
        if let Some(index) = index_of(process_id).filter(|&index| index < self.processes.len()) {
            self.shared.counters.add(index, counter, 0);
        }
    }

    /// The recording of the process with this pid ends, the process does not: to be told before its end in the capture.
    /// What comes of it after that is nobody's loss.
    pub fn leave_out(&mut self, pid: u32) {
        self.left_out.insert(pid);
    }

    /// Takes in one record: its bytes in the ring, beginning at a multiple of 8.
    pub fn push(&mut self, bytes: &[u8]) {
        let record = match decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.shared.counters.malformed(error);
                return;
            }
        };
        let header = record.header();
        self.end_lost_before(header.time_ns);
        let kind = event_kind(&record);
        let Some(index) = self.process_of(header.pid) else {
            // What is said of threads and programs of others says nothing that is missing here.
            if let Some(kind) = kind {
                let counter = if self.left_out.contains(&header.pid) {
                    Counter::AfterEnd
                } else {
                    Counter::UnknownProcess
                };
                self.shared.counters.add_shared(counter);
                self.shared.counters.dropped(kind);
            }
            return;
        };
        if matches!(record, Record::ProcessExec(_)) {
            let process_id = self.processes[index].row.process_id;
            self.end_process(process_id, header.time_ns, None);
            return;
        }
        let ts = header
            .time_ns
            .saturating_sub(self.options.clock_base_ns)
            .max(self.last_ts);
        self.last_ts = ts;
        if let Some(kind) = kind {
            self.shared.counters.recorded(kind);
            self.advance(ts);
        }
        dispatch(index, &mut self.processes[index], &record, ts, &mut self.shared);
    }

    /// A free of a process without a record, in any order: whatever lived at the address at that time has ended. All
    /// records from before it must be pushed before the second [`Ingest::turn_lost_frees`] after this.
    pub fn lost_free(&mut self, pid: u32, address: u64, time_ns: u64) {
        self.shared.lost_frees.add(pid, address, time_ns);
    }

    /// No record will come from before the frees that were told before the turn before this: they take effect.
    pub fn turn_lost_frees(&mut self) {
        self.end_lost_before(self.shared.lost_frees.old_before());
        self.shared.lost_frees.turn();
    }

    /// Closes the interval of the sites' timeline if it is over at `ts`, before anything changes then.
    fn advance(&mut self, ts: u64) {
        if let Some(ended) = self.site_intervals.advance(ts) {
            self.shared.sites.take_interval(ended, &mut self.site_timeline);
        }
    }

    fn end_lost_before(&mut self, time_ns: u64) {
        while let Some((pid, address, free_ns)) = self.shared.lost_frees.take_before(time_ns) {
            let Some(index) = self.process_of(pid) else {
                continue;
            };
            let ts = self.time(free_ns);
            self.last_ts = ts;
            self.advance(ts);
            let free_ts = free_ns.saturating_sub(self.options.clock_base_ns);
            self.processes[index].lost_free(address, free_ts, ts, &mut self.shared);
        }
    }

    /// What of a process is resident; kept in the interval of the timeline in which `time_ns` lies. Ignored before
    /// the program's own code has begun.
    pub fn sample_rss(&mut self, process_id: ProcessId, time_ns: u64, resident: Resident) {
        let ts = self.time(time_ns);
        if let Some(process) = self.process_mut(process_id)
            && process.started
            && !process.is_over
        {
            process
                .timeline
                .sample_rss(ts, resident, process_id, &process.totals);
        }
    }

    /// The kernel's name of a thread as a later look at it shows it; without the zero byte or with.
    pub fn rename(&mut self, process_id: ProcessId, tid: u32, comm: &[u8]) {
        let mut name = [0; COMM_BYTES];
        for (to, from) in name[..COMM_BYTES - 1].iter_mut().zip(comm) {
            *to = *from;
        }
        if let Some(process) = index_of(process_id).and_then(|index| self.processes.get_mut(index)) {
            process.threads.rename(tid, name, &mut self.shared.threads);
        }
    }

    /// The kernel's counters as they are now: either of all together, or of each process, since the identity adds
    /// up what it is given. To be given before [`Ingest::finish`] once the ring is drained.
    pub fn set_kernel_stats(&mut self, process_id: Option<ProcessId>, values: &[u64; StatId::COUNT]) {
        self.shared.counters.set_kernel_stats(process_id, values);
    }

    /// The programs have forgotten these stacks of a process at time `time_ns`; new events will not name them.
    pub fn retire_stacks(&mut self, pid: u32, stack_ids: Vec<u64>, time_ns: u64) {
        let ts = time_ns.saturating_sub(self.options.clock_base_ns);
        if let Some(index) = self.process_of(pid) {
            self.processes[index].stacks.retire(stack_ids, ts);
        }
    }

    /// When the program's own code began, `None` before.
    pub fn script_started_ns(&self, process_id: ProcessId) -> Option<u64> {
        self.processes.get(index_of(process_id)?)?.row.script_started_ns
    }

    /// The process has ended and its last record has been taken in. `exit_status` as a shell shows it.
    pub fn end_process(&mut self, process_id: ProcessId, time_ns: u64, exit_status: Option<i32>) {
        let ts = self.time(time_ns);
        let Some(index) = index_of(process_id).filter(|&index| index < self.processes.len()) else {
            return;
        };
        self.resolve_frames();
        let process = &mut self.processes[index];
        if std::mem::replace(&mut process.is_over, true) {
            return;
        }
        process.settle_all(self.last_ts, &mut self.shared);
        process
            .threads
            .count_unknowns(&self.shared.threads, &mut self.shared.counters);
        process.timeline.close(process_id, &process.totals);
        for survivor in self.shared.window.take_survivors_of(index) {
            self.live_of_ended
                .extend(process.live_row(&survivor, &self.shared.sites));
        }
        for survivor in self.shared.mapped_window.take_survivors_of(index) {
            self.shared.mappings.extend(process.mapping_row(&survivor));
        }
        let goes_on = self.left_out.contains(&process.row.pid);
        process.row.ended_ns = (!goes_on).then_some(ts);
        process.row.exit_status = exit_status;
        process.row_changed = true;
        process.forget_heap();
        if self.by_pid.get(&process.row.pid) == Some(&index) {
            self.by_pid.remove(&process.row.pid);
        }
        self.last_process = None;
    }

    /// All that changed since the last batch.
    ///
    /// `drained_ns` is the time when the ring was last found empty, not simply now: while the collector lags
    /// behind, records older than now are still to come. Intervals of the timelines that ended well before it are
    /// closed ([`timeline::CLOSE_LAG_NS`]); a record that comes later all the same is counted behind them.
    pub fn take_batch(&mut self, drained_ns: u64) -> Batch {
        let drained = drained_ns.saturating_sub(self.options.clock_base_ns);
        for process in &mut self.processes {
            if !process.is_over {
                look_again_for_names(process, &mut self.shared);
            }
            let closed = process
                .timeline
                .close_before(drained, process.row.process_id, &process.totals);
            self.last_ts = self.last_ts.max(closed.unwrap_or(0));
        }
        if let Some(ended) = self.site_intervals.close_before(drained) {
            self.shared.sites.take_interval(ended, &mut self.site_timeline);
            self.last_ts = self.last_ts.max(self.site_intervals.start());
        }
        self.collect()
    }

    /// The last batch: nothing more will come. What threads held back takes effect, the timelines are closed, and
    /// `meta` says for each kind of event whether seen = recorded + lost.
    pub fn finish(&mut self) -> Batch {
        for process in &mut self.processes {
            if !process.is_over {
                process.settle_all(self.last_ts, &mut self.shared);
                process
                    .threads
                    .count_unknowns(&self.shared.threads, &mut self.shared.counters);
                process.timeline.close(process.row.process_id, &process.totals);
            }
        }
        let start = self.site_intervals.start();
        self.shared.sites.take_interval(start, &mut self.site_timeline);
        let mut batch = self.collect();
        batch.meta.extend(self.shared.counters.identity());
        batch
    }

    fn collect(&mut self) -> Batch {
        self.resolve_frames();
        let mut batch = Batch::default();
        let (survivors, removed) = self.shared.window.take();
        batch.live_removed = removed;
        batch.live_added = std::mem::take(&mut self.live_of_ended);
        let sites = &self.shared.sites;
        batch.live_added.extend(
            survivors
                .iter()
                .filter_map(|survivor| self.processes[survivor.process].live_row(survivor, sites)),
        );
        batch.live_added.sort_unstable_by_key(|row| row.allocation_id);
        batch.mappings = std::mem::take(&mut self.shared.mappings);
        let (survivors, _written_anew) = self.shared.mapped_window.take();
        batch.mappings.extend(
            survivors
                .iter()
                .filter_map(|survivor| self.processes[survivor.process].mapping_row(survivor)),
        );
        batch.mappings.sort_unstable_by_key(|row| row.mapping_id);
        for process in &mut self.processes {
            let process_id = process.row.process_id;
            if std::mem::take(&mut process.row_changed) {
                batch.processes.push(process.row.clone());
            }
            process.timeline.take_rows(&mut batch.timeline);
            process.histogram.take_rows(process_id, &mut batch.histogram);
            if let Some(row) = process.totals.take_row(process_id) {
                batch.states.push(row);
                batch
                    .mapping_totals
                    .extend(process.totals.mapped.rows(process_id));
            }
        }
        let room = self.shared.freed.len();
        batch.freed = std::mem::replace(&mut self.shared.freed, Vec::with_capacity(room));
        batch.site_timeline = std::mem::take(&mut self.site_timeline);
        batch.sites = self.shared.sites.take_rows();
        batch.threads = self.shared.threads.take_rows();
        batch.stacks = self.shared.tree.take_rows();
        batch.frames = self.shared.frames.take_rows();
        let beyond = self.shared.frames.take_beyond_bound();
        self.shared.counters.add_many(Counter::FrameTableFull, beyond);
        batch.losses = self.shared.counters.take_rows();
        batch
    }

    /// Names the frames whose code objects were described after them.
    fn resolve_frames(&mut self) {
        for unresolved in self.shared.frames.take_unresolved() {
            let process = &mut self.processes[unresolved.process];
            resolve_frame(&unresolved, process, &mut self.shared);
        }
    }

    fn process_of(&mut self, pid: u32) -> Option<usize> {
        if let Some((last_pid, index)) = self.last_process
            && last_pid == pid
        {
            return Some(index);
        }
        let index = *self.by_pid.get(&pid)?;
        self.last_process = Some((pid, index));
        Some(index)
    }

    fn process_mut(&mut self, process_id: ProcessId) -> Option<&mut Process> {
        self.processes.get_mut(index_of(process_id)?)
    }

    /// A time on the capture's clock that is not before any event so far.
    fn time(&self, time_ns: u64) -> u64 {
        time_ns
            .saturating_sub(self.options.clock_base_ns)
            .max(self.last_ts)
    }
}

/// A recording is fed by a thread of its own.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Ingest>();
};

fn index_of(process_id: ProcessId) -> Option<usize> {
    Some(process_id.checked_sub(1)? as usize)
}

/// Threads that were too busy, or the collector too slow, when they were new.
fn look_again_for_names(process: &mut Process, shared: &mut Shared) {
    for (tid, bootstrap_self) in process.threads.missed(&shared.threads) {
        let header = RecordHeader {
            kind: RecordKind::ThreadExit as u8,
            allocator: 0,
            flags: 0,
            tid,
            pid: process.row.pid,
            reserved: 0,
            time_ns: 0,
        };
        let record = ThreadRecord {
            header,
            thread_state: 0,
            bootstrap_self,
            comm: [0; COMM_BYTES],
        };
        if let ThreadName::Known(name) = process.reader.thread_name(&record) {
            process.threads.name(tid, name, &mut shared.threads);
        }
    }
}
