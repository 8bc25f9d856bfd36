//! Why a recording did not come about.

use crate::{
    bpf::BpfError,
    cpython::DetectError,
    store::StoreError,
    target::{
        elf::ElfError,
        launch::{ExitStatus, LaunchError},
        process::ProcessError,
    },
};

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Bpf(#[from] BpfError),
    #[error(transparent)]
    Launch(LaunchError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error("cannot trace `{}`", path.display())]
    Object {
        path: std::path::PathBuf,
        source: ElfError,
    },
    #[error("cannot open `{}`", path.display())]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("cannot watch for the end of the process")]
    Watch(#[source] std::io::Error),
    #[error("process {pid} runs `{}`, which is not a CPython that can be traced", executable.display())]
    AttachNotPython {
        pid: u32,
        executable: std::path::PathBuf,
    },
    #[error("memray cannot record itself")]
    Ourselves,
    #[error("`/proc` shows the processes of another pid namespace than ours")]
    OtherProc,
    #[error(
        "process {pid} is in a pid namespace of its own below ours, whose processes the kernel does not tell from here"
    )]
    BelowOurNamespace { pid: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{}` is not a CPython that can be traced", executable.display())]
    NotPython { executable: std::path::PathBuf },
    #[error("`{}` ended, {status}, before there was anything to record", program.display())]
    NothingRecorded {
        program: std::path::PathBuf,
        status: ExitStatus,
    },
    #[error("found no function of an allocator in `{}`", executable.display())]
    NoAllocator { executable: std::path::PathBuf },
}

impl SessionError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bpf(error) => error.hint(),
            Self::Launch(error) => error.hint().map(str::to_owned),
            Self::Detect(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::NotPython { .. } => Some(
                "name an interpreter of CPython 3.8 to 3.15 with `--python`, or trace any program with `memray run -- \
                 COMMAND`"
                    .to_owned(),
            ),
            Self::NothingRecorded { .. } => Some(
                "an interpreter that is a script must exec a CPython; name the interpreter itself with `--python`".to_owned(),
            ),
            Self::NoAllocator { .. } => {
                Some("the program is linked statically and has no symbols; use one that is not stripped".to_owned())
            }
            Self::Object {
                source: ElfError::ThirtyTwoBit | ElfError::OtherMachine { .. } | ElfError::BigEndian,
                ..
            } => Some("use a build of it for x86-64".to_owned()),
            Self::Process(error) => error.hint(),
            Self::AttachNotPython { .. } => Some(
                "`--any-program` records it all the same, and the Python that it may become".to_owned(),
            ),
            Self::Ourselves => Some("name the process that is to be recorded".to_owned()),
            Self::OtherProc => Some("mount the right one: `mount -t proc proc /proc`".to_owned()),
            Self::BelowOurNamespace { .. } => {
                Some("run memray in the pid namespace of the process, or in that of the host".to_owned())
            }
            Self::Watch(_) | Self::File { .. } | Self::Object { .. } => None,
        }
    }
}
