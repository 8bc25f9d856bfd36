//! Stops a thread for a moment, without its knowledge and without its parent's, and lets it go on.
//!
//! ptrace(2) by `PTRACE_SEIZE` and `PTRACE_INTERRUPT`: no signal is sent, no system call is interrupted that does not go on
//! by itself, and if the thread that stopped it ends, also by SIGKILL, the kernel lets it go. One thread of ours must do
//! both, because the kernel ties a traced thread to the one that traces it.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::ptrace::{self, Options},
    unistd::Pid,
};

/// From the end of a probe to the stop it is some microseconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_micros(50);

/// A thread that stops before it executes another instruction of its program.
#[derive(Debug)]
#[must_use = "it stays where it is until it is let go"]
pub struct ParkedThread {
    tid: Pid,
}

impl ParkedThread {
    /// Returns at once; the thread stops when it leaves the kernel, where it must be for this to be of use. An error if
    /// another tracer has it, or if it is gone.
    pub fn park(tid: u32) -> io::Result<Self> {
        let tid = Pid::from_raw(i32::try_from(tid).map_err(io::Error::other)?);
        ptrace::seize(tid, Options::empty())?;
        let parked = Self { tid };
        match ptrace::interrupt(tid) {
            Ok(()) => Ok(parked),
            Err(errno) => {
                parked.let_go();
                Err(errno.into())
            }
        }
    }

    /// The thread goes on as if nothing had been, with the signal that it may have been about to get.
    pub fn let_go(self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match stop_status(self.tid) {
                // Gone, or not ours.
                Err(_errno) => return,
                Ok(None) => thread::sleep(LOOK_INTERVAL),
                Ok(Some(status)) if libc::WIFSTOPPED(status) => {
                    let _gone = self.detach(pending_signal(status));
                    return;
                }
                Ok(Some(_ended)) => return,
            }
        }
    }

    #[expect(unsafe_code, reason = "nix has no type for real-time signals")]
    fn detach(&self, signal: i32) -> Result<(), Errno> {
        let data = std::ptr::without_provenance_mut::<libc::c_void>(usize::try_from(signal).unwrap_or(0));
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the request reads and writes no memory of ours; `data` is a number.
        let result = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.tid.as_raw(), nothing, data) };
        Errno::result(result).map(drop)
    }
}

/// What waitpid(2) says without blocking.
#[expect(unsafe_code, reason = "nix refuses statuses with real-time signals")]
fn stop_status(tid: Pid) -> Result<Option<i32>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is writable for the time of the call.
    let waited = unsafe { libc::waitpid(tid.as_raw(), &raw mut status, libc::__WALL | libc::WNOHANG) };
    Errno::result(waited).map(|waited| (waited != 0).then_some(status))
}

/// The signal that the thread was stopped before it got; 0 for a stop of ours.
fn pending_signal(status: i32) -> i32 {
    if status >> 16 == 0 {
        libc::WSTOPSIG(status)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::target::process::Process;

    fn wait_for(process: &Process, states: &[u8]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !process.state().is_some_and(|state| states.contains(&state)) {
            assert!(Instant::now() < deadline, "{:?}", process.state());
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_stops_and_goes_on() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::open(child.id()).unwrap();
        // A sandbox may forbid it; the container of the tests must not.
        let parked = ParkedThread::park(child.id()).unwrap();
        wait_for(&process, b"t");
        assert!(ParkedThread::park(child.id()).is_err());
        parked.let_go();
        wait_for(&process, b"RS");
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(ParkedThread::park(child.id()).is_err());
    }

    #[test]
    fn a_signal_that_was_on_its_way_arrives() {
        assert_eq!(pending_signal(libc::SIGUSR1 << 8 | 0x7f), libc::SIGUSR1);
        assert_eq!(
            pending_signal(libc::PTRACE_EVENT_STOP << 16 | libc::SIGTRAP << 8 | 0x7f),
            0
        );
    }
}
