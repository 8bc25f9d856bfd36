//! A running process: its memory, its mappings, the files mapped into it, and what /proc says of it.
//!
//! Nothing here writes to the process, stops it or signals it. Everything is read through one descriptor of its
//! directory in /proc, so that a process that ends is an error and never another process with the same id.

mod mappings;
mod objects;
mod patience;
mod resident;
mod surroundings;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStringExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
    sync::{OnceLock, atomic::AtomicBool},
};

use memray_ebpf::memory::{Fault, RemoteMemory};
use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

use self::{mappings::parse_mappings, resident::parse_resident};
pub use self::{
    mappings::{Device, Mapping, Permissions},
    objects::{MappedObject, ObjectScan, SkippedObject},
    surroundings::Surroundings,
};
use crate::model::Resident;

/// Bytes of a file in /proc/PID that are read at most. Arguments and environment have 6 MiB (`_STK_LIM / 4 * 3`, fs/exec.c).
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The same of `maps`: 65,530 lines (`vm.max_map_count`) with paths of 4,096 bytes, and as much again.
const MAX_MAPS_BYTES: u64 = 1 << 29;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("no process has the id {pid}")]
    NoSuchProcess { pid: u32 },
    #[error("{tid} is not a process but a thread of process {pid}")]
    IsThread { tid: u32, pid: u32 },
    #[error("no permission to look into process {pid}")]
    NotPermitted { pid: u32, source: io::Error },
    #[error("cannot read `/proc/{pid}/{file}`")]
    Read {
        pid: u32,
        file: String,
        source: io::Error,
    },
    #[error("`/proc/{pid}/{file}` has a line that cannot be understood: `{line}`")]
    Unexpected {
        pid: u32,
        file: &'static str,
        line: String,
    },
    #[error("process {pid} has no executable file of its own, as kernel threads and zombies have none")]
    NoExecutable { pid: u32 },
}

impl ProcessError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchProcess { .. } => Some(
                "`ps -e` lists the processes and their numbers, which in a container are the container's own"
                    .to_owned(),
            ),
            Self::NoExecutable { .. } => {
                Some("name a process that runs a program: `ps -e -o pid,args` lists them".to_owned())
            }
            Self::IsThread { pid, .. } => Some(format!("use {pid}")),
            Self::NotPermitted { .. } => {
                Some("run memray as root, or grant it CAP_SYS_PTRACE (setcap or sudo)".to_owned())
            }
            _ => None,
        }
    }
}

/// A process that existed when it was opened, and its memory.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// The thread through which we look: the first, or another if that one has ended and the process has not. The kernel
    /// shows nothing of the memory of a process through a thread that has ended.
    tid: u32,
    /// `/proc/TID`; reads through it fail with `ESRCH` after the thread is gone.
    directory: File,
    /// `/proc/TID/pagemap`, once it was needed; none where it cannot be opened.
    pagemap: OnceLock<Option<File>>,
    /// It has let us wait for a page that never came.
    has_hung: AtomicBool,
}

