//! The thread that knows which processes are recorded, and puts probes in and takes them out.
//!
//! It is told everything by messages: what the programs say of processes (from the collector, in the order of events),
//! what ends (from [`Ends`]), links that are made (from threads that wait for the kernel), and what the session wants. It
//! never waits for a process, so that none of them waits for another.
//!
//! What the ring says and what others say of a process must be brought into order: before the end of a process, or the
//! adoption of a program, is dealt with, the ring is drained and the message put behind what that has told.

mod ending;
mod follow;
mod holds;
mod record;
mod tracked;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use self::tracked::{Birth, Stage, Tracked};
use super::{
    CaptureSettings,
    closer::Closer,
    collector::{Captured, Collector},
    control::ControlEvent,
    deaths::{Death, OomWatch},
    ends::Ends,
    error::SessionError,
    plans::FilePlans,
    workers::Workers,
};
use crate::{
    bpf::{BpfError, FileId, Link, Linker, ProbeSite, Processes, Recorder},
    model::ProcessOrigin,
    session::clock::Clock,
    store::StoreError,
    target::{launch::ExitStatus, park::ParkedThread, scheduling},
};

/// A process that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adoption {
    pub(super) pid: u32,
    pub(super) origin: ProcessOrigin,
    pub(super) must_be_python: bool,
    /// The process is stopped where its program is loaded, and whoever asks goes on to watch it if it is no Python.
    pub(super) is_launching: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    Python,
    Other,
    /// It had to be a Python and is none; nothing was done.
    Refused,
}

/// What the supervisor is told.
pub(super) enum Message {
    Control(ControlEvent),
    Adopt(Adoption, SyncSender<Result<Adopted, SessionError>>),
    /// The ring was drained after it was asked for.
    AdoptDrained(Adoption, SyncSender<Result<Adopted, SessionError>>),
    /// Links for this life of a process were made.
    Linked {
        pid: u32,
        life: u32,
        /// Waits for it.
        tid: Option<u32>,
        /// What they are on.
        sites: Vec<ProbeSite>,
        links: Result<Vec<Link>, BpfError>,
    },
    Ended {
        pid: u32,
        status: Option<ExitStatus>,
    },
    EndedDrained {
        pid: u32,
        status: Option<ExitStatus>,
    },
    /// Whoever asked for processes has all of them, and wants to know when they have ended.
    Begun,
    /// To record a process no longer. The answer is none if it is not recorded, else whether it was the last.
    Detach(u32, SyncSender<Option<bool>>),
    DetachDrained(u32, SyncSender<Option<bool>>),
    /// The probes of a process are off.
    Detached(u32, SyncSender<Option<bool>>),
    Finish(SyncSender<Finished>),
    Abandon(SyncSender<Result<(), StoreError>>),
}

/// How the recording ended.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// None if there was nothing to record.
    pub(super) capture: Option<Captured>,
    /// In the order in which they came.
    pub(super) deaths: Vec<Death>,
}

/// What the session is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// No process is left.
    AllEnded,
    /// The capture will not be whole.
    Trouble(StoreError),
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct SupervisorThread {
    messages: Sender<Message>,
    thread: JoinHandle<()>,
}

