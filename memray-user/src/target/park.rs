//! Stops a thread for a moment, without its knowledge and without its parent's, and lets it go on.
//!
//! ptrace(2) by `PTRACE_SEIZE` and `PTRACE_INTERRUPT`: no signal is sent, no system call is interrupted that does not go on
//! by itself, and if the thread that stopped it ends, also by SIGKILL, the kernel lets it go. One thread of ours must do
//! both, because the kernel ties a traced thread to the one that traces it.

use std::io;

use nix::{
    errno::Errno,
    sys::ptrace::{self, Options},
    unistd::Pid,
};

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
            // It is gone: nothing else makes this fail after the one above.
            Err(errno) => {
                parked.reap();
                Err(errno.into())
            }
        }
    }

    /// The thread goes on as if nothing had been, with the signal that it may have been about to get. Gives itself back
    /// if the thread has not come to its stop yet: ask again.
    ///
    /// Whether it has is asked by `PTRACE_GETSIGINFO` and not by waitpid(2): if the thread is of a child of ours, whoever
    /// waits for that child takes the news away.
    pub fn let_go(self) -> Result<(), Self> {
        match ptrace::getsiginfo(self.tid) {
            Ok(info) => {
                let _gone = self.detach(pending_signal(info.si_signo, info.si_code));
                Ok(())
            }
            // Stopped by job control as well.
            Err(Errno::EINVAL) => {
                let _gone = self.detach(0);
                Ok(())
            }
            Err(_not_stopped) if self.is_running() => Err(self),
            Err(_gone) => {
                self.reap();
                Ok(())
            }
        }
    }

    fn is_running(&self) -> bool {
        let stat = std::fs::read(format!("/proc/{}/stat", self.tid)).unwrap_or_default();
        let name_end = stat.iter().rposition(|&byte| byte == b')');
        let state = name_end.and_then(|end| stat.get(end + 2));
        !matches!(state, None | Some(b'Z' | b'X'))
    }

    /// The parent of a traced process that has ended learns of it when its tracer has.
    #[expect(unsafe_code, reason = "nix refuses statuses with real-time signals")]
    fn reap(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tid)).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let is_our_child = parent.is_some_and(|parent| parent.trim() == std::process::id().to_string());
        if !is_our_child {
            // SAFETY: a null status is allowed.
            unsafe {
                libc::waitpid(
                    self.tid.as_raw(),
                    std::ptr::null_mut(),
                    libc::__WALL | libc::WNOHANG,
                )
            };
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

/// The signal that the thread was stopped before it got; 0 for a stop of ours.
fn pending_signal(signal: i32, code: i32) -> i32 {
    if code >> 8 == libc::PTRACE_EVENT_STOP {
        0
    } else {
        signal
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

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
        parked.let_go().unwrap();
        wait_for(&process, b"RS");
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(ParkedThread::park(child.id()).is_err());
    }

    #[test]
    fn a_signal_that_was_on_its_way_arrives() {
        assert_eq!(pending_signal(libc::SIGUSR1, 0), libc::SIGUSR1);
        let stop = libc::PTRACE_EVENT_STOP << 8 | libc::SIGTRAP;
        assert_eq!(pending_signal(libc::SIGTRAP, stop), 0);
    }
}
