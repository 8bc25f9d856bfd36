//! From a process to the interpreter it runs, and to what the BPF programs must know to walk its frames.
//!
//! Input: a process whose libraries are mapped and relocated; the interpreter need not have run. Output:
//! [`Interpreter`], or none if no mapped file holds a CPython. A build whose structures are not known is an error.
//! That a build is the one the offsets are for shows in the sizes that its own types state.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use memray_ebpf::{config::TargetConfig, memory::RemoteMemory};

use super::{
    accessor,
    allocator::python_allocator,
    offsets::{self, DebugOffsetsError, Offsets},
    pthread::thread_layout,
    thread_state::{LoadedFile, ThreadStateError, thread_state_source},
    version::PyVersion,
};
use crate::target::{
    elf::{ElfError, ElfFile},
    process::{MappedObject, Process, ProcessError},
};

/// `PY_VERSION` with room for any suffix.
const MAX_VERSION_BYTES: usize = 24;

/// Why an interpreter cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("cannot tell what program the process runs")]
    Process(#[from] ProcessError),
    #[error("cannot read `{}`", path.display())]
    File { path: PathBuf, source: ElfError },
    #[error("cannot tell the version of the interpreter in `{}`", path.display())]
    UnknownVersion { path: PathBuf },
    #[error("`{}` is CPython {version}, which is not supported", path.display())]
    UnsupportedVersion { path: PathBuf, version: PyVersion },
    #[error("`{}` is a {kind} build of CPython {version}, which is not supported yet", path.display())]
    UnsupportedBuild {
        path: PathBuf,
        version: PyVersion,
        kind: &'static str,
    },
    #[error("`{}` is a build of CPython {version} whose structures are not known: {detail}", path.display())]
    UnknownBuild {
        path: PathBuf,
        version: PyVersion,
        detail: String,
    },
    #[error("cannot use the debug offsets in `{}`", path.display())]
    DebugOffsets {
        path: PathBuf,
        source: DebugOffsetsError,
    },
    #[error("cannot find the thread states of the interpreter in `{}`", path.display())]
    ThreadState { path: PathBuf, source: ThreadStateError },
    #[error("cannot read {what} of the interpreter at {address:#x}")]
    Memory { what: &'static str, address: u64 },
}

impl DetectError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnsupportedVersion { .. } | Self::UnknownVersion { .. } => {
                Some("CPython 3.8 to 3.15 can be traced, from their first release candidates on")
            }
            Self::UnsupportedBuild { .. } | Self::UnknownBuild { .. } | Self::DebugOffsets { .. } => {
                Some("use a release build of CPython with the GIL")
            }
            Self::ThreadState {
                source: ThreadStateError::NoThreadLayout,
                ..
            } => Some("use an interpreter that is linked to glibc, or to musl 1.2"),
            Self::ThreadState { .. } => {
                Some("use a build of CPython that gcc has optimized, as distributions ship it")
            }
            Self::Process(_) | Self::File { .. } | Self::Memory { .. } => None,
        }
    }
}

/// A CPython in a process.
#[derive(Clone, Debug)]
pub struct Interpreter {
    pub version: PyVersion,
    /// Address of `_PyRuntime`.
    pub runtime_avma: u64,
    pub config: TargetConfig,
    pub offsets: Offsets,
    /// Address of `code_dealloc` or what is in its place, which is called with each code object that dies.
    pub code_dealloc_avma: Option<u64>,
    /// The allocator of small objects, by its name in `PYTHONMALLOC`, such as `pymalloc`.
    pub python_allocator: String,
    /// The file that holds the interpreter, as the process names it.
    pub object_path: PathBuf,
}

impl Interpreter {
    /// Address of the first instruction of the code object at `code`; 0 up to 3.10, which count from there.
    pub fn first_instruction(&self, code: u64) -> u64 {
        match self.offsets.code_adaptive {
            0 => 0,
            offset => code.wrapping_add(offset.into()),
        }
    }
}

/// Finds the interpreter. The executable comes before libraries: a program that is linked statically may still
/// load a libpython that it does not run.
pub fn detect(process: &Process, objects: &[MappedObject]) -> Result<Option<Interpreter>, DetectError> {
    let executable = process.main_executable()?;
    let is_executable =
        |object: &MappedObject| (object.device, object.inode) == (executable.device, executable.inode);
    let mut candidates: Vec<_> = objects.iter().collect();
    // Among libraries the likely ones first: the symbols of all others need not be read then.
    candidates.sort_by_key(|object| (!is_executable(object), !is_named(object, b"libpython")));
    let mut too_old = None;
    for object in candidates {
        let file = open(object)?;
        let candidate = |runtime| Candidate {
            path: &object.path,
            loaded: LoadedFile {
                file: &file,
                bias: object.bias,
            },
            runtime,
        };
        if let Some(runtime) = file.symbol("_PyRuntime") {
            let start = runtime.svma.wrapping_add(object.bias);
            let runtime = start..start.saturating_add(runtime.size);
            return candidate(runtime).interpreter(process, objects).map(Some);
        }
        if too_old.is_none() && file.symbol("Py_GetVersion").is_some() {
            too_old = Some(candidate(0..0).without_runtime(process));
        }
    }
    too_old.map_or(Ok(None), Err)
}

/// Whether the name of the file begins so.
fn is_named(object: &MappedObject, prefix: &[u8]) -> bool {
    let name = object.path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(prefix)
}

fn open(object: &MappedObject) -> Result<ElfFile, DetectError> {
    ElfFile::open(&object.open_path).map_err(|source| DetectError::File {
        path: object.path.clone(),
        source,
    })
}