impl SupervisorThread {
    pub(super) fn start(
        recorder: Recorder,
        settings: CaptureSettings,
        clock: Clock,
    ) -> Result<(Self, Receiver<Notice>), SessionError> {
        let (messages, received) = channel();
        let (notices, told) = channel();
        let to_self = messages.clone();
        let oom_watch = OomWatch::default();
        let of_ends = oom_watch.clone();
        let look = move || of_ends.look(Instant::now());
        let ends = Ends::start(look, move |pid| {
            let _supervisor_gone = to_self.send(Message::Ended { pid, status: None });
        })
        .map_err(SessionError::Watch)?;
        let supervisor = Supervisor {
            linker: recorder.linker(),
            processes: recorder.take_processes()?,
            recorder,
            settings,
            clock,
            collector: None,
            plans: FilePlans::default(),
            tracked: BTreeMap::new(),
            holds: Vec::new(),
            held_places: BTreeSet::new(),
            detaching: 0,
            ends,
            closer: Closer::start(),
            messages: messages.clone(),
            notices,
            sweep_at: None,
            next_sweep: Instant::now(),
            parked: BTreeMap::new(),
            leaving: Vec::new(),
            workers: Workers::start(),
            has_begun: false,
            deaths: Vec::new(),
            oom_watch,
        };
        let thread = thread::spawn(move || {
            // Whoever is held waits for it.
            scheduling::raise_priority();
            supervisor.run(&received);
        });
        Ok((Self { messages, thread }, told))
    }

    pub(super) fn adopt(&self, adoption: Adoption) -> Result<Adopted, SessionError> {
        self.ask(|answer| Message::Adopt(adoption, answer))
    }

    /// From here on it is told when no process is left.
    pub(super) fn tell_the_end(&self) {
        self.send(Message::Begun);
    }

    /// A child of ours has ended.
    pub(super) fn child_ended(&self, pid: u32, status: ExitStatus) {
        self.send(Message::Ended {
            pid,
            status: Some(status),
        });
    }

    /// Takes the probes out of all that still runs and finishes the capture.
    pub(super) fn finish(self) -> Finished {
        let finished = self.ask(Message::Finish);
        self.join();
        finished
    }

    /// Removes the capture.
    pub(super) fn abandon(self) -> Result<(), StoreError> {
        let abandoned = self.ask(Message::Abandon);
        self.join();
        abandoned
    }

    /// Another way to it, for another thread.
    pub(super) fn handle(&self) -> SupervisorHandle {
        SupervisorHandle {
            messages: self.messages.clone(),
        }
    }

    fn join(self) {
        // It panics only if the process ends.
        let _panicked = self.thread.join();
    }

    fn ask<T>(&self, message: impl FnOnce(SyncSender<T>) -> Message) -> T {
        let (answer, answered) = sync_channel(1);
        self.send(message(answer));
        answered.recv().expect("a panic ends the process before")
    }

    fn send(&self, message: Message) {
        let _ended = self.messages.send(message);
    }
}

/// The way to a supervisor that may be gone.
#[derive(Clone, Debug)]
pub(super) struct SupervisorHandle {
    messages: Sender<Message>,
}

impl SupervisorHandle {
    /// Ends the recording of one process. None if it is not recorded, else whether it was the last that was.
    pub(super) fn detach(&self, pid: u32) -> Option<bool> {
        let (answer, answered) = sync_channel(1);
        self.messages.send(Message::Detach(pid, answer)).ok()?;
        answered.recv().ok()?
    }
}

/// What the thread owns.
struct Supervisor {
    /// Kept for the programs that watch the whole system.
    recorder: Recorder,
    linker: Linker,
    processes: Processes,
    settings: CaptureSettings,
    clock: Clock,
    /// Made when all that can be wrong with the first process is known: a failure leaves the file that was there.
    collector: Option<Collector>,
    plans: FilePlans,
    tracked: BTreeMap<u32, Tracked>,
    /// Those of everybody.
    holds: Vec<Link>,
    /// Where threads are held already: of everybody (0), or of one process.
    held_places: BTreeSet<(u32, (FileId, u64))>,
    /// Processes whose probes are on their way out.
    detaching: usize,
    ends: Ends,
    closer: Closer,
    messages: Sender<Message>,
    notices: Sender<Notice>,
    /// When to take breakpoints out of children that are not followed.
    sweep_at: Option<Instant>,
    next_sweep: Instant,
    /// Threads that are stopped until their probes are in.
    parked: BTreeMap<u32, ParkedThread>,
    /// Threads that were let go before they had come to their stop.
    leaving: Vec<ParkedThread>,
    workers: Workers,
    has_begun: bool,
    deaths: Vec<Death>,
    oom_watch: OomWatch,
}

