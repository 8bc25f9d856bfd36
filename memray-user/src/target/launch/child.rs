//! The launched process, from exec to its end.

use std::{
    marker::PhantomData,
    time::{Duration, Instant},
};

use nix::sys::ptrace::Options;

use super::{
    ExitStatus, InheritedSignals, Launch, LaunchError, Loaded, LoadedPoint, SignalRelay,
    loaded::{self, Breakpoints},
    ptrace::{self, TRAP_HARDWARE},
    relay::{self, Meaning},
    spawn::{self, Spawned},
};
use crate::target::process::Process;

/// What to do with a program at its loaded point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it run, untraced from here on.
    Release,
    /// Let it run and stop the process again where the next program is loaded, if it calls exec. Only an exec of the
    /// main thread is seen; a program with threads that calls exec from another one runs on untraced.
    WatchForExec,
}

/// How [`Child::run_until_released`] came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Released,
    /// It ended first.
    Ended(ExitStatus),
}

/// Longest time without a look at the process. SIGCHLD wakes us at once; this only bounds the harm if a thread that
/// does not block it has swallowed it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A process that we have started.
///
/// Tied to its thread: the kernel takes ptrace requests only from the thread that traces. Dropped before it was
/// released, the process is killed, because a program that never ran is of no use to anybody; after that it is left
/// alone.
#[derive(Debug)]
pub struct Child<'relay> {
    pid: i32,
    relay: &'relay SignalRelay,
    is_traced: bool,
    exec_count: u32,
    /// The process has stopped at exec, and nobody has looked yet for its loaded point.
    is_at_exec: bool,
    status: Option<ExitStatus>,
    not_send: PhantomData<*const ()>,
}

/// What a traced process has stopped for, after signals and group-stops have been dealt with.
enum Stop {
    Exec,
    DebugRegister,
}

impl Launch {
    /// Starts the program and stops it at exec. What goes wrong until then is an error of ours and never looks like
    /// an exit of the program.
    pub fn spawn<'relay>(
        &self,
        signals: &InheritedSignals,
        relay: &'relay SignalRelay,
    ) -> Result<Child<'relay>, LaunchError> {
        let mut spawned: Spawned = spawn::spawn(self, signals, options_before_start())?;
        let mut child = Child {
            pid: spawned.pid,
            relay,
            is_traced: true,
            exec_count: 0,
            is_at_exec: false,
            status: None,
            not_send: PhantomData,
        };
        let stop_is_exec = child.next_stop()?.is_some();
        if !stop_is_exec && let Some(source) = spawned.exec_error() {
            return Err(LaunchError::Execute {
                program: self.program.clone(),
                source,
            });
        }
        child.is_at_exec = stop_is_exec;
        Ok(child)
    }
}

