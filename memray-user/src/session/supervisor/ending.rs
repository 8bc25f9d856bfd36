//! Processes go out of the recording, one by one or all at once.

use std::{
    sync::mpsc::{Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use super::{Birth, Finished, Message, Notice, RELEASE_INTERVAL, Stage, Supervisor, Tracked};
use crate::{
    bpf,
    session::{collector::Collector, workers::Workers},
    store::StoreError,
    target::{launch::ExitStatus, process::Process},
};

/// How long is waited at the end for threads that are to go on.
const LEAVING_PATIENCE: Duration = Duration::from_secs(5);

impl Supervisor {
    /// The process has ended and all that it has sent has been taken in.
    pub(super) fn ended(&mut self, pid: u32, status: Option<ExitStatus>) {
        let Some(mut tracked) = self.tracked.remove(&pid) else {
            return;
        };
        let of_first_thread = || ExitStatus::from_wait_status(tracked.exit_code?.cast_signed());
        let status = status.or_else(of_first_thread);
        self.deaths
            .extend(status.and_then(|status| self.oom_watch.death(pid, status)));
        self.let_go(pid, &tracked);
        let _left = self.processes.remove_target(pid);
        self.closer.close(std::mem::take(&mut tracked.links));
        if let Some(collector) = &self.collector {
            let is_unseen = tracked.stage == Stage::Starting && tracked.has_executed;
            if is_unseen && let Some(parent) = tracked.parent {
                collector.began_late(parent);
            }
            if let Some(process_id) = tracked.process_id() {
                if matches!(tracked.birth, Birth::Awaited { .. }) {
                    collector.began_late(process_id);
                }
                collector.end(process_id, pid, status.map(ExitStatus::as_a_shell_shows));
            }
        }
        self.tell_if_all_ended();
    }

    /// Ends the recording of a process that goes on: first in the capture, at one moment, then in the process, which
    /// takes a while that nobody is to wait for.
    pub(super) fn detach(&mut self, pid: u32, answer: SyncSender<Option<bool>>) {
        let Some(mut tracked) = self.tracked.remove(&pid) else {
            let _caller_gone = answer.send(None);
            return;
        };
        if let (Some(collector), Some(process_id)) = (&self.collector, tracked.process_id()) {
            collector.cut(process_id, pid);
        }
        self.let_go(pid, &tracked);
        self.detaching += 1;
        let links = std::mem::take(&mut tracked.links);
        let messages = self.messages.clone();
        self.workers.run(move || {
            bpf::close(links);
            let _supervisor_gone = messages.send(Message::Detached(pid, answer));
        });
    }

    pub(super) fn detached(&mut self, pid: u32) {
        self.detaching -= 1;
        // It may have been asked for again, or its number be another's.
        if self.tracked.contains_key(&pid) {
            return;
        }
        // Entries that stay are in nobody's way.
        let _left = self.processes.remove_target(pid);
        if let Ok(threads) = Process::open(pid).and_then(|process| process.threads()) {
            let _left = self.processes.forget_threads(&threads);
        }
    }

    /// The programs watch the process no longer, and none of its threads waits.
    pub(super) fn let_go(&mut self, pid: u32, tracked: &Tracked) {
        self.ends.forget(pid);
        self.oom_watch.forget(pid);
        let _left = self.processes.unfollow(pid);
        if let Birth::Waiting { tid } = tracked.birth {
            self.release(tid);
        }
        self.held_places.retain(|(of, _)| *of != pid);
    }

    pub(super) fn tell_if_all_ended(&self) {
        if self.has_begun && self.tracked.is_empty() && self.detaching == 0 {
            let _session_gone = self.notices.send(Notice::AllEnded);
        }
    }

    pub(super) fn finish(self, received: &Receiver<Message>) -> Finished {
        if let Some(collector) = &self.collector {
            for (pid, tracked) in &self.tracked {
                if let Some(process_id) = tracked.process_id() {
                    collector.cut(process_id, *pid);
                }
            }
        }
        let Self {
            recorder,
            collector,
            closer,
            deaths,
            ..
        } = self.take_all_off(received);
        let capture = collector.map(Collector::finish);
        closer.finish();
        drop(recorder);
        Finished { capture, deaths }
    }

    pub(super) fn abandon(self, received: &Receiver<Message>) -> Result<(), StoreError> {
        let Self {
            collector, closer, ..
        } = self.take_all_off(received);
        let abandoned = collector.map_or(Ok(()), Collector::abandon);
        closer.finish();
        abandoned
    }

    /// Nobody is held from here on, and nothing is probed.
    fn take_all_off(mut self, received: &Receiver<Message>) -> Self {
        self.leaving
            .extend(std::mem::take(&mut self.parked).into_values());
        let mut links = std::mem::take(&mut self.holds);
        for (pid, tracked) in &mut self.tracked {
            let _left = self.processes.unfollow(*pid);
            links.append(&mut tracked.links);
        }
        // Links that are being made come as messages, as long as we give others the chance.
        let workers = std::mem::replace(&mut self.workers, Workers::none());
        let closing = thread::spawn(move || {
            workers.finish();
            bpf::close(links);
        });
        // Who is held keeps links from closing, and can have come in just before its process was let go. Who does not come
        // to its stop, because it is frozen, the kernel lets go at our end.
        let patience = Instant::now() + LEAVING_PATIENCE;
        while !closing.is_finished() || (!self.leaving.is_empty() && Instant::now() < patience) {
            let _wait_longer = self.processes.release_all();
            self.let_leave();
            thread::sleep(RELEASE_INTERVAL);
        }
        for message in received.try_iter() {
            if let Message::Linked { links: Ok(links), .. } = message {
                self.closer.close(links);
            }
        }
        // Before the counters are read for the last time: what is mapped from here on is not counted.
        for pid in self.tracked.keys() {
            let _left = self.processes.remove_target(*pid);
        }
        self
    }

    /// Lets those go that have come to their stop.
    pub(super) fn let_leave(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving = leaving
            .into_iter()
            .filter_map(|thread| thread.let_go().err())
            .collect();
    }
}
