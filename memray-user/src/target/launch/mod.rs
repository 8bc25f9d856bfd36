//! Starts a program under our eyes: stopped where its libraries are mapped and none of its code has run, then let go.
//!
//! The program must not notice. It gets our descriptors, working directory, environment and process group, the signal
//! mask and the ignored signals that memray itself was started with, and its own exit status goes to whoever waits for
//! memray. It is stopped with ptrace(2) once, at the point where probes go in ([`LoadedPoint`]), and is untraced from
//! there on.
//!
//! `env X=1 python3 app.py`, `#!` lines and pyenv's shims are chains of programs in one process. Whoever launches sees
//! every one of them at its loaded point and decides: [`Decision::Release`] it, or [`Decision::WatchForExec`].
//!
//! Order of use, all on one thread because the kernel ties a traced process to the thread that traces it:
//! [`InheritedSignals::capture`] first thing in `main`; [`SignalRelay::start`] before other threads exist; then
//! [`Launch::spawn`], [`Child::run_until_released`], [`Child::wait`], and after the capture is finished
//! [`ExitStatus::exit_alike`]. Spawn before the thread changes its priority: the child inherits it.

mod child;
mod exit;
mod inherited;
mod loaded;
mod program;
mod ptrace;
mod relay;
mod spawn;
mod startup;

use std::{ffi::OsString, io, path::PathBuf};

pub use self::{
    child::{Child, Decision, Outcome},
    exit::ExitStatus,
    inherited::InheritedSignals,
    loaded::{Loaded, LoadedPoint},
    program::{find_program, is_script},
    relay::SignalRelay,
};
use super::process::ProcessError;

/// A program to be started.
#[derive(Debug)]
pub struct Launch {
    /// The file to execute; [`find_program`] finds it.
    pub program: PathBuf,
    /// `argv`, the program's own name first. Python finds its installation by that name.
    pub arguments: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("no program `{}` in the directories of PATH", name.display())]
    NotFound { name: PathBuf },
    #[error("cannot execute `{}`", program.display())]
    Execute { program: PathBuf, source: io::Error },
    #[error("`{}` has a zero byte in it", text.display())]
    ZeroByte { text: OsString },
    #[error("cannot start a process")]
    Fork { source: io::Error },
    #[error("cannot trace the started process with ptrace ({request})")]
    Trace {
        request: &'static str,
        source: io::Error,
    },
    #[error("cannot wait for process {pid}")]
    Wait { pid: i32, source: io::Error },
    #[error("cannot see the started program in /proc")]
    Process(#[from] ProcessError),
}

impl LaunchError {
    /// The process was killed while we looked at it, which its exit status tells better.
    fn is_process_gone(&self) -> bool {
        match self {
            Self::Trace { source, .. } => source.raw_os_error() == Some(libc::ESRCH),
            Self::Process(ProcessError::NoSuchProcess { .. }) => true,
            _ => false,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("give its path, or install it"),
            Self::Execute { source, .. } => match source.raw_os_error() {
                Some(libc::ENOENT) => {
                    Some("the file, the interpreter in its first line or its dynamic loader is not there")
                }
                Some(libc::EACCES) => {
                    Some("make it executable (chmod +x), or name the interpreter that runs it")
                }
                Some(libc::ENOEXEC) => {
                    Some("it is no program for this machine; a script needs a first line like `#!/bin/sh`")
                }
                _ => None,
            },
            Self::Trace { .. } => Some(
                "a container or a sandbox can forbid ptrace: grant it CAP_SYS_PTRACE and the system call",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
