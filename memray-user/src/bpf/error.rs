//! What can go wrong between the object and the first event.

use std::{io, path::PathBuf};

/// An error of this module, with what a person can do about it in [`BpfError::hint`].
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    #[error("this memray was built without its BPF programs")]
    NoObject,
    #[error("not allowed to load BPF programs: missing {missing}")]
    Privilege {
        missing: String,
        /// All that it takes, the missing ones among them.
        needed: String,
    },
    #[error("failed to read the kernel's type information at `/sys/kernel/btf/vmlinux`")]
    KernelTypes(#[source] io::Error),
    #[error("the kernel's type information has no `{member}` in `{structure}`")]
    KernelTypeMissing { structure: &'static str, member: String },
    #[error("failed to read our own pid namespace at `/proc/self/ns/pid`")]
    PidNamespace(#[source] io::Error),
    #[error("failed to read the BPF object")]
    Parse(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("failed to load the BPF object's maps")]
    Maps(#[source] Box<aya::EbpfError>),
    #[error("the BPF object has no `{name}`")]
    Missing { name: &'static str },
    #[error("the kernel refused program `{program}`")]
    Verifier {
        program: &'static str,
        #[source]
        source: io::Error,
        /// The verifier's log; may be long, and empty where the kernel did not look at the program.
        log: String,
        /// Where the log has been kept for a report.
        log_file: Option<PathBuf>,
    },
    #[error("failed to ask the kernel about program `{program}`")]
    Information {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to load program `{program}`")]
    Load {
        program: &'static str,
        source: Box<aya::programs::ProgramError>,
    },
    #[error("failed to attach `{program}` to `{target}`")]
    Attach {
        program: &'static str,
        target: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("failed to find tracepoint `{name}`")]
    Tracepoint {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to wait for the programs")]
    Wait(#[source] io::Error),
    #[error("failed to use map `{map}`")]
    Map {
        map: &'static str,
        source: Box<aya::maps::MapError>,
    },
}

impl BpfError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoObject => {
                Some("build it with `cargo xtask setup` and `cargo build --release`".to_owned())
            }
            Self::Privilege { needed, .. } => Some(format!(
                "run it with `sudo`, or grant the capabilities to the binary: `sudo setcap {}+ep $(command -v memray)`",
                needed.to_lowercase().replace(' ', "")
            )),
            Self::KernelTypes(_) | Self::KernelTypeMissing { .. } => {
                Some("memray needs a kernel built with CONFIG_DEBUG_INFO_BTF, 6.1 or later".to_owned())
            }
            Self::Verifier {
                log_file: Some(path), ..
            } => Some(format!(
                "please report this with the output of `uname -a` and the file `{}`",
                path.display()
            )),
            Self::Verifier { log_file: None, .. } => {
                Some("please report this with the output of `uname -a`".to_owned())
            }
            Self::Attach { .. } | Self::Tracepoint { .. } => Some(
                "the kernel needs CONFIG_UPROBE_EVENTS, CONFIG_FTRACE_SYSCALLS and CONFIG_BPF_EVENTS"
                    .to_owned(),
            ),
            Self::PidNamespace(_) => Some("mount /proc".to_owned()),
            Self::Parse(_)
            | Self::Wait(_)
            | Self::Maps(_)
            | Self::Missing { .. }
            | Self::Information { .. }
            | Self::Load { .. }
            | Self::Map { .. } => None,
        }
    }
}
