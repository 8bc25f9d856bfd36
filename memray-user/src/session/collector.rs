//! The thread that reads the ring and keeps the figures.

use std::{
    sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    BATCH_INTERVAL,
    clock::{Clock, epoch_ms, monotonic_ns},
    control::ControlEvent,
    lost_frees::{LostFreeReader, TURNS},
    remembered::Remembered,
    supervisor::Message,
    writer::WriterThread,
};
use crate::{
    bpf::{Bounds, BpfError, Counters, Drained, Heartbeat, Memories, Recorder, RingPosition, RingReader},
    ingest::{CodeReader, Ingest, IngestOptions, ScriptStart, timeline::Interval},
    model::{Batch, LossRow, ProcessId, ProcessRow},
    store::{StoreError, meta_key},
    target::{process::Process, scheduling},
};

/// How often the ring is looked at. A wake-up for each event would cost the target more than this costs us.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Of so many processes the resident size is read in each interval.
const PROCESSES_PER_RSS_INTERVAL: usize = 16;
/// How long is waited for a record that has its place in the ring and is not written: its thread is in the program that
/// writes it, and has lost the CPU or waits for a page.
const UNWRITTEN_PATIENCE: Duration = Duration::from_millis(100);
const UNWRITTEN_INTERVAL: Duration = Duration::from_micros(50);
/// Records taken at one go, so that requests and batches have their turn however fast the target is.
const RECORDS_AT_ONCE: u64 = 200_000;

/// A life of a process, as it begins.
#[derive(Debug)]
pub(super) struct NewLife {
    pub(super) row: ProcessRow,
    pub(super) reader: Box<dyn CodeReader>,
    pub(super) script: ScriptStart,
    /// The programs' number for it.
    pub(super) number: u32,
}

/// What the collector is asked to do. Each is answered when it is done.
enum Request {
    Add(Box<NewLife>, SyncSender<ProcessId>),
    SetInterpreter(Box<InterpreterFound>, SyncSender<()>),
    BeganLate(ProcessId),
    Unknown(ProcessId),
    NotProbed(ProcessId),
    NoCodeDeaths(ProcessId),
    /// Takes in what is in the ring.
    Drain(SyncSender<()>),
    End {
        process_id: ProcessId,
        pid: u32,
        exit_status: Option<i32>,
        done: SyncSender<()>,
    },
    /// Ends the process in the capture though it goes on: what is to come of it is left out.
    Cut {
        process_id: ProcessId,
        pid: u32,
        done: SyncSender<()>,
    },
    Finish,
    Abandon,
}

/// What came of a recording.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Counters that are not zero.
    pub(super) losses: Vec<LossRow>,
    /// All that was taken in is in the file, and the file where it was to be. Why not has been told.
    pub(super) is_whole: bool,
}

/// An interpreter in a library that was loaded late.
#[derive(Debug)]
pub(super) struct InterpreterFound {
    pub(super) process_id: ProcessId,
    pub(super) python_version: String,
    pub(super) python_allocator: String,
    pub(super) reader: Box<dyn CodeReader>,
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Collector {
    requests: SyncSender<Request>,
    thread: JoinHandle<(WriterThread, Vec<LossRow>)>,
}

impl Collector {
    /// `messages` gets what the records say of processes.
    pub(super) fn start(
        recorder: &Recorder,
        writer: WriterThread,
        (clock, options): (Clock, IngestOptions),
        bounds: Bounds,
        messages: Sender<Message>,
    ) -> Result<Self, BpfError> {
        let (requests, received) = sync_channel(1);
        let memory_interval = options.interval;
        let state = State {
            clock,
            memory_interval,
            ring: recorder.take_ring()?,
            lost_frees: LostFreeReader::new(recorder, bounds.ring_bytes)?,
            counters: recorder.take_counters()?,
            heartbeat: recorder.take_heartbeat()?,
            memories: recorder.take_memories()?,
            remembered: Remembered::default(),
            messages,
            ingest: Ingest::new(options),
            writer,
            processes: Vec::new(),
            losses: Vec::new(),
        };
        let thread = thread::spawn(move || {
            // Above the target, which else could keep the collector from the CPU that it must share.
            scheduling::raise_priority();
            state.run(&received)
        });
        Ok(Self { requests, thread })
    }

    /// Returns when events of the process can come, with its number in the capture.
    pub(super) fn add(&self, life: NewLife) -> ProcessId {
        self.ask(|done| Request::Add(Box::new(life), done))
    }

    /// From here on the process is a Python.
    pub(super) fn set_interpreter(&self, found: InterpreterFound) {
        self.ask(|done| Request::SetInterpreter(Box::new(found), done));
    }

    /// The beginning of the process may be missing.
    pub(super) fn began_late(&self, process_id: ProcessId) {
        self.request(Request::BeganLate(process_id));
    }