impl Child<'_> {
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Runs the process to the next loaded point: that of the program it has been started with, and after that,
    /// called again, that of the next program it becomes. None if it ends instead; [`wait`](Self::wait) says how.
    pub fn run_to_loaded(&mut self) -> Result<Option<Loaded>, LaunchError> {
        match self.try_run_to_loaded() {
            Err(error) if error.is_process_gone() => {
                while self.next_stop()?.is_some() {}
                Ok(None)
            }
            result => result,
        }
    }

    fn try_run_to_loaded(&mut self) -> Result<Option<Loaded>, LaunchError> {
        if self.status.is_some() {
            return Ok(None);
        }
        if !self.is_at_exec {
            loaded::clear(self.pid)?;
            // The program has run: from here on our death must not be its death.
            ptrace::set_options(self.pid, Options::PTRACE_O_TRACEEXEC)?;
            ptrace::resume(self.pid, 0)?;
            loop {
                match self.next_stop()? {
                    None => return Ok(None),
                    Some(Stop::Exec) => break,
                    Some(Stop::DebugRegister) => ptrace::resume(self.pid, libc::SIGTRAP)?,
                }
            }
        }
        self.run_from_exec()
    }

    /// Lets the process go. It has nothing of ours on it from here on.
    pub fn release(&mut self) -> Result<(), LaunchError> {
        let detached = loaded::clear(self.pid).and_then(|()| ptrace::detach(self.pid));
        match detached {
            Err(error) if !error.is_process_gone() => Err(error),
            _ => {
                self.is_traced = false;
                Ok(())
            }
        }
    }

    /// Takes the process from loaded point to loaded point until `decide` releases it. If `decide` fails, the
    /// process stays stopped, and is killed when the child is dropped.
    pub fn run_until_released<E: From<LaunchError>>(
        &mut self,
        mut decide: impl FnMut(&Loaded) -> Result<Decision, E>,
    ) -> Result<Outcome, E> {
        while let Some(loaded) = self.run_to_loaded()? {
            if decide(&loaded)? == Decision::Release {
                self.release()?;
                return Ok(Outcome::Released);
            }
        }
        Ok(Outcome::Ended(self.wait()?))
    }

    /// Waits for the end of the process, passing signals on meanwhile, and reaps it. A process that has not been
    /// released is released first.
    pub fn wait(&mut self) -> Result<ExitStatus, LaunchError> {
        loop {
            if let Some(status) = self.wait_for(Duration::from_hours(1))? {
                return Ok(status);
            }
        }
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`; none if the process still runs.
    pub fn wait_for(&mut self, timeout: Duration) -> Result<Option<ExitStatus>, LaunchError> {
        if self.is_traced && self.status.is_none() {
            self.release()?;
        }
        let deadline = Instant::now() + timeout;
        while self.status.is_none() {
            if let Some(status) = ptrace::wait_status(self.pid)? {
                self.status = ExitStatus::from_wait_status(status);
                // With an event it is a stop of another thread of ours, which knows what to do (`target::park`).
                if libc::WIFSTOPPED(status) && status >> 16 == 0 {
                    relay::stop_alike(libc::WSTOPSIG(status));
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.handle_signal(left.min(LOOK_INTERVAL));
        }
        Ok(self.status)
    }

    fn run_from_exec(&mut self) -> Result<Option<Loaded>, LaunchError> {
        loop {
            self.is_at_exec = false;
            self.exec_count += 1;
            ptrace::set_options(self.pid, options_before_start())?;
            let Some(mut breakpoints) = Breakpoints::set(self.pid)? else {
                return Ok(Some(self.loaded(LoadedPoint::Exec)));
            };
            loop {
                ptrace::resume(self.pid, 0)?;
                match self.next_stop()? {
                    None => return Ok(None),
                    // Another program before this one was loaded: not from a loader, but nothing forbids it.
                    Some(Stop::Exec) => break,
                    Some(Stop::DebugRegister) => {
                        if let Some(point) = breakpoints.reached(self.pid)? {
                            return Ok(Some(self.loaded(point)));
                        }
                    }
                }
            }
        }
    }

    fn loaded(&self, point: LoadedPoint) -> Loaded {
        Loaded {
            pid: self.pid(),
            point,
            exec_count: self.exec_count,
        }
    }

    /// Waits for a stop that is ours, delivering every signal and group-stop on the way. None at the process's end.
    fn next_stop(&mut self) -> Result<Option<Stop>, LaunchError> {
        loop {
            match ptrace::wait_status(self.pid)? {
                None => self.handle_signal(LOOK_INTERVAL),
                Some(status) => {
                    self.status = ExitStatus::from_wait_status(status);
                    if self.status.is_some() {
                        return Ok(None);
                    }
                    if let Some(stop) = self.stopped(status)? {
                        return Ok(Some(stop));
                    }
                }
            }
        }
    }

    /// Deals with a stop as a process without a tracer would have: signals are delivered, group-stops last until
    /// SIGCONT (ptrace(2), "Group-stop" and "`PTRACE_EVENT` stops").
    fn stopped(&self, status: i32) -> Result<Option<Stop>, LaunchError> {
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            libc::PTRACE_EVENT_EXEC => return Ok(Some(Stop::Exec)),
            libc::PTRACE_EVENT_STOP if is_stop(signal) => {
                ptrace::listen(self.pid)?;
                relay::stop_alike(signal);
            }
            0 if signal == libc::SIGTRAP && ptrace::signal_code(self.pid)? == TRAP_HARDWARE => {
                return Ok(Some(Stop::DebugRegister));
            }
            0 => ptrace::resume(self.pid, signal)?,
            _ => ptrace::resume(self.pid, 0)?,
        }
        Ok(None)
    }

    fn handle_signal(&self, timeout: Duration) {
        let Some((signal, meaning)) = self.relay.receive(timeout, self.pid) else {
            return;
        };
        let must_send = match meaning {
            Meaning::Forward => true,
            Meaning::Continue => self.is_stopped(),
            Meaning::ChildChanged | Meaning::Nothing => false,
        };
        if must_send {
            relay::send(self.pid, signal);
        }
    }

    /// Whether the process is in a stop of job control. Asked only when we have been continued, so a file of /proc
    /// is quick enough.
    fn is_stopped(&self) -> bool {
        Process::open(self.pid()).is_ok_and(|process| matches!(process.state(), Some(b'T' | b't')))
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if self.is_traced && self.status.is_none() {
            relay::send(self.pid, libc::SIGKILL);
            spawn::reap(self.pid);
        }
    }
}

/// While no instruction of the program has run, it dies with us; left stopped, it would hang for ever.
fn options_before_start() -> Options {
    Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL
}

fn is_stop(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
    )
}
