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
            Self::Process(_) | Self::Object { .. } => None,
        }
    }
}
