//! The object in the kernel: loaded once, attached to processes, read from until it is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write as _,
    num::NonZeroU32,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap as BpfHashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::{
        Program, RawTracePoint, TracePoint, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope},
    },
};
use memray_ebpf::{config::TargetConfig, cookie::Role, stat::StatId};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{
    error::BpfError,
    kernel_btf::KernelTypes,
    multi::{self, MultiObject},
    privileges,
    programs::{
        ALLOCATOR_ENTRY, ALLOCATOR_RETURN, CODE_DEALLOC, FLOOR_ENTRY, FLOOR_RETURN, FREE_ENTRY, LOSSLESS,
        RAW_TRACEPOINTS, RING, STATS, TARGETS, TASK_FSBASE_OFFSET, THREADS, TRACEPOINTS,
    },
    system::{attach_tracepoint, remove_key},
    tracepoints::Tracepoints,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memray-ebpf"));
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// What happens when the collector falls behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Probes wait until there is room.
    Lossless,
    /// Events are dropped and counted.
    Lossy,
}

/// One place for probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSite {
    /// A path that opens the file in our own mount namespace.
    pub path: PathBuf,
    pub file_offset: u64,
    pub role: Role,
    /// A packed [`memray_ebpf::cookie::Cookie`].
    pub cookie: u64,
}

/// The program that runs at a place, in the order of attaching: frees first, so that no block is seen whose free
/// would be missed, then entries, then returns, so that no return comes whose entry was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Half {
    Free,
    CodeDealloc,
    AllocatorEntry,
    AllocatorReturn,
}

impl Half {
    pub(super) const ALL: [Self; 4] = [
        Self::Free,
        Self::CodeDealloc,
        Self::AllocatorEntry,
        Self::AllocatorReturn,
    ];

    fn all_of(role: Role) -> &'static [Self] {
        match role {
            Role::Free => &[Self::Free],
            Role::CodeDealloc => &[Self::CodeDealloc],
            Role::Allocate
            | Role::AllocateArray
            | Role::AllocateInto
            | Role::Reallocate
            | Role::ReallocateArray => &[Self::AllocatorEntry, Self::AllocatorReturn],
        }
    }

    /// The program that does nothing, for [`Recorder::load_floor`].
    const fn floor_program(self) -> &'static str {
        match self {
            Self::AllocatorReturn => FLOOR_RETURN,
            Self::Free | Self::CodeDealloc | Self::AllocatorEntry => FLOOR_ENTRY,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Free => FREE_ENTRY,
            Self::CodeDealloc => CODE_DEALLOC,
            Self::AllocatorEntry => ALLOCATOR_ENTRY,
            Self::AllocatorReturn => ALLOCATOR_RETURN,
        }
    }
}

/// The programs that sit on functions, loaded for multi links.
type MultiPrograms = BTreeMap<Half, OwnedFd>;

/// The programs of the recording and everything they are attached to; dropping it detaches all.
#[derive(Debug)]
pub struct Recorder {
    ebpf: Ebpf,
    /// None where the kernel has no multi-uprobe links; then aya attaches each probe by itself.
    multi: Option<MultiPrograms>,
    links: Vec<OwnedFd>,
    /// Process, device, inode and offset of each probe.
    attached: BTreeSet<(u32, u64, u64, u64)>,
    lives: u32,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct TargetConfigPod(TargetConfig);

#[expect(unsafe_code, reason = "a marker for plain data")]
// SAFETY: repr(C), integers only, sizes without padding are asserted where it is defined.
unsafe impl Pod for TargetConfigPod {}

impl Recorder {
    /// Makes the maps, loads every program and attaches those that watch the whole system (they look at traced
    /// processes only).
    pub fn load(delivery: Delivery) -> Result<Self, BpfError> {
        #[cfg(feature = "bpf-log")]
        return Self::load_object(&super::logging::readable(OBJECT), delivery);
        #[cfg(not(feature = "bpf-log"))]
        Self::load_object(OBJECT, delivery)
    }