/// A file with a `_PyRuntime`.
struct Candidate<'file> {
    path: &'file Path,
    loaded: LoadedFile<'file>,
    runtime: Range<u64>,
}

impl Candidate<'_> {
    fn interpreter(&self, process: &Process, objects: &[MappedObject]) -> Result<Interpreter, DetectError> {
        let version = self.version(process)?;
        let path = || self.path.to_owned();
        if !version.is_supported() {
            return Err(DetectError::UnsupportedVersion {
                path: path(),
                version,
            });
        }
        // Defined by builds with Py_REF_DEBUG alone (Objects/object.c).
        if self.loaded.file.symbol("_Py_NegativeRefcount").is_some() {
            let kind = "debug";
            return Err(DetectError::UnsupportedBuild {
                path: path(),
                version,
                kind,
            });
        }
        let offsets = self.offsets(version, process)?;
        let code_type = self.check_build(version, &offsets, process)?;
        let thread_state = thread_state_source(self.loaded, version, &self.runtime, process, || {
            thread_layout(objects)
        })
        .map_err(|source| DetectError::ThreadState { path: path(), source })?;
        let dealloc = process.read_u64(code_type.wrapping_add(offsets.object.type_dealloc.into()));
        Ok(Interpreter {
            version,
            runtime_avma: self.runtime.start,
            config: TargetConfig {
                has_python: 1,
                life: 0,
                code_epoch: 0,
                sees_code_deaths: 0,
                reserved: 0,
                thread_state,
                frame: offsets.frame,
                code: offsets.code,
            },
            offsets,
            // An extension can put a function of its own before CPython's.
            code_dealloc_avma: dealloc
                .ok()
                .filter(|address| objects.iter().any(|object| object.avma_range.contains(address))),
            python_allocator: python_allocator(process),
            object_path: path(),
        })
    }

    /// `_PyRuntime` came with CPython 3.7 (Python/pylifecycle.c).
    fn without_runtime(&self, process: &Process) -> DetectError {
        let path = self.path.to_owned();
        match self.version(process) {
            Ok(version) => DetectError::UnsupportedVersion { path, version },
            Err(error) => error,
        }
    }

    fn version(&self, memory: &impl RemoteMemory) -> Result<PyVersion, DetectError> {
        let version = match self.loaded.avma("Py_Version") {
            // `const unsigned long Py_Version = PY_VERSION_HEX` (Python/getversion.c, 3.11+).
            Some(address) => {
                let what = "the version";
                let packed = memory
                    .read_u32(address)
                    .map_err(|_fault| DetectError::Memory { what, address })?;
                PyVersion::from_hex(packed)
            }
            None => self.version_in_code(),
        };
        let path = self.path.to_owned();
        version.ok_or(DetectError::UnknownVersion { path })
    }

    /// `Py_GetVersion` formats `PY_VERSION` and thus refers to it. The text by itself could not be told from
    /// others: the linker may have made it the end of a path that ends in a version.
    fn version_in_code(&self) -> Option<PyVersion> {
        let (code, avma) = self.loaded.function("Py_GetVersion")?;
        let versions = accessor::constants(&code, avma)
            .into_iter()
            .filter_map(|address| {
                let svma = address.wrapping_sub(self.loaded.bias);
                let bytes = self.loaded.file.bytes_up_to(svma, MAX_VERSION_BYTES)?;
                let end = bytes.iter().position(|&byte| byte == 0)?;
                PyVersion::parse(std::str::from_utf8(&bytes[..end]).ok()?)
            });
        let mut versions: Vec<_> = versions.collect();
        versions.dedup();
        match versions[..] {
            [version] => Some(version),
            _ => None,
        }
    }

    fn offsets(&self, version: PyVersion, memory: &impl RemoteMemory) -> Result<Offsets, DetectError> {
        if let Some(offsets) = offsets::of_version(version) {
            return Ok(offsets);
        }
        offsets::read(memory, self.runtime.start, version).map_err(|source| {
            let path = self.path.to_owned();
            match source {
                DebugOffsetsError::FreeThreaded => {
                    let kind = "free-threaded";
                    DetectError::UnsupportedBuild { path, version, kind }
                }
                source => DetectError::DebugOffsets { path, source },
            }
        })
    }

    /// Compares the sizes that types state with those that the offsets imply; returns the address of `PyCode_Type`.
    fn check_build(
        &self,
        version: PyVersion,
        offsets: &Offsets,
        memory: &impl RemoteMemory,
    ) -> Result<u64, DetectError> {
        // `PyUnicodeObject` has one pointer more than `PyCompactUnicodeObject`, `bytes` ends with one byte of data.
        let checks = [
            ("PyUnicode_Type", offsets.code.string_compact_data + 8),
            ("PyBytes_Type", offsets.code.bytes_data + 1),
            ("PyCode_Type", offsets.object.code_basic_size),
        ];
        let unknown = |detail| DetectError::UnknownBuild {
            path: self.path.to_owned(),
            version,
            detail,
        };
        let mut address = 0;
        for (name, expected) in checks {
            address = self
                .loaded
                .avma(name)
                .ok_or_else(|| unknown(format!("it has no `{name}`")))?;
            let what = "a type";
            let size = memory
                .read_u64(address.wrapping_add(offsets.object.type_basic_size.into()))
                .map_err(|_fault| DetectError::Memory { what, address })?;
            if size != u64::from(expected) {
                return Err(unknown(format!("`{name}` has {size} bytes, not {expected}")));
            }
        }
        Ok(address)
    }
}
