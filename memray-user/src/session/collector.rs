//! The thread that reads the ring and keeps the figures.

use std::{
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    BATCH_INTERVAL,
    clock::{Clock, epoch_ms, monotonic_ns},
    writer::WriterThread,
};
use crate::{
    bpf::{Counters, RingReader},
    ingest::{CodeReader, Ingest, IngestOptions, ScriptStart},
    model::{Batch, LossRow, ProcessId, ProcessOrigin, ProcessRow},
    store::{StoreError, meta_key},
    target::{launch::ExitStatus, process::Process, scheduling},
};

/// How often the ring is looked at. A wake-up for each event would cost the target more than this costs us.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// How often the resident size is read; memray's default.
const RSS_INTERVAL_NS: u64 = 10_000_000;
/// Records taken at one go, so that requests and batches have their turn however fast the target is.
const RECORDS_AT_ONCE: u64 = 200_000;

/// What the collector is asked to do.
enum Request {
    AddProcess {
        row: Box<ProcessRow>,
        reader: Box<dyn CodeReader>,
        script: ScriptStart,
        done: SyncSender<()>,
    },
    Finish {
        exit_status: i32,
    },
    Abandon,
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Collector {
    requests: SyncSender<Request>,
    thread: JoinHandle<(WriterThread, Vec<LossRow>)>,
}

impl Collector {
    pub(super) fn start(ring: RingReader, counters: Counters, writer: WriterThread, clock: Clock) -> Self {
        let (requests, received) = sync_channel(1);
        let thread = thread::spawn(move || {
            // Above the target, which else could keep the collector from the CPU that it must share.
            scheduling::raise_priority();
            let options = IngestOptions {
                clock_base_ns: clock.base_ns(),
                ..IngestOptions::default()
            };
            let state = State {
                clock,
                ring,
                counters,
                ingest: Ingest::new(options),
                writer,
                processes: Vec::new(),
                losses: Vec::new(),
            };
            state.run(&received)
        });
        Self { requests, thread }
    }

    /// Returns when events of the process can come.
    pub(super) fn add_process(&self, row: ProcessRow, reader: Box<dyn CodeReader>, script: ScriptStart) {
        let (done, added) = sync_channel(1);
        self.request(Request::AddProcess {
            row: Box::new(row),
            reader,
            script,
            done,
        });
        let _ended = added.recv();
    }

    /// Takes in what is left, writes it and finishes the capture.
    /// Returns the counters, and why the capture is not whole if it is not.
    pub(super) fn finish(self, status: ExitStatus) -> (Vec<LossRow>, Option<StoreError>) {
        let exit_status = match status {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled { signal, .. } => 128 + signal,
        };
        self.request(Request::Finish { exit_status });
        let (writer, losses) = self.join();
        (losses, writer.finish())
    }

    /// Removes the capture.
    pub(super) fn abandon(self) -> Result<(), StoreError> {
        self.request(Request::Abandon);
        self.join().0.discard()
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
    ring: RingReader,
    counters: Counters,
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
            if self.drain_some() < RECORDS_AT_ONCE {
                drained_ns = now;
                self.ring.wait(POLL_INTERVAL);
            }
            match requests.try_recv() {
                Err(TryRecvError::Empty) => {}
                Ok(Request::AddProcess {
                    row,
                    reader,
                    script,
                    done,
                }) => {
                    self.add_process(*row, reader, script);
                    let _caller_gone = done.send(());
                }
                Ok(Request::Finish { exit_status }) => return self.finish(exit_status),
                Ok(Request::Abandon) | Err(TryRecvError::Disconnected) => {
                    return (self.writer, self.losses);
                }
            }
            let now = monotonic_ns();
            if now >= next_rss_ns {
                self.sample_rss(now);
                next_rss_ns = now + RSS_INTERVAL_NS;
            }
            if now >= next_batch_ns {
                self.read_counters();
                let batch = self.ingest.take_batch(drained_ns);
                self.send(batch);
                next_batch_ns = monotonic_ns() + batch_interval_ns;
            }
        }
    }

    fn drain_some(&mut self) -> u64 {
        let Self { ring, ingest, .. } = self;
        ring.drain(RECORDS_AT_ONCE, |record| ingest.push(record))
    }

    fn drain(&mut self) {
        while self.drain_some() > 0 {}
    }

    fn add_process(&mut self, mut row: ProcessRow, reader: Box<dyn CodeReader>, script: ScriptStart) {
        // What is in the ring belongs to the life before.
        self.drain();
        let pid = row.pid;
        // A life of the same pid ends by exec.
        if let Some(index) = self
            .processes
            .iter()
            .position(|(_, process)| process.pid() == pid)
        {
            let (before, _) = self.processes.swap_remove(index);
            self.ingest.end_process(before, monotonic_ns(), None);
            row.parent_process_id = Some(before);
            row.origin = ProcessOrigin::Executed;
        }
        row.started_ns = self.clock.since_start_ns();
        self.ingest.set_script(script);
        let process_id = self.ingest.add_process(row, reader);
        if let Ok(process) = Process::open(pid) {
            self.processes.push((process_id, process));
        }
    }

    fn sample_rss(&mut self, now_ns: u64) {
        for (process_id, process) in &self.processes {
            if let Ok(rss_bytes) = process.rss_bytes() {
                self.ingest.sample_rss(*process_id, now_ns, rss_bytes);
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

    fn finish(mut self, exit_status: i32) -> (WriterThread, Vec<LossRow>) {
        self.drain();
        self.read_counters();
        let now = monotonic_ns();
        for (process_id, _) in std::mem::take(&mut self.processes) {
            self.ingest.end_process(process_id, now, Some(exit_status));
        }
        let mut batch = self.ingest.finish();
        batch
            .meta
            .push((meta_key::ENDED_AT_MS.to_owned(), epoch_ms().to_string()));
        self.send(batch);
        (self.writer, self.losses)
    }
}
