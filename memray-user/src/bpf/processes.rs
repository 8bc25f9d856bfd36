//! What the programs know of processes: which are recorded, which are followed, which threads are held, and what was
//! said of them.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{
    Ebpf, Pod,
    maps::{HashMap as BpfHashMap, Map, MapData, MapError},
};
use memray_ebpf::config::TargetConfig;

use super::{
    error::BpfError,
    programs::{FOLLOWED, HOLDS, KNOWN_CODES, KNOWN_STACKS, TARGETS, THREADS},
    system::remove_keys,
};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct TargetConfigPod(TargetConfig);

#[expect(unsafe_code, reason = "a marker for plain data")]
// SAFETY: repr(C), integers only, sizes without padding are asserted where it is defined.
unsafe impl Pod for TargetConfigPod {}

/// The maps of processes and threads.
pub struct Processes {
    targets: BpfHashMap<MapData, u32, TargetConfigPod>,
    followed: BpfHashMap<MapData, u32, u32>,
    holds: BpfHashMap<MapData, u32, u32>,
    threads: MapData,
    lives: u32,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Processes")
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}

impl Processes {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            targets: take(ebpf, TARGETS)?,
            followed: take(ebpf, FOLLOWED)?,
            holds: take(ebpf, HOLDS)?,
            threads: take_data(ebpf, THREADS)?,
            lives: 0,
        })
    }

    /// A number for the life of a process that is about to be recorded.
    pub fn new_life(&mut self) -> u32 {
        self.lives += 1;
        self.lives
    }

    /// Tells the programs about a life of a process. Do it before its probes are attached, and again if an interpreter
    /// has come.
    pub fn set_target(&mut self, pid: u32, config: &TargetConfig, life: u32) -> Result<(), BpfError> {
        let config = TargetConfig { life, ..*config };
        self.targets
            .insert(pid, TargetConfigPod(config), 0)
            .map_err(|source| failed(TARGETS, source))
    }

    /// Has the programs watch the children, the execs and the libraries of a process.
    pub fn follow(&mut self, pid: u32) -> Result<(), BpfError> {
        self.followed
            .insert(pid, 0, 0)
            .map_err(|source| failed(FOLLOWED, source))
    }

    /// The end of [`follow`](Self::follow).
    pub fn unfollow(&mut self, pid: u32) -> Result<(), BpfError> {
        remove(&mut self.followed, FOLLOWED, pid)
    }

    /// The end of [`set_target`](Self::set_target). Allocations that are seen after that are counted as lost: probes go
    /// first.
    pub fn remove_target(&mut self, pid: u32) -> Result<(), BpfError> {
        remove(&mut self.targets, TARGETS, pid)
    }

    /// Forgets what is known of threads that run on unseen: they are announced anew if they are recorded again.
    pub fn forget_threads(&mut self, tids: &[u32]) -> Result<(), BpfError> {
        let keys: Vec<u8> = tids.iter().flat_map(|tid| tid.to_ne_bytes()).collect();
        remove_keys(self.threads.fd().as_fd().as_raw_fd(), &keys, size_of::<u32>())
            .map_err(|error| failed(THREADS, MapError::IoError(error)))
    }

    /// Lets a thread go that is held.
    pub fn release(&mut self, tid: u32) -> Result<(), BpfError> {
        remove(&mut self.holds, HOLDS, tid)
    }

    /// Lets all go.
    pub fn release_all(&mut self) -> Result<(), BpfError> {
        let held: Vec<u32> = self.holds.keys().flatten().collect();
        held.into_iter().try_for_each(|tid| self.release(tid))
    }
}

/// What the programs remember having said, so that a process that ends leaves nothing behind.
pub struct Memories {
    codes: MapData,
    stacks: MapData,
}

impl std::fmt::Debug for Memories {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Memories").finish_non_exhaustive()
    }
}

impl Memories {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            codes: take_data(ebpf, KNOWN_CODES)?,
            stacks: take_data(ebpf, KNOWN_STACKS)?,
        })
    }

    /// Removes code objects: for each the pid, the number of the life and the address.
    pub fn forget_codes(&self, codes: &[(u32, u32, u64)]) -> Result<(), BpfError> {
        const KEY_BYTES: usize = 16;
        let mut keys = Vec::with_capacity(codes.len() * KEY_BYTES);
        for (pid, life, code) in codes {
            keys.extend(pid.to_ne_bytes());
            keys.extend(life.to_ne_bytes());
            keys.extend(code.to_ne_bytes());
        }
        remove_keys(self.codes.fd().as_fd().as_raw_fd(), &keys, KEY_BYTES)
            .map_err(|error| failed(KNOWN_CODES, MapError::IoError(error)))
    }

    /// Removes stacks by their hashes.
    pub fn forget_stacks(&self, hashes: &[[u64; 2]]) -> Result<(), BpfError> {
        let keys: Vec<u8> = hashes
            .iter()
            .flatten()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        remove_keys(self.stacks.fd().as_fd().as_raw_fd(), &keys, size_of::<[u64; 2]>())
            .map_err(|error| failed(KNOWN_STACKS, MapError::IoError(error)))
    }
}

fn failed(map: &'static str, source: MapError) -> BpfError {
    BpfError::Map {
        map,
        source: Box::new(source),
    }
}

fn take<V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<BpfHashMap<MapData, u32, V>, BpfError> {
    let map = ebpf.take_map(name).ok_or(BpfError::Missing { name })?;
    map.try_into().map_err(|source| failed(name, source))
}

fn take_data(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, BpfError> {
    match ebpf.take_map(name) {
        Some(Map::HashMap(data)) => Ok(data),
        _ => Err(BpfError::Missing { name }),
    }
}

/// A key that is not there is no error.
fn remove(
    map: &mut BpfHashMap<MapData, u32, impl Pod>,
    name: &'static str,
    key: u32,
) -> Result<(), BpfError> {
    match map.remove(&key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(source) => Err(failed(name, source)),
    }
}
