//! Ends this process as the traced program ended, so that a shell cannot tell the difference.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use nix::sys::resource::{Resource, setrlimit};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exited(u8),
    /// Number of the signal.
    Killed(i32),
}

impl Ending {
    /// Of a process that was waited for until it was gone.
    pub(super) fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Killed(signal),
            // `wait(2)` gives eight bits.
            None => Self::Exited(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(u8::MAX),
            ),
        }
    }

    /// Does not return for a program that was killed: the same signal ends us. No core of our own is left for it.
    pub(super) fn follow(self) -> ExitCode {
        match self {
            Self::Exited(code) => ExitCode::from(code),
            Self::Killed(signal) => {
                // If it fails there is a core file too many.
                let _ignored = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                let _ignored = signal_hook::low_level::emulate_default_handler(signal);
                ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        for (raw, expect) in [
            (0, Ending::Exited(0)),
            (7 << 8, Ending::Exited(7)),
            (255 << 8, Ending::Exited(255)),
            (15, Ending::Killed(15)),
            // With a core file.
            (0x8b, Ending::Killed(11)),
        ] {
            assert_eq!(Ending::of(ExitStatus::from_raw(raw)), expect);
        }
    }
}
