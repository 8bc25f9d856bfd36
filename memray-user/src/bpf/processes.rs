//! What the programs know of processes: which are recorded, which are followed, which threads are held, and what was
//! said of them.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::Arc,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap as BpfHashMap, Map, MapData, MapError},
};
use memray_ebpf::{config::TargetConfig, event::CodeRecord, follow::followed};

use super::{
    error::BpfError,
    programs::{FOLLOWED, HOLDS, KNOWN_CODES, KNOWN_STACKS, TARGETS, THREADS},
    system::{lookup, remove_keys},
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
    live_codes: Arc<LiveCodes>,
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
        // Before the collector takes it, and before the next line does.
        let live_codes = Arc::new(LiveCodes {
            codes: duplicate(ebpf, KNOWN_CODES)?,
            targets: duplicate(ebpf, TARGETS)?,
        });
        Ok(Self {
            live_codes,
            targets: take(ebpf, TARGETS)?,
            followed: take(ebpf, FOLLOWED)?,
            holds: take(ebpf, HOLDS)?,
            threads: take_data(ebpf, THREADS)?,
            lives: 0,
        })
    }

    pub fn live_codes(&self) -> Arc<LiveCodes> {
        Arc::clone(&self.live_codes)
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

    /// Has the programs watch the children, the execs and the libraries of a process. One that runs and is not probed yet
    /// is told so, and a second time when it is.
    pub fn follow(&mut self, pid: u32, is_unprobed: bool) -> Result<(), BpfError> {
        let bits = if is_unprobed { followed::UNPROBED } else { 0 };
        self.followed
            .insert(pid, bits, 0)
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

/// What the programs remember of a life of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifeMemory {
    /// Pid, number of the life, address.
    pub codes: Vec<(u32, u32, u64)>,
    /// Of stacks.
    pub hashes: Vec<[u64; 2]>,
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

    /// Removes all that is remembered of a life.
    pub fn forget(&self, memory: &LifeMemory) -> Result<(), BpfError> {
        self.forget_codes(&memory.codes)?;
        self.forget_stacks(&memory.hashes)
    }

    /// Removes code objects: for each the pid, the number of the life and the address.
    pub fn forget_codes(&self, codes: &[(u32, u32, u64)]) -> Result<(), BpfError> {
        let mut keys = Vec::with_capacity(codes.len() * CODE_KEY_BYTES);
        for &(pid, life, code) in codes {
            let mut key = [0; CODE_KEY_BYTES];
            write_code_key(&mut key, pid, life, code);
            keys.extend(key);
        }
        remove_keys(self.codes.fd().as_fd().as_raw_fd(), &keys, CODE_KEY_BYTES)
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

/// Which code objects live, as the programs know it.
pub struct LiveCodes {
    codes: OwnedFd,
    targets: OwnedFd,
}

impl std::fmt::Debug for LiveCodes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LiveCodes").finish_non_exhaustive()
    }
}

impl LiveCodes {
    /// Whether this code object of this life is there now; false where the programs could not remember it.
    pub fn holds(&self, pid: u32, life: u32, code: u64, serial: u64) -> bool {
        let mut key = [0; CODE_KEY_BYTES];
        write_code_key(&mut key, pid, life, code);
        let mut value = [0; size_of::<u64>()];
        let is_known = lookup(self.codes.as_raw_fd(), &key, &mut value)
            && u64::from_ne_bytes(value) & !CodeRecord::IS_SENT == serial;
        // A program that becomes another is no target from then on, and what it knew of code objects is of before.
        let mut target = [0; size_of::<TargetConfig>()];
        is_known
            && lookup(self.targets.as_raw_fd(), &pid.to_ne_bytes(), &mut target)
            && target[LIFE_OFFSET..][..size_of::<u32>()] == life.to_ne_bytes()
    }
}

const LIFE_OFFSET: usize = std::mem::offset_of!(TargetConfig, life);
const CODE_KEY_BYTES: usize = 16;

fn write_code_key(key: &mut [u8; CODE_KEY_BYTES], pid: u32, life: u32, code: u64) {
    key[..4].copy_from_slice(&pid.to_ne_bytes());
    key[4..8].copy_from_slice(&life.to_ne_bytes());
    key[8..].copy_from_slice(&code.to_ne_bytes());
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

/// A second descriptor of a map that others use too.
fn duplicate(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, BpfError> {
    let Some(Map::HashMap(map)) = ebpf.map(name) else {
        return Err(BpfError::Missing { name });
    };
    let failed = |error: io::Error| failed(name, MapError::IoError(error));
    map.fd().as_fd().try_clone_to_owned().map_err(failed)
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
