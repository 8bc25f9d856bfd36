//! Numbers of tracepoints, which only tracefs tells.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use super::system::detached_tracefs;

/// Where tracefs usually is; often not mounted.
const USUAL: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A tracefs to ask.
#[derive(Debug)]
pub(super) struct Tracepoints {
    root: OwnedFd,
}

impl Tracepoints {
    /// A mounted one, else one of our own.
    pub(super) fn open() -> io::Result<Self> {
        for path in USUAL {
            if Path::new(path).join("events/syscalls").exists() {
                return Ok(Self {
                    root: File::open(path)?.into(),
                });
            }
        }
        Ok(Self {
            root: detached_tracefs()?,
        })
    }

    /// The number of `category/name`.
    pub(super) fn id(&self, category: &str, name: &str) -> io::Result<u64> {
        let path = format!("events/{category}/{name}/id");
        let file = openat(
            self.root.as_fd(),
            path.as_str(),
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut text = String::new();
        File::from(file).take(32).read_to_string(&mut text)?;
        text.trim().parse().map_err(io::Error::other)
    }
}