    /// As [`load`](Self::load), of another object than the one that is built in, whose maps and records must be the
    /// same: to measure two builds of the programs side by side.
    pub fn load_object(object: &[u8], delivery: Delivery) -> Result<Self, BpfError> {
        let ebpf = make_maps(object, delivery)?;
        let multi = match load_multi(object, &ebpf, Half::program) {
            Ok(programs) => Some(programs),
            Err(BpfError::Verifier {
                source, log, program, ..
            }) => {
                // A kernel before 6.6 refuses the attach type before it looks at the program: no log.
                if !log.is_empty() || source.raw_os_error() != Some(libc::EINVAL) {
                    let log_file = keep_log(program, &log);
                    return Err(BpfError::Verifier {
                        program,
                        source,
                        log,
                        log_file,
                    });
                }
                None
            }
            Err(error) => return Err(error),
        };
        let mut recorder = Self {
            ebpf,
            multi,
            links: Vec::new(),
            attached: BTreeSet::new(),
            lives: 0,
        };
        recorder.attach_tracepoints()?;
        recorder.attach_raw_tracepoints()?;
        if recorder.multi.is_none() {
            for name in [ALLOCATOR_ENTRY, ALLOCATOR_RETURN, FREE_ENTRY, CODE_DEALLOC] {
                let program: &mut UProbe = program(&mut recorder.ebpf, name)?;
                program.load().map_err(|source| BpfError::Load {
                    program: name,
                    source: Box::new(source),
                })?;
            }
        }
        #[cfg(feature = "bpf-log")]
        super::logging::start(&mut recorder.ebpf).map_err(|error| BpfError::Parse(error.into()))?;
        Ok(recorder)
    }

    /// Loads programs that do nothing in place of all: what the probes alone cost.
    pub fn load_floor() -> Result<Self, BpfError> {
        let ebpf = make_maps(OBJECT, Delivery::Lossy)?;
        let multi = Some(load_multi(OBJECT, &ebpf, Half::floor_program)?);
        Ok(Self {
            ebpf,
            multi,
            links: Vec::new(),
            attached: BTreeSet::new(),
            lives: 0,
        })
    }

    /// Tells the programs about a new life of a process. Do it before its probes are attached.
    pub fn set_target(&mut self, pid: u32, config: &TargetConfig) -> Result<(), BpfError> {
        self.lives += 1;
        let config = TargetConfig {
            life: self.lives,
            ..*config
        };
        let failed = |source| BpfError::Map {
            map: TARGETS,
            source: Box::new(source),
        };
        let map = self
            .ebpf
            .map_mut(TARGETS)
            .ok_or(BpfError::Missing { name: TARGETS })?;
        let mut targets: BpfHashMap<&mut MapData, u32, TargetConfigPod> = map.try_into().map_err(failed)?;
        targets.insert(pid, TargetConfigPod(config), 0).map_err(failed)?;
        self.forget_thread(pid)
    }

    /// exec keeps one thread, under the number of the process, and the kernel says nothing of its end: what the life
    /// before knew of it would be taken for true, above all that it is announced.
    fn forget_thread(&self, tid: u32) -> Result<(), BpfError> {
        let threads = self.ebpf.map(THREADS).and_then(map_fd);
        let threads = threads.ok_or(BpfError::Missing { name: THREADS })?;
        remove_key(threads, tid).map_err(|error| BpfError::Map {
            map: THREADS,
            source: Box::new(aya::maps::MapError::IoError(error)),
        })
    }

    /// Attaches probes to one process. Those that it has already stay as they are: a program that a process executes
    /// meets the probes of the one before it.
    pub fn attach(&mut self, pid: u32, sites: &[ProbeSite]) -> Result<(), BpfError> {
        let mut groups: BTreeMap<(Half, &Path), Vec<(u64, u64)>> = BTreeMap::new();
        for site in sites {
            let file = fs::metadata(&site.path).map_err(|error| BpfError::Attach {
                program: Half::all_of(site.role)[0].program(),
                target: site.path.display().to_string(),
                source: error.into(),
            })?;
            if !self
                .attached
                .insert((pid, file.dev(), file.ino(), site.file_offset))
            {
                continue;
            }
            for half in Half::all_of(site.role) {
                groups
                    .entry((*half, &site.path))
                    .or_default()
                    .push((site.file_offset, site.cookie));
            }
        }
        for ((half, path), points) in groups {
            self.attach_group(pid, half, path, &points)?;
        }
        Ok(())
    }