    /// The interpreter of the process is none that we know.
    pub(super) fn is_unknown_python(&self, process_id: ProcessId) {
        self.request(Request::Unknown(process_id));
    }

    /// The process has no function that could be probed.
    pub(super) fn is_not_probed(&self, process_id: ProcessId) {
        self.request(Request::NotProbed(process_id));
    }

    /// The end of the process's code objects is not seen.
    pub(super) fn sees_no_code_deaths(&self, process_id: ProcessId) {
        self.request(Request::NoCodeDeaths(process_id));
    }

    /// Returns when all that was in the ring has been taken in, and told to the supervisor.
    pub(super) fn drain(&self) {
        self.ask(Request::Drain);
    }

    /// The process sends nothing any more: takes in what is left of it and ends it.
    pub(super) fn end(&self, process_id: ProcessId, pid: u32, exit_status: Option<i32>) {
        self.ask(|done| Request::End {
            process_id,
            pid,
            exit_status,
            done,
        });
    }

    /// The recording of the process is over at this moment, its probes are not.
    pub(super) fn cut(&self, process_id: ProcessId, pid: u32) {
        self.ask(|done| Request::Cut {
            process_id,
            pid,
            done,
        });
    }

    /// Takes in what is left, writes it and finishes the capture.
    pub(super) fn finish(self) -> Captured {
        self.request(Request::Finish);
        let (writer, losses) = self.join();
        Captured {
            losses,
            is_whole: writer.finish(),
        }
    }

