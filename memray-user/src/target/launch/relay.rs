//! Signals to memray while it waits for the program, passed on as if memray were not there.
//!
//! Ctrl-C in a terminal goes to every process of the foreground group: the program has it already. `kill -TERM` to
//! memray alone is meant for the program. Both are told apart by who sent the signal. The signals are blocked and
//! taken one at a time, so that no handler interrupts anything.
//!
//! Job control: Ctrl-Z stops the program in its own time (an editor first restores the terminal); memray stops when the
//! program has, and only then the shell takes over.

use std::{mem::MaybeUninit, time::Duration};

use super::inherited::{LAST_SIGNAL, set_action};

/// Signals that are taken, besides the real-time ones. Left out: those that a fault raises, SIGPIPE, and SIGTTIN and
/// SIGTTOU, which concern our own use of the terminal.
const RELAYED: [i32; 16] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGWINCH,
    libc::SIGURG,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGCHLD,
];

/// What a received signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The program may have changed its state.
    ChildChanged,
    /// For the program; it does not have it yet.
    Forward,
    /// We were continued; the program is to be, too, if it still is stopped.
    Continue,
    /// The program has it already, or it comes from the program.
    Nothing,
}

/// Holds the signals back for as long as it lives.
///
/// Signals go to any thread that does not block them, so this must exist before other threads are started: they
/// inherit the mask of the thread that starts them.
#[derive(Debug)]
pub struct SignalRelay {
    taken: SignalSet,
    previous: SignalSet,
}

impl SignalRelay {
    #[expect(unsafe_code, reason = "the calling thread's signal mask")]
    pub fn start() -> Self {
        // A parent that ignores SIGCHLD hands that on, and then the kernel reaps children before we can ask how they
        // ended.
        set_action(libc::SIGCHLD, libc::SIG_DFL);
        let taken = SignalSet::of(RELAYED.into_iter().chain(libc::SIGRTMIN()..=LAST_SIGNAL));
        let mut previous = SignalSet::of([]);
        // SAFETY: both sets are initialized and live through the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const taken.0, &raw mut previous.0) };
        Self { taken, previous }
    }

    /// The next signal, or none after `timeout`.
    pub(super) fn receive(&self, timeout: Duration, child: i32) -> Option<(i32, Meaning)> {
        let info = self.taken.wait(timeout)?;
        Some((
            info.si_signo,
            meaning(info.si_signo, info.si_code, sender(&info), child),
        ))
    }
}

impl SignalRelay {
    /// Waits for somebody who wants an end, at most for `timeout`. Other signals that come meanwhile are dropped.
    pub fn is_interrupted(&self, timeout: Duration) -> bool {
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        self.taken
            .wait(timeout)
            .is_some_and(|info| ends.contains(&info.si_signo))
    }
}

impl Drop for SignalRelay {
    /// Signals that came after the program's end were meant for the program: they are dropped.
    #[expect(unsafe_code, reason = "the calling thread's signal mask")]
    fn drop(&mut self) {
        while self.taken.wait(Duration::ZERO).is_some() {}
        // SAFETY: the set is initialized; a null old set is allowed.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.previous.0,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Pure: what to do with a signal, by its number, `si_code` and sender.
fn meaning(signal: i32, code: i32, sender: i32, child: i32) -> Meaning {
    if signal == libc::SIGCHLD {
        Meaning::ChildChanged
    } else if signal == libc::SIGCONT {
        Meaning::Continue
    } else if code > 0 || sender == child {
        // Positive codes are the kernel's: the terminal, which signals the whole group.
        Meaning::Nothing
    } else {
        Meaning::Forward
    }
}

/// Passes a signal on. That the process is gone meanwhile is no error: its end is what we wait for.
#[expect(
    unsafe_code,
    reason = "kill(2) of libc; nix has no type for real-time signals"
)]
pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Stops this process as the program has been stopped, and returns when somebody continues it. Only the stops of job
/// control count: a shell that sees them continues the whole group. One who sends SIGSTOP to the program alone will
/// continue it alone, and must find a collector that runs.
pub(super) fn stop_alike(signal: i32) {
    if matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
        raise_unblocked(signal);
    }
}

/// Ends this process by a signal, with the action that it has by default.
pub(super) fn die_by(signal: i32) {
    set_action(signal, libc::SIG_DFL);
    raise_unblocked(signal);
}

#[expect(unsafe_code, reason = "raise and the calling thread's signal mask")]
fn raise_unblocked(signal: i32) {
    let set = SignalSet::of([signal]);
    let mut previous = SignalSet::of([]);
    // SAFETY: raise touches no memory; a handler, if there is one, is async-signal-safe by contract.
    unsafe { libc::raise(signal) };
    // SAFETY: both sets are initialized and live through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set.0, &raw mut previous.0) };
    // SAFETY: as above; a null old set is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const previous.0, std::ptr::null_mut()) };
}

#[expect(unsafe_code, reason = "a field of a C union")]
fn sender(info: &libc::siginfo_t) -> i32 {
    // SAFETY: any bytes are a valid pid_t; where the signal carries none, the number is not looked at.
    unsafe { info.si_pid() }
}

struct SignalSet(libc::sigset_t);

impl SignalSet {
    #[expect(unsafe_code, reason = "signal sets are opaque to Rust")]
    fn of(signals: impl IntoIterator<Item = i32>) -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: the pointer is valid for writes.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in signals {
            // SAFETY: the set is initialized.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: initialized above.
        Self(unsafe { set.assume_init() })
    }

    #[expect(unsafe_code, reason = "sigtimedwait(2)")]
    fn wait(&self, timeout: Duration) -> Option<libc::siginfo_t> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the pointers are valid for the time of the call.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, info.as_mut_ptr(), &raw const timeout) };
        // SAFETY: any bytes are a valid siginfo_t.
        (signal > 0).then(|| unsafe { info.assume_init() })
    }
}

impl std::fmt::Debug for SignalSet {
    #[expect(unsafe_code, reason = "signal sets are opaque to Rust")]
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: the set is initialized.
        let is_member = |signal: &i32| unsafe { libc::sigismember(&raw const self.0, *signal) } == 1;
        formatter
            .debug_set()
            .entries((1..=LAST_SIGNAL).filter(is_member))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signals_to_memray_alone_are_forwarded() {
        const CHILD: i32 = 70;
        const OTHER: i32 = 80;
        const SI_KERNEL: i32 = 0x80;
        let check = |signal, code, sender, expect| {
            assert_eq!(
                meaning(signal, code, sender, CHILD),
                expect,
                "signal {signal} code {code} from {sender}"
            );
        };
        check(libc::SIGINT, SI_KERNEL, 0, Meaning::Nothing);
        check(libc::SIGINT, libc::SI_USER, OTHER, Meaning::Forward);
        check(libc::SIGTERM, libc::SI_USER, OTHER, Meaning::Forward);
        check(libc::SIGTERM, libc::SI_USER, CHILD, Meaning::Nothing);
        check(libc::SIGTERM, libc::SI_TKILL, OTHER, Meaning::Forward);
        check(libc::SIGRTMIN(), libc::SI_QUEUE, OTHER, Meaning::Forward);
        check(libc::SIGTSTP, SI_KERNEL, 0, Meaning::Nothing);
        check(libc::SIGTSTP, libc::SI_USER, OTHER, Meaning::Forward);
        check(libc::SIGCONT, libc::SI_USER, OTHER, Meaning::Continue);
        check(libc::SIGCHLD, libc::CLD_EXITED, CHILD, Meaning::ChildChanged);
    }
}