    fn attach_group(
        &mut self,
        pid: u32,
        half: Half,
        path: &Path,
        points: &[(u64, u64)],
    ) -> Result<(), BpfError> {
        let name = half.program();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BpfError::Attach {
            program: name,
            target: path.display().to_string(),
            source,
        };
        if let Some(multi) = &self.multi {
            let program = multi.get(&half).ok_or(BpfError::Missing { name })?;
            let is_return = half == Half::AllocatorReturn;
            let link =
                multi::attach(program, path, points, is_return, pid).map_err(|error| failed(error.into()))?;
            self.links.push(link);
            return Ok(());
        }
        let scope = NonZeroU32::new(pid).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let program: &mut UProbe = program(&mut self.ebpf, name)?;
        for (file_offset, cookie) in points {
            let location = UProbeAttachLocation::AbsoluteOffset(*file_offset);
            let point = UProbeAttachPoint {
                location,
                cookie: Some(*cookie),
            };
            program
                .attach(point, path, scope)
                .map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// The reading end of the ring; once.
    pub fn take_ring(&mut self) -> Result<RingReader, BpfError> {
        let map = self.ebpf.take_map(RING).ok_or(BpfError::Missing { name: RING })?;
        let ring = RingBuf::try_from(map).map_err(|source| BpfError::Map {
            map: RING,
            source: Box::new(source),
        })?;
        RingReader::new(ring).map_err(|errno| BpfError::Wait(errno.into()))
    }

    /// The reading end of the counters; once.
    pub fn take_counters(&mut self) -> Result<Counters, BpfError> {
        let map = self
            .ebpf
            .take_map(STATS)
            .ok_or(BpfError::Missing { name: STATS })?;
        let stats = PerCpuArray::try_from(map).map_err(|source| BpfError::Map {
            map: STATS,
            source: Box::new(source),
        })?;
        Ok(Counters { stats })
    }

    fn attach_tracepoints(&mut self) -> Result<(), BpfError> {
        let (_, _, first) = TRACEPOINTS[0];
        let tracepoints =
            Tracepoints::open().map_err(|source| BpfError::Tracepoint { name: first, source })?;
        for (name, category, tracepoint) in TRACEPOINTS {
            let program: &mut TracePoint = program(&mut self.ebpf, name)?;
            program.load().map_err(|source| BpfError::Load {
                program: name,
                source: Box::new(source),
            })?;
            let id = tracepoints
                .id(category, tracepoint)
                .map_err(|source| BpfError::Tracepoint {
                    name: tracepoint,
                    source,
                })?;
            let fd = program.fd().map_err(|source| BpfError::Load {
                program: name,
                source: Box::new(source),
            })?;
            let link = attach_tracepoint(fd.as_fd(), id).map_err(|error| BpfError::Attach {
                program: name,
                target: tracepoint.to_owned(),
                source: error.into(),
            })?;
            self.links.push(link);
        }
        Ok(())
    }

    fn attach_raw_tracepoints(&mut self) -> Result<(), BpfError> {
        for (name, tracepoint) in RAW_TRACEPOINTS {
            let program: &mut RawTracePoint = program(&mut self.ebpf, name)?;
            program.load().map_err(|source| BpfError::Load {
                program: name,
                source: Box::new(source),
            })?;
            program.attach(tracepoint).map_err(|error| BpfError::Attach {
                program: name,
                target: tracepoint.to_owned(),
                source: error.into(),
            })?;
        }
        Ok(())
    }
}

/// The records of the ring, in order.
pub struct RingReader {
    ring: RingBuf<MapData>,
    /// Told of wake-ups only: most records come without one, and are not to end a wait.
    wake_ups: Epoll,
}

impl std::fmt::Debug for RingReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RingReader").finish_non_exhaustive()
    }
}

impl RingReader {
    fn new(ring: RingBuf<MapData>) -> nix::Result<Self> {
        let wake_ups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        wake_ups.add(
            ring.as_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0),
        )?;
        Ok(Self { ring, wake_ups })
    }