    /// Removes the capture.
    pub(super) fn abandon(self) -> Result<(), StoreError> {
        self.request(Request::Abandon);
        self.join().0.discard()
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> T {
        let (done, answer) = sync_channel(1);
        self.request(request(done));
        answer.recv().expect("a panic ends the process before")
    }

    fn request(&self, request: Request) {
        // The thread ends before us only by a panic, which ends the process.
        let _ended = self.requests.send(request);
    }

    fn join(self) -> (WriterThread, Vec<LossRow>) {
        self.thread.join().expect("a panic ends the process before")
    }
}

/// What the thread owns.
struct State {
    clock: Clock,
    memory_interval: Interval,
    ring: RingReader,
    lost_frees: LostFreeReader,
    counters: Counters,
    heartbeat: Heartbeat,
    memories: Memories,
    remembered: Remembered,
    messages: Sender<Message>,
    ingest: Ingest,
    writer: WriterThread,
    processes: Vec<(ProcessId, Process)>,
    losses: Vec<LossRow>,
}

impl State {
    fn run(mut self, requests: &Receiver<Request>) -> (WriterThread, Vec<LossRow>) {
        let batch_interval_ns = u64::try_from(BATCH_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        let mut next_batch_ns = monotonic_ns() + batch_interval_ns;
        let mut next_rss_ns = 0;
        let mut drained_ns = 0;
        loop {
            let now = monotonic_ns();
            // Without it threads that are held go on a little later: loud enough by itself.
            let _not_written = self.heartbeat.beat(now);
            if let Drained::All(_) = self.drain_some() {
                drained_ns = now;
                self.ring.wait(POLL_INTERVAL);
            }
            loop {
                match requests.try_recv() {
                    Err(TryRecvError::Empty) => break,
                    Ok(Request::Finish) => return self.finish(),
                    Ok(Request::Abandon) | Err(TryRecvError::Disconnected) => {
                        return (self.writer, self.losses);
                    }
                    Ok(request) => self.serve(request),
                }
            }
            let now = monotonic_ns();
            if now >= next_rss_ns {
                self.sample_rss(now);
                // Of many processes less often: it is a file of /proc each.
                let scale = 1 + self.processes.len() / PROCESSES_PER_RSS_INTERVAL;
                let interval_ns = self.memory_interval.ns();
                next_rss_ns = now + interval_ns.saturating_mul(u64::try_from(scale).unwrap_or(1));
            }
            if now >= next_batch_ns {
                self.read_counters();
                let batch = self.ingest.take_batch(drained_ns);
                self.send(batch);
                next_batch_ns = monotonic_ns() + batch_interval_ns;
            }
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Add(life, done) => {
                let _caller_gone = done.send(self.add(*life));
            }
            Request::SetInterpreter(found, done) => {
                self.drain();
                let InterpreterFound {
                    process_id,
                    python_version,
                    python_allocator,
                    reader,
                } = *found;
                self.ingest
                    .set_interpreter(process_id, python_version, python_allocator, reader);
                let _caller_gone = done.send(());
            }
            Request::BeganLate(process_id) => self.ingest.began_late(process_id),
            Request::Unknown(process_id) => self.ingest.has_unknown_python(process_id),
            Request::NotProbed(process_id) => self.ingest.is_not_probed(process_id),
            Request::NoCodeDeaths(process_id) => self.ingest.sees_no_code_deaths(process_id),
            Request::Drain(done) => {
                self.drain();
                let _caller_gone = done.send(());
            }
            Request::End {
                process_id,
                pid,
                exit_status,
                done,
            } => {
                self.drain();
                self.end(process_id, pid, exit_status);
                let _caller_gone = done.send(());
            }
            Request::Cut {
                process_id,
                pid,
                done,
            } => {
                self.drain();
                self.ingest.leave_out(pid);
                self.end(process_id, pid, None);
                let _caller_gone = done.send(());
            }
            // Served by `run`.
            Request::Finish | Request::Abandon => {}
        }
    }

    fn drain_some(&mut self) -> Drained {
        let Self {
            ring,
            lost_frees,
            counters,
            ingest,
            remembered,
            messages,
            memories,
            processes,
            ..
        } = self;
        let end = lost_frees.look(ring, counters, ingest);
        ring.drain(RECORDS_AT_ONCE, end, |record| {
            let event = ControlEvent::of(record);
            if let Some(ControlEvent::Executed { .. }) = event {
                // It ends the life whose blocks these are.
                lost_frees.take(counters, ingest);
            }
            ingest.push(record);
            if let Some(full) = remembered.note(record) {
                // What could not be taken out is found again, and stays known.
                if memories.forget_stacks(&full.hashes).is_ok() {
                    ingest.retire_stacks(full.pid, full.stack_ids, monotonic_ns());
                }
            }
            if let Some(event) = event {
                if let ControlEvent::Executed { pid, .. } = event {
                    // What stays is in the way of nobody.
                    let _left = memories.forget(&remembered.end(pid));
                    processes.retain(|(_, process)| process.pid() != pid);
                }
                let _supervisor_gone = messages.send(Message::Control(event));
            }
        })
    }

    /// Takes in all that is in the ring now, however much is added meanwhile.
    fn drain(&mut self) {
        self.drain_to(self.ring.end());
        // Frees without a record too, as far as they had been told when this began.
        for _ in 0..=TURNS {
            self.drain_some();
            if let Some(until) = self.lost_frees.until() {
                self.drain_to(until);
            }
        }
    }

    fn drain_to(&mut self, end: RingPosition) {
        let mut unwritten_since = None;
        while !self.ring.has_passed(end) {
            let _not_written = self.heartbeat.beat(monotonic_ns());
            if self.drain_some() != Drained::All(0) {
                unwritten_since = None;
                continue;
            }
            if unwritten_since.get_or_insert_with(Instant::now).elapsed() > UNWRITTEN_PATIENCE {
                // What it says is taken in later; of a process that has ended by then it is counted.
                return;
            }
            thread::sleep(UNWRITTEN_INTERVAL);
        }
    }

    fn add(&mut self, life: NewLife) -> ProcessId {
        // What is in the ring belongs to the life before.
        self.drain();
        let NewLife {
            mut row,
            reader,
            script,
            number,
        } = life;
        let pid = row.pid;
        self.processes.retain(|(_, process)| process.pid() != pid);
        self.remembered.begin(pid, number);
        row.started_ns = self.clock.since_start_ns();
        self.ingest.set_script(script);
        let process_id = self.ingest.add_process(row, reader);
        if let Ok(process) = Process::open(pid) {
            self.processes.push((process_id, process));
        }
        process_id
    }

    fn end(&mut self, process_id: ProcessId, pid: u32, exit_status: Option<i32>) {
        self.processes.retain(|(of, _)| *of != process_id);
        self.ingest.end_process(process_id, monotonic_ns(), exit_status);
        // Of the last one the maps go as a whole.
        if !self.processes.is_empty() {
            let _left = self.memories.forget(&self.remembered.end(pid));
        }
    }

    fn sample_rss(&mut self, now_ns: u64) {
        for (process_id, process) in &self.processes {
            if let Ok(resident) = process.resident() {
                self.ingest.sample_rss(*process_id, now_ns, resident);
            }
        }
    }

    fn read_counters(&mut self) {
        // They were readable when the recording began; a failure leaves the last values.
        if let Ok(values) = self.counters.read() {
            self.ingest.set_kernel_stats(None, &values);
        }
    }

    fn send(&mut self, batch: Batch) {
        if !batch.losses.is_empty() {
            self.losses.clone_from(&batch.losses);
        }
        self.writer.send(batch);
    }

    fn finish(mut self) -> (WriterThread, Vec<LossRow>) {
        self.drain();
        self.read_counters();
        let now = monotonic_ns();
        for (process_id, _) in std::mem::take(&mut self.processes) {
            self.ingest.end_process(process_id, now, None);
        }
        let mut batch = self.ingest.finish();
        batch
            .meta
            .push((meta_key::ENDED_AT_MS.to_owned(), epoch_ms().to_string()));
        self.send(batch);
        (self.writer, self.losses)
    }
}