impl Process {
    /// `pid` is the process id (tgid) in our own pid namespace.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let process = Self::through(pid, pid)?;
        // Threads have directories too, which lists of /proc do not show.
        match process.status_field("Tgid")? {
            Some(leader) if leader != u64::from(pid) => Err(ProcessError::IsThread {
                tid: pid,
                pid: u32::try_from(leader).unwrap_or(pid),
            }),
            _ if process.has_memory() => Ok(process),
            _ => Ok(process.living_thread().unwrap_or(process)),
        }
    }

    fn through(pid: u32, tid: u32) -> Result<Self, ProcessError> {
        let directory = File::open(format!("/proc/{tid}")).map_err(|source| error_of(pid, "", source))?;
        Ok(Self::of_directory(pid, tid, directory))
    }

    fn of_directory(pid: u32, tid: u32, directory: File) -> Self {
        Self {
            pid,
            tid,
            directory,
            pagemap: OnceLock::new(),
            has_hung: AtomicBool::new(false),
        }
    }

    /// The very same process, for another thread.
    fn again(&self) -> Option<Self> {
        let directory = self.directory.try_clone().ok()?;
        Some(Self::of_directory(self.pid, self.tid, directory))
    }

    /// Not so of a thread that has ended, and of one of the kernel.
    fn has_memory(&self) -> bool {
        self.path("exe").read_link().is_ok()
    }

    /// The same process through a thread that has not ended.
    fn living_thread(&self) -> Option<Self> {
        let threads = self.threads().ok()?;
        let mut others = threads.into_iter().filter(|&tid| tid != self.tid);
        others.find_map(|tid| Self::through(self.pid, tid).ok().filter(Self::has_memory))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its first thread has ended and others have not.
    pub fn is_leaderless(&self) -> bool {
        self.tid != self.pid
    }

    /// Its directory in /proc, for whoever needs a path. It leads to another process when this one is gone.
    pub fn proc_directory(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.tid))
    }

    /// Whether the process still exists; a zombie does.
    pub fn is_alive(&self) -> bool {
        self.path("stat").metadata().is_ok()
    }

    /// Whether it exists and has not ended; also one whose first thread alone has.
    pub fn is_running(&self) -> bool {
        !matches!(self.state(), None | Some(b'Z' | b'X'))
            || self.threads().is_ok_and(|threads| threads.len() > 1)
    }

    /// The mappings in the order of their addresses.
    pub fn mappings(&self) -> Result<Vec<Mapping>, ProcessError> {
        parse_mappings(&self.read("maps")?).map_err(|line| ProcessError::Unexpected {
            pid: self.pid,
            file: "maps",
            line,
        })
    }

    /// The ELF files with an executable mapping, in the order of their addresses.
    pub fn objects(&self) -> Result<Vec<MappedObject>, ProcessError> {
        Ok(self.scan_objects()?.objects)
    }

    /// As [`objects`](Self::objects), with the mapped files that could not be used and the reasons.
    pub fn scan_objects(&self) -> Result<ObjectScan, ProcessError> {
        Ok(objects::scan(self, &self.mappings()?))
    }

    /// As [`objects`](Self::objects), of the files that are asked for by device and inode alone.
    pub fn objects_where(
        &self,
        is_wanted: impl Fn(Device, u64) -> bool,
    ) -> Result<Vec<MappedObject>, ProcessError> {
        let mut mappings = self.mappings()?;
        mappings.retain(|mapping| is_wanted(mapping.device, mapping.inode));
        Ok(objects::scan(self, &mappings).objects)
    }

    /// The program itself, as opposed to the libraries it has loaded.
    pub fn main_executable(&self) -> Result<MappedObject, ProcessError> {
        let missing = ProcessError::NoExecutable { pid: self.pid };
        let mappings = self.mappings()?;
        objects::main_executable(self, &mappings).ok_or(missing)
    }

    /// Arguments, the program's name first. A process can overwrite them.
    pub fn command_line(&self) -> Result<Vec<OsString>, ProcessError> {
        let bytes = self.read("cmdline")?;
        let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = text.split(|&byte| byte == 0);
        Ok(arguments
            .map(|argument| OsString::from_vec(argument.to_vec()))
            .collect())
    }

    /// The path of the program as the kernel names it; ends in ` (deleted)` if the file is gone.
    pub fn executable(&self) -> Result<PathBuf, ProcessError> {
        self.path("exe")
            .read_link()
            .map_err(|source| error_of(self.pid, "exe", source))
    }

    /// The kernel's name of a thread, at most 15 bytes.
    pub fn thread_name(&self, tid: u32) -> Result<OsString, ProcessError> {
        let mut name = self.read(&format!("task/{tid}/comm"))?;
        if name.last() == Some(&b'\n') {
            name.pop();
        }
        Ok(OsString::from_vec(name))
    }

    /// The state of the first thread that has not ended as a letter (`R`, `S`, `T` for stopped, `Z`, ...; `proc_pid_stat(5)`); none if the
    /// process is gone.
    pub fn state(&self) -> Option<u8> {
        let text = self.read("stat").ok()?;
        // The name before it is in parentheses and can hold any byte, also `)`.
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        text.get(name_end + 2).copied()
    }

    /// The number of a thread in the pid namespace of the process, which is what the process knows; the same number if
    /// the thread has ended.
    pub fn own_tid(&self, tid: u32) -> u32 {
        let status = self.read(&format!("task/{tid}/status")).unwrap_or_default();
        let own = status
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(b"NSpid:"))
            .and_then(|numbers| std::str::from_utf8(numbers).ok()?.split_ascii_whitespace().last());
        own.and_then(|number| number.parse().ok()).unwrap_or(tid)
    }

    /// Thread ids, ascending.
    pub fn threads(&self) -> Result<Vec<u32>, ProcessError> {
        let failed = |source| error_of(self.pid, "task", source);
        let mut threads = Vec::new();
        for entry in self.path("task").read_dir().map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            threads.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        threads.sort_unstable();
        Ok(threads)
    }

    /// What of the process is in memory (`/proc/PID/status`). The kernel counts for each CPU and adds up when asked, exactly
    /// where it has `get_mm_counter_sum` (include/linux/mm.h); else each part can be off by some dozens of pages for each CPU.
    pub fn resident(&self) -> Result<Resident, ProcessError> {
        let status = self.read("status")?;
        if let Some(resident) = parse_resident(&status) {
            return Ok(resident);
        }
        // The first thread may have ended before the others.
        let other = (!self.has_memory()).then(|| self.living_thread()).flatten();
        let status = other.map_or(Ok(status), |process| process.read("status"))?;
        parse_resident(&status).ok_or_else(|| ProcessError::Unexpected {
            pid: self.pid,
            file: "status",
            line: "no RssAnon, RssFile, RssShmem".to_owned(),
        })
    }

    /// A value of the auxiliary vector (getauxval(3)); none if the kernel gave no entry of this kind.
    pub fn auxiliary_value(&self, kind: u64) -> Result<Option<u64>, ProcessError> {
        let bytes = self.read("auxv")?;
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().copied().map(u64::from_ne_bytes);
        while let (Some(found), Some(value)) = (words.next(), words.next()) {
            if found == kind {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// A path of the target, seen from here whatever its root and its mount namespace are.
    pub fn path_in_root(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        self.proc_directory().join("root").join(relative)
    }

    /// A number in `/proc/PID/status`.
    fn status_field(&self, name: &str) -> Result<Option<u64>, ProcessError> {
        let text = self.read("status")?;
        Ok(text
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
            .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok()))
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{file}", self.directory.as_raw_fd()))
    }

    /// Not more than [`MAX_FILE_BYTES`]: a process can say that its arguments are all of its memory (`PR_SET_MM_MAP`).
    fn read(&self, file: &str) -> Result<Vec<u8>, ProcessError> {
        let mut bytes = Vec::new();
        let limit = if file == "maps" {
            MAX_MAPS_BYTES
        } else {
            MAX_FILE_BYTES
        };
        File::open(self.path(file))
            .and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
            .map_err(|source| error_of(self.pid, file, source))?;
        Ok(bytes)
    }

    fn read_through_vm(&self, address: u64, destination: &mut [u8]) -> bool {
        let (Ok(base), Ok(pid)) = (usize::try_from(address), i32::try_from(self.tid)) else {
            return false;
        };
        let remote = RemoteIoVec {
            base,
            len: destination.len(),
        };
        let wanted = destination.len();
        let read = process_vm_readv(
            Pid::from_raw(pid),
            &mut [io::IoSliceMut::new(destination)],
            &[remote],
        );
        read == Ok(wanted)
    }

    /// Reads all or nothing. `/proc/PID/mem` is the second way: it also reads pages without read permission, and is
    /// there where a sandbox forbids `process_vm_readv(2)`.
    fn read_now(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        if self.read_through_vm(address, destination) {
            return Ok(());
        }
        let read = |process: &Self, destination: &mut [u8]| {
            let memory = File::open(process.path("mem"))?;
            memory.read_exact_at(destination, address)
        };
        if read(self, destination).is_ok() {
            return Ok(());
        }
        // The thread may have ended since.
        let other = (!self.has_memory()).then(|| self.living_thread()).flatten();
        other
            .ok_or(Fault)
            .and_then(|process| read(&process, destination).map_err(|_unmapped| Fault))
    }
}

impl RemoteMemory for Process {
    /// Reads all or nothing, and does not wait for a process that keeps its memory from us (see `patience`).
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        if destination.is_empty() {
            return Ok(());
        }
        if self.is_at_hand(address, destination.len()) {
            return self.read_now(address, destination);
        }
        self.read_patiently(address, destination)
    }
}

/// A descriptor that becomes readable when the process ends, with all of its threads.
#[expect(unsafe_code, reason = "pidfd_open(2), of which nix has no form")]
pub fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us; it is closed on exec.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn error_of(pid: u32, file: &str, source: io::Error) -> ProcessError {
    match source.raw_os_error() {
        Some(libc::ESRCH) => ProcessError::NoSuchProcess { pid },
        Some(libc::ENOENT) if file.is_empty() => ProcessError::NoSuchProcess { pid },
        Some(libc::EACCES | libc::EPERM) => ProcessError::NotPermitted { pid, source },
        Some(libc::ENOENT) if file == "exe" => ProcessError::NoExecutable { pid },
        _ => ProcessError::Read {
            pid,
            file: file.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests;