    /// Returns after `timeout`, or when a program asks for the collector.
    pub fn wait(&self, timeout: Duration) {
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO);
        // Interrupted by a signal: then it was a shorter wait.
        let _interrupted = self.wake_ups.wait(&mut [EpollEvent::empty()], timeout);
    }

    /// Hands the records that are there to `consume`, at most `limit` of them; returns how many there were.
    pub fn drain(&mut self, limit: u64, mut consume: impl FnMut(&[u8])) -> u64 {
        let mut records = 0;
        while records < limit
            && let Some(record) = self.ring.next()
        {
            consume(&record);
            records += 1;
        }
        records
    }
}

/// The counters of the programs.
pub struct Counters {
    stats: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    /// Sums over the CPUs, indexed by [`StatId`].
    pub fn read(&self) -> Result<[u64; StatId::COUNT], BpfError> {
        let mut sums = [0; StatId::COUNT];
        for (index, sum) in (0u32..).zip(&mut sums) {
            let values = self.stats.get(&index, 0).map_err(|source| BpfError::Map {
                map: STATS,
                source: Box::new(source),
            })?;
            *sum = values.iter().sum();
        }
        Ok(sums)
    }
}

pub(super) fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, BpfError>
where
    &'a mut T: TryFrom<&'a mut Program>,
{
    let program = ebpf.program_mut(name).ok_or(BpfError::Missing { name })?;
    program.try_into().ok().ok_or(BpfError::Missing { name })
}

pub(super) fn make_maps(object: &[u8], delivery: Delivery) -> Result<Ebpf, BpfError> {
    if object.is_empty() {
        return Err(BpfError::NoObject);
    }
    privileges::require()?;
    let fs_base_offset = task_fs_base_offset()?;
    let lossless = u32::from(delivery == Delivery::Lossless);
    EbpfLoader::new()
        .override_global(TASK_FSBASE_OFFSET, &fs_base_offset, true)
        .override_global(LOSSLESS, &lossless, true)
        .load(object)
        .map_err(|error| BpfError::Maps(Box::new(error)))
}

fn load_multi(object: &[u8], ebpf: &Ebpf, name: fn(Half) -> &'static str) -> Result<MultiPrograms, BpfError> {
    let object = MultiObject::new(object, |name| ebpf.map(name).and_then(map_fd))?;
    Half::ALL
        .into_iter()
        .map(|half| Ok((half, object.load(name(half))?)))
        .collect()
}

pub(super) fn map_fd(map: &Map) -> Option<RawFd> {
    let (Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) = map else {
        return None;
    };
    Some(data.fd().as_fd().as_raw_fd())
}

/// Puts the verifier's log where it can be found; None if that fails too. Refuses a file that is there already, so
/// that nobody can lead a privileged memray to overwrite another.
fn keep_log(program: &str, log: &str) -> Option<PathBuf> {
    let path = env::temp_dir().join(format!("memray-verifier-{program}.{}.log", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .ok()?;
    file.write_all(log.as_bytes()).ok()?;
    Some(path)
}

pub(super) fn task_fs_base_offset() -> Result<u64, BpfError> {
    let bytes = fs::read(KERNEL_TYPES).map_err(BpfError::KernelTypes)?;
    let types = KernelTypes::parse(&bytes);
    types
        .and_then(|types| types.member_offset("task_struct", &["thread", "fsbase"]))
        .ok_or(BpfError::KernelTypeMissing {
            structure: "task_struct",
            member: "thread.fsbase",
        })
}
