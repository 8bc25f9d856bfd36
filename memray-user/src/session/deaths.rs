//! Processes that were ended by a signal, and whether the kernel sent it because memory ran out.
//!
//! Who was killed for that is not told to anybody; but the cgroup of the victim counts it, before the signal is sent.
//! So the counters of the processes are read now and then, and one that has risen since shortly before the end of a
//! process by SIGKILL says why. Where no counter can be read, or it has not risen, nothing is claimed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::libc::SIGKILL;

use crate::target::{launch::ExitStatus, memory_cgroup::MemoryCgroup};

/// Between two looks. A process that is killed needs some of it to give its memory back, and an older kill of another
/// process must not be taken for its own.
const INTERVAL: Duration = Duration::from_secs(1);

/// The end of a process by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    pub pid: u32,
    pub signal: i32,
    /// Known, and not guessed.
    pub is_out_of_memory: bool,
}

/// Watches the counters; shared by the thread that looks and the one that asks.
#[derive(Clone, Debug, Default)]
pub(super) struct OomWatch(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    processes: BTreeMap<u32, Counter>,
    looked_at: Option<Instant>,
}

/// The counter of one process, at the last look and at the one before.
#[derive(Debug)]
struct Counter {
    cgroup: MemoryCgroup,
    last: u64,
    before: u64,
}

impl OomWatch {
    /// Begins to watch a process, or begins anew.
    pub(super) fn begin(&self, pid: u32) {
        let counter = Counter::of(pid);
        self.change(|watched| match counter {
            Some(counter) => drop(watched.processes.insert(pid, counter)),
            None => drop(watched.processes.remove(&pid)),
        });
    }

    pub(super) fn forget(&self, pid: u32) {
        self.change(|watched| drop(watched.processes.remove(&pid)));
    }

    /// Looks, if it is time.
    pub(super) fn look(&self, now: Instant) {
        self.change(|watched| {
            if watched
                .looked_at
                .is_some_and(|at| now.duration_since(at) < INTERVAL)
            {
                return;
            }
            watched.looked_at = Some(now);
            for (pid, counter) in &mut watched.processes {
                counter.look(*pid);
            }
        });
    }

    /// The end of a process that was watched, if a signal ended it.
    pub(super) fn death(&self, pid: u32, status: ExitStatus) -> Option<Death> {
        let ExitStatus::Signaled { signal, .. } = status else {
            return None;
        };
        let has_risen = self.change(|watched| {
            let counter = watched.processes.get(&pid)?;
            counter.cgroup.oom_kills().map(|kills| kills > counter.before)
        });
        Some(Death {
            pid,
            signal,
            is_out_of_memory: signal == SIGKILL && has_risen == Some(true),
        })
    }

    fn change<T>(&self, act: impl FnOnce(&mut Watched) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counter {
    fn of(pid: u32) -> Option<Self> {
        let cgroup = MemoryCgroup::of(pid)?;
        let kills = cgroup.oom_kills()?;
        Some(Self {
            cgroup,
            last: kills,
            before: kills,
        })
    }

    /// A process can be moved to another cgroup at any time. Of one that has ended the old one stays.
    fn look(&mut self, pid: u32) {
        let moved =
            MemoryCgroup::of(pid).filter(|cgroup| *cgroup != self.cgroup && !cgroup.is_above(&self.cgroup));
        let Some(moved) = moved else {
            self.before = self.last;
            self.last = self.cgroup.oom_kills().unwrap_or(self.last);
            return;
        };
        if let Some(kills) = moved.oom_kills() {
            (self.last, self.before) = (kills, kills);
            self.cgroup = moved;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_is_a_death_and_only_sigkill_can_be_for_memory() {
        let watch = OomWatch::default();
        let pid = std::process::id();
        watch.begin(pid);
        let check = |status: ExitStatus, expect: Option<i32>| {
            let death = watch.death(pid, status);
            assert_eq!(death.map(|death| death.signal), expect);
            assert!(!death.is_some_and(|death| death.is_out_of_memory));
        };
        let by = |signal| ExitStatus::Signaled {
            signal,
            core_dumped: false,
        };
        check(ExitStatus::Exited(137), None);
        check(by(11), Some(11));
        check(by(9), Some(9));
        watch.change(|watched| {
            // As if it had risen since.
            for counter in watched.processes.values_mut() {
                counter.before = 0;
            }
        });
        assert_eq!(
            watch.death(pid, by(11)).map(|death| death.is_out_of_memory),
            Some(false)
        );
        watch.forget(pid);
        check(by(9), Some(9));
    }

    #[test]
    fn counters_are_looked_at_now_and_then() {
        let watch = OomWatch::default();
        let begin = Instant::now();
        let looked_at = |after: Duration| {
            watch.look(begin + after);
            watch.change(|watched| watched.looked_at.unwrap().duration_since(begin))
        };
        assert_eq!(looked_at(Duration::ZERO), Duration::ZERO);
        assert_eq!(looked_at(INTERVAL / 2), Duration::ZERO);
        assert_eq!(looked_at(INTERVAL), INTERVAL);
    }
}