/// How often held threads are let go while the recording ends.
const RELEASE_INTERVAL: Duration = Duration::from_millis(2);
/// Turns while nothing is due.
const IDLE: Duration = Duration::from_hours(1);

impl Supervisor {
    fn run(mut self, received: &Receiver<Message>) {
        loop {
            let wait = self.next_due().saturating_duration_since(Instant::now());
            match received.recv_timeout(wait) {
                Ok(Message::Finish(answer)) => {
                    let finished = self.finish(received);
                    let _caller_gone = answer.send(finished);
                    return;
                }
                Ok(Message::Abandon(answer)) => {
                    let abandoned = self.abandon(received);
                    let _caller_gone = answer.send(abandoned);
                    return;
                }
                Ok(message) => self.serve(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.do_what_is_due();
        }
    }

    fn serve(&mut self, message: Message) {
        match message {
            Message::Control(event) => self.control(event),
            Message::Adopt(adoption, answer) => {
                self.drain();
                self.send(Message::AdoptDrained(adoption, answer));
            }
            Message::AdoptDrained(adoption, answer) => {
                let _caller_gone = answer.send(self.adopt(adoption));
            }
            Message::Linked {
                pid,
                life,
                tid,
                sites,
                links,
            } => self.linked(pid, life, tid, &sites, links),
            Message::Ended { pid, status } => {
                self.drain();
                self.send(Message::EndedDrained { pid, status });
            }
            Message::EndedDrained { pid, status } => self.ended(pid, status),
            Message::Begun => {
                self.has_begun = true;
                self.tell_if_all_ended();
            }
            Message::Detach(pid, answer) => {
                self.drain();
                self.send(Message::DetachDrained(pid, answer));
            }
            Message::DetachDrained(pid, answer) => self.detach(pid, answer),
            Message::Detached(pid, answer) => {
                self.detached(pid);
                let is_last = self.tracked.is_empty() && self.detaching == 0;
                let _caller_gone = answer.send(Some(is_last));
                self.tell_if_all_ended();
            }
            // Served by `run`.
            Message::Finish(_) | Message::Abandon(_) => {}
        }
    }

    fn control(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Forked {
                parent_pid,
                child_pid,
                shares_memory,
                is_followed,
            } if is_followed => self.forked(parent_pid, child_pid, shares_memory),
            ControlEvent::Forked { .. } => self.sweep_soon(),
            ControlEvent::Executed { pid, by_other_thread } => self.executed(pid, by_other_thread),
            ControlEvent::Held {
                pid,
                tid,
                place,
                argument,
            } => self.held(pid, tid, place, argument),
            ControlEvent::LeaderEnded {
                pid,
                exit_code,
                of_all_threads,
            } => self.leader_ended(pid, exit_code, of_all_threads),
        }
    }

    fn send(&self, message: Message) {
        // To ourselves.
        let _sent = self.messages.send(message);
    }

    fn drain(&self) {
        if let Some(collector) = &self.collector {
            collector.drain();
        }
    }

    /// Has a held thread wait without using its CPU: it leaves its probe, and stops. While many turn in the kernel nobody
    /// else gets far, and closing links waits for whoever is in a probe. One that has another tracer goes on to turn.
    fn park(&mut self, tid: u32) {
        if let Ok(thread) = ParkedThread::park(tid) {
            self.parked.insert(tid, thread);
            let _waits_longer = self.processes.release(tid);
        }
    }

    /// Lets a thread go. What fails costs it the rest of the longest time that a thread is held.
    fn release(&mut self, tid: u32) {
        match self.parked.remove(&tid) {
            Some(thread) => self.leaving.extend(thread.let_go().err()),
            None => {
                let _waits_longer = self.processes.release(tid);
            }
        }
    }
}
