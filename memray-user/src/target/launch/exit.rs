//! How the program ended, and how memray ends in the same way.

use std::fmt;

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

use super::relay;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By exit(3) or from `main`; 0 to 255.
    Exited(i32),
    Signaled {
        signal: i32,
        /// The kernel has written a core file of the program.
        core_dumped: bool,
    },
}

impl fmt::Display for ExitStatus {
    /// Goes on a sentence: "it ended, with exit status 1".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "with exit status {code}"),
            Self::Signaled { signal, .. } => write!(formatter, "by signal {signal}"),
        }
    }
}

impl ExitStatus {
    /// As a shell shows it: the code, or 128 plus the signal's number.
    pub fn as_a_shell_shows(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled { signal, .. } => 128 + signal,
        }
    }

    /// From the status that waitpid(2) fills in; none while the process lives.
    pub fn from_wait_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exited(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Signaled {
                signal: libc::WTERMSIG(status),
                core_dumped: libc::WCOREDUMP(status),
            })
        } else {
            None
        }
    }

    /// Ends this process in the same way, so that a shell sees what it would have seen without memray. Nothing is
    /// dropped or flushed: call it when all is written.
    pub fn exit_alike(self) -> ! {
        match self {
            Self::Exited(code) => std::process::exit(code),
            Self::Signaled { signal, .. } => {
                // The core file of interest is the program's. A limit of 0 stops files; a core_pattern with a pipe
                // ignores the limit and obeys only this flag (fs/coredump.c, Linux 6.12).
                let _without_effect = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                let _without_effect = prctl::set_dumpable(false);
                relay::die_by(signal);
                // A signal that does not end a process cannot have ended the program, but the type allows it.
                std::process::exit(128 + signal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn statuses_as_a_shell_shows_them() {
        for (wait_status, expect) in [
            (0, Some(0)),
            (3 << 8, Some(3)),
            (9, Some(137)),
            (0x8b, Some(139)),
            // Stopped, and not ended.
            (0x137f, None),
        ] {
            let status = ExitStatus::from_wait_status(wait_status);
            assert_eq!(
                status.map(ExitStatus::as_a_shell_shows),
                expect,
                "{wait_status:#x}"
            );
        }
    }
}
