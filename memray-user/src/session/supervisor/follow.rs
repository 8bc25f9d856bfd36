//! Children, other programs, and a first thread that ends before the others.

use std::time::{Duration, Instant};

use super::{Birth, IDLE, RELEASE_INTERVAL, Stage, Supervisor, Tracked, record::Attach, tracked::Loading};
use crate::{
    model::ProcessOrigin,
    session::prepare::{Demand, prepare},
    target::{elf::ElfFile, process::Process},
};

/// How long a new program may take until its libraries are in place; then it is looked at as it is.
const LOADING: Duration = Duration::from_secs(10);
/// How often a program that is not held is looked at while it is loaded.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How often one is looked at that is to be held. If it was loaded at one look it has been held by the next.
const HELD_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// What is too short for two children is not worth a sweep each.
const SWEEP_DELAY: Duration = Duration::from_millis(20);
/// From one sweep to the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// After the end of its first thread a process mostly ends.
const LEADER_DELAY: Duration = Duration::from_millis(20);

impl Supervisor {
    pub(super) fn next_due(&self) -> Instant {
        let dues = self
            .tracked
            .values()
            .flat_map(|tracked| [tracked.look_at, tracked.look_for_threads_at]);
        let leaving = (!self.leaving.is_empty()).then(|| Instant::now() + RELEASE_INTERVAL);
        dues.chain([self.sweep_at, leaving])
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
    }

    pub(super) fn do_what_is_due(&mut self) {
        self.let_leave();
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.sweep_at) {
            self.sweep_at = None;
            self.sweep();
        }
        let mut late = Vec::new();
        let mut leaderless = Vec::new();
        for (pid, tracked) in &mut self.tracked {
            if is_due(tracked.look_at) {
                tracked.look_at = None;
                late.push(*pid);
            }
            if is_due(tracked.look_for_threads_at) {
                tracked.look_for_threads_at = None;
                leaderless.push(*pid);
            }
        }
        for pid in late {
            self.record_late(pid);
        }
        for pid in leaderless {
            self.look_for_threads(pid);
        }
    }

    /// A followed process has a child, which waits for its probes where it begins.
    pub(super) fn forked(&mut self, parent_pid: u32, child_pid: u32, shares_memory: bool) {
        let parent = self.tracked.get(&parent_pid);
        let mut child = Tracked::new(ProcessOrigin::Forked, parent.and_then(Tracked::as_parent));
        let is_copy = !shares_memory && parent.is_some_and(|parent| parent.process_id().is_some());
        if is_copy {
            child.birth = Birth::Awaited { is_linked: false };
        }
        self.tracked.insert(child_pid, child);
        self.oom_watch.begin(child_pid);
        if self.ends.watch(child_pid).is_err() {
            // It has ended already, and was reaped; or nothing more can be opened.
            self.miss_probes(child_pid);
            self.tracked.remove(&child_pid);
            let _left = self.processes.unfollow(child_pid);
            self.tell_if_all_ended();
            return;
        }
        if is_copy && self.record_child(child_pid, parent_pid).is_err() {
            self.miss_probes(child_pid);
            self.birth_linked(child_pid);
        }
    }

    /// The probes of a child are in.
    pub(super) fn birth_linked(&mut self, pid: u32) {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return;
        };
        match tracked.birth {
            Birth::Awaited { .. } => tracked.birth = Birth::Awaited { is_linked: true },
            Birth::Waiting { tid } => {
                tracked.birth = Birth::Done;
                self.release(tid);
            }
            Birth::None | Birth::Done => {}
        }
    }

    /// A process has become another program.
    pub(super) fn executed(&mut self, pid: u32, by_other_thread: bool) {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return;
        };
        tracked.execute();
        self.oom_watch.begin(pid);
        tracked.has_stale_links |= by_other_thread;
        let has_holds = self.settings.follow_children || !by_other_thread;
        if by_other_thread {
            self.held_places.retain(|(of, _)| *of != pid);
        }
        if tracked.is_launching {
            return;
        }
        let has_loader = Process::open(pid)
            .ok()
            .and_then(|process| ElfFile::open(&process.proc_directory().join("exe")).ok())
            .is_none_or(|elf| elf.interpreter().is_some());
        let now = Instant::now();
        let interval = if has_holds {
            HELD_LOOK_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        tracked.loading = Some(Loading {
            interval,
            until: now + LOADING,
            // Nobody is held who is not loaded by anybody.
            was_loaded: !has_holds || !has_loader,
        });
        tracked.look_at = Some(if has_loader { now + interval } else { now });
    }

    /// A program was not held where it was loaded.
    fn record_late(&mut self, pid: u32) {
        let is_starting = |tracked: &Tracked| tracked.stage == Stage::Starting && !tracked.is_launching;
        let Some(tracked) = self.tracked.get_mut(&pid).filter(|tracked| is_starting(tracked)) else {
            return;
        };
        let now = Instant::now();
        let is_loaded = Process::open(pid).is_ok_and(|process| {
            let progress = tracked.progress(&process);
            progress.is_none_or(|progress| progress.is_loaded_by_now(&process))
        });
        if let Some(loading) = &mut tracked.loading
            && now < loading.until
            && !(is_loaded && std::mem::replace(&mut loading.was_loaded, is_loaded))
        {
            tracked.look_at = Some(now + loading.interval);
            return;
        }
        let recorded = prepare(pid, &mut self.plans, Demand::Whatever)
            .and_then(|prepared| self.record(prepared, Attach::Held { tid: None }));
        // It may have ended by now, which leaves its life without probes, and no less late.
        let has_begun = self
            .tracked
            .get(&pid)
            .is_some_and(|tracked| tracked.process_id().is_some());
        if recorded.is_ok() || has_begun {
            self.began_late(pid);
        } else {
            self.miss_probes(pid);
        }
    }

    /// The first thread of a process has ended.
    pub(super) fn leader_ended(&mut self, pid: u32, exit_code: u32, of_all_threads: bool) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.exit_code = Some(exit_code);
            if !of_all_threads {
                tracked.look_for_threads_at = Some(Instant::now() + LEADER_DELAY);
            }
        }
    }

    /// Others may go on.
    fn look_for_threads(&mut self, pid: u32) {
        // A thread that is on its way out, with the memory of the whole process to give back, shows no program.
        if !Process::open(pid).is_ok_and(|process| process.is_leaderless()) {
            return;
        }
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return;
        };
        // What it says of the others, who still run, is nothing.
        tracked.exit_code = None;
        if std::mem::replace(&mut tracked.is_leaderless, true) {
            return;
        }
        let sites = tracked.sites.clone();
        match self.linker.keep(&sites) {
            Ok(keepers) => self.add_links(pid, keepers),
            Err(_gone) => self.began_late(pid),
        }
    }

    /// A child that is not followed has its parent's breakpoints in its memory.
    pub(super) fn sweep_soon(&mut self) {
        if self.sweep_at.is_none() {
            self.sweep_at = Some(self.next_sweep.max(Instant::now() + SWEEP_DELAY));
        }
    }

    fn sweep(&mut self) {
        // Each walks through every process that maps the files, whose forks wait meanwhile.
        self.next_sweep = Instant::now() + SWEEP_INTERVAL;
        let mut sites = Vec::new();
        for tracked in self.tracked.values() {
            sites.extend_from_slice(&tracked.sites);
        }
        let linker = self.linker.clone();
        self.workers.run(move || {
            let _pays_longer = linker.sweep(&sites);
        });
    }
}
