//! The object in the kernel: loaded once, attached to processes, read from until it is dropped.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, Map, PerCpuArray, RingBuf},
    programs::{Program, RawTracePoint, TracePoint, UProbe},
};
use memray_ebpf::{
    follow::{PidNamespace, TaskOffsets},
    limits::{MAX_LOST_FREES_LOSSLESS, MAX_LOST_FREES_LOSSY, MAX_PROCESSES, MAX_THREADS, RING_BYTES},
};

use super::{
    counters::{Counters, Heartbeat},
    error::BpfError,
    features::supports_uprobe_multi,
    kernel_btf::KernelTypes,
    linker::Linker,
    lost_frees::LostFrees,
    multi::MultiObject,
    privileges,
    processes::{Memories, Processes},
    programs::{
        FOLLOW_CHILDREN, FOLLOWED, HEARTBEAT, HOLDS, LOSSLESS, LOST_FREES, PID_NAMESPACE, RAW_TRACEPOINTS,
        RING, RING_SIZE_BYTES, STATS, TARGETS, TASK_FSBASE_OFFSET, TASK_OFFSETS, THREADS, TRACEPOINTS,
    },
    ring::RingReader,
    sites::Half,
    system::attach_tracepoint,
    tracepoints::Tracepoints,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memray-ebpf"));
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// `PROC_PID_INIT_INO` (include/uapi/linux/nsfs.h; `include/linux/proc_ns.h` before).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// What happens when the collector falls behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Probes wait until there is room.
    Lossless,
    /// Events are dropped and counted.
    Lossy,
}

/// Sizes of what the programs have in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A power of two, at least [`MIN_RING_BYTES`](memray_ebpf::limits::MIN_RING_BYTES).
    pub ring_bytes: u32,
    /// Threads that are known at one time.
    pub threads: u32,
    /// Processes that are recorded, and threads that are held, at one time.
    pub processes: u32,
}

impl Bounds {
    /// Those of a recording that asks for no other.
    pub const DEFAULT: Self = Self {
        ring_bytes: RING_BYTES,
        threads: MAX_THREADS,
        processes: MAX_PROCESSES,
    };
}

/// What the programs are told once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderOptions {
    pub delivery: Delivery,
    pub bounds: Bounds,
    /// Children of followed processes are followed too.
    pub follow_children: bool,
    /// The programs are loaded side by side. Not by a process that launches another: with its first thread glibc takes
    /// signals 32 and 33 for itself, and the child would not inherit what was ignored.
    pub may_start_threads: bool,
}

/// The programs that watch the whole system, and the maps; dropping it detaches the programs.
pub struct Recorder {
    linker: Linker,
    links: Vec<OwnedFd>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("linker", &self.linker)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct TaskOffsetsPod(TaskOffsets);

#[expect(unsafe_code, reason = "a marker for plain data")]
// SAFETY: repr(C), integers only, no padding.
unsafe impl Pod for TaskOffsetsPod {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PidNamespacePod(PidNamespace);

#[expect(unsafe_code, reason = "a marker for plain data")]
// SAFETY: as above.
unsafe impl Pod for PidNamespacePod {}

impl Recorder {
    /// Makes the maps, loads every program and attaches those that watch the whole system (they look at traced
    /// processes only).
    pub fn load(options: RecorderOptions) -> Result<Self, BpfError> {
        #[cfg(feature = "bpf-log")]
        return Self::load_object(&super::logging::readable(OBJECT), options);
        #[cfg(not(feature = "bpf-log"))]
        Self::load_object(OBJECT, options)
    }

    /// As [`load`](Self::load), of another object than the one that is built in, whose maps and records must be the
    /// same: to measure two builds of the programs side by side.
    pub fn load_object(object: &[u8], options: RecorderOptions) -> Result<Self, BpfError> {
        let ebpf = make_maps(object, options)?;
        let multi = if supports_uprobe_multi() {
            Some(MultiObject::new(object, |name| ebpf.map(name).and_then(map_fd))?)
        } else {
            None
        };
        let mut recorder = Self {
            linker: Linker {
                ebpf: Arc::new(Mutex::new(ebpf)),
                multi: None,
            },
            links: Vec::new(),
        };
        // Most of the time is the verifier's, for two programs that walk stacks: one on a function, one on a tracepoint.
        let programs = thread::scope(|threads| {
            let load = || multi.as_ref().map(load_multi).transpose();
            let programs = options.may_start_threads.then(|| threads.spawn(load));
            recorder.attach_tracepoints()?;
            recorder.attach_raw_tracepoints()?;
            match programs {
                Some(programs) => programs.join().expect("a panic ends the process before"),
                None => load(),
            }
        })?;
        recorder.linker.multi = programs.map(Arc::new);
        if recorder.linker.multi.is_none() {
            recorder.load_single()?;
        }
        #[cfg(feature = "bpf-log")]
        super::logging::start(&mut recorder.ebpf()).map_err(|error| BpfError::Parse(error.into()))?;
        Ok(recorder)
    }

    /// Loads programs that do nothing in place of all: what the probes alone cost.
    pub fn load_floor() -> Result<Self, BpfError> {
        let options = RecorderOptions {
            delivery: Delivery::Lossy,
            bounds: Bounds::DEFAULT,
            follow_children: false,
            may_start_threads: false,
        };
        let ebpf = make_maps(OBJECT, options)?;
        let object = MultiObject::new(OBJECT, |name| ebpf.map(name).and_then(map_fd))?;
        let multi = Some(Arc::new(load_halves(&object, Half::floor_program)?));
        let ebpf = Arc::new(Mutex::new(ebpf));
        Ok(Self {
            linker: Linker { ebpf, multi },
            links: Vec::new(),
        })
    }

    /// What attaches the programs on functions. They stay as long as their links, also without the recorder.
    pub fn linker(&self) -> Linker {
        self.linker.clone()
    }

    /// What the programs know of processes; once.
    pub fn take_processes(&self) -> Result<Processes, BpfError> {
        Processes::take(&mut self.ebpf())
    }

    /// What the programs remember; once.
    pub fn take_memories(&self) -> Result<Memories, BpfError> {
        Memories::take(&mut self.ebpf())
    }

    /// The frees that found no room in the ring; once.
    pub fn take_lost_frees(&self) -> Result<LostFrees, BpfError> {
        match self.take_map(LOST_FREES)? {
            Map::HashMap(table) => Ok(LostFrees { table }),
            _ => Err(BpfError::Missing { name: LOST_FREES }),
        }
    }

    /// The reading end of the ring; once.
    pub fn take_ring(&self) -> Result<RingReader, BpfError> {
        let ring = RingBuf::try_from(self.take_map(RING)?).map_err(|source| BpfError::Map {
            map: RING,
            source: Box::new(source),
        })?;
        RingReader::new(ring).map_err(|errno| BpfError::Wait(errno.into()))
    }

    /// The reading end of the counters; once.
    pub fn take_counters(&self) -> Result<Counters, BpfError> {
        let stats = PerCpuArray::try_from(self.take_map(STATS)?).map_err(|source| BpfError::Map {
            map: STATS,
            source: Box::new(source),
        })?;
        Ok(Counters { stats })
    }

    /// What keeps threads held; once. Without beats nobody is held for long.
    pub fn take_heartbeat(&self) -> Result<Heartbeat, BpfError> {
        let beats = Array::try_from(self.take_map(HEARTBEAT)?).map_err(|source| BpfError::Map {
            map: HEARTBEAT,
            source: Box::new(source),
        })?;
        Ok(Heartbeat { beats })
    }

    fn take_map(&self, name: &'static str) -> Result<Map, BpfError> {
        self.ebpf().take_map(name).ok_or(BpfError::Missing { name })
    }

    fn ebpf(&self) -> std::sync::MutexGuard<'_, Ebpf> {
        self.linker.ebpf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_single(&self) -> Result<(), BpfError> {
        let mut ebpf = self.ebpf();
        for half in Half::ALL {
            let name = half.program();
            let program: &mut UProbe = program(&mut ebpf, name)?;
            program.load().map_err(|source| BpfError::Load {
                program: name,
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    fn attach_tracepoints(&mut self) -> Result<(), BpfError> {
        let mut ebpf = self.linker.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, first) = TRACEPOINTS[0];
        let tracepoints =
            Tracepoints::open().map_err(|source| BpfError::Tracepoint { name: first, source })?;
        for (name, category, tracepoint) in TRACEPOINTS {
            let program: &mut TracePoint = program(&mut ebpf, name)?;
            // One program can be for several.
            if program.fd().is_err() {
                program.load().map_err(|source| BpfError::Load {
                    program: name,
                    source: Box::new(source),
                })?;
            }
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
        let mut ebpf = self.linker.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, tracepoint) in RAW_TRACEPOINTS {
            let program: &mut RawTracePoint = program(&mut ebpf, name)?;
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

pub(super) fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, BpfError>
where
    &'a mut T: TryFrom<&'a mut Program>,
{
    let program = ebpf.program_mut(name).ok_or(BpfError::Missing { name })?;
    program.try_into().ok().ok_or(BpfError::Missing { name })
}

pub(super) fn make_maps(object: &[u8], options: RecorderOptions) -> Result<Ebpf, BpfError> {
    if object.is_empty() {
        return Err(BpfError::NoObject);
    }
    privileges::require()?;
    let bytes = fs::read(KERNEL_TYPES).map_err(BpfError::KernelTypes)?;
    let types = KernelTypes::parse(&bytes);
    let namespace = pid_namespace()?;
    let fs_base_offset = member(types.as_ref(), "task_struct", &["thread", "fsbase"])?;
    let task_offsets = TaskOffsetsPod(task_offsets(types.as_ref(), namespace.0.inode != 0)?);
    let lossless = u32::from(options.delivery == Delivery::Lossless);
    let follow_children = u32::from(options.follow_children);
    let Bounds {
        ring_bytes,
        threads,
        processes,
    } = options.bounds;
    let ring_size_bytes = u64::from(ring_bytes);
    let lost_frees = match options.delivery {
        Delivery::Lossless => MAX_LOST_FREES_LOSSLESS,
        Delivery::Lossy => lost_frees_lossy(ring_bytes),
    };
    EbpfLoader::new()
        .map_max_entries(RING, ring_bytes)
        .map_max_entries(THREADS, threads)
        .map_max_entries(TARGETS, processes)
        .map_max_entries(FOLLOWED, processes)
        .map_max_entries(HOLDS, processes)
        .map_max_entries(LOST_FREES, lost_frees)
        .override_global(RING_SIZE_BYTES, &ring_size_bytes, true)
        .override_global(TASK_FSBASE_OFFSET, &fs_base_offset, true)
        .override_global(TASK_OFFSETS, &task_offsets, true)
        .override_global(PID_NAMESPACE, &namespace, true)
        .override_global(LOSSLESS, &lossless, true)
        .override_global(FOLLOW_CHILDREN, &follow_children, true)
        .load(object)
        .map_err(|error| BpfError::Maps(Box::new(error)))
}

/// A small ring is read often, and a large table slow to look through.
fn lost_frees_lossy(ring_bytes: u32) -> u32 {
    (ring_bytes / 64).clamp(MAX_LOST_FREES_LOSSY / 4, MAX_LOST_FREES_LOSSY)
}

fn load_multi(object: &MultiObject) -> Result<BTreeMap<Half, OwnedFd>, BpfError> {
    load_halves(object, Half::program)
}

fn load_halves(
    object: &MultiObject,
    name: fn(Half) -> &'static str,
) -> Result<BTreeMap<Half, OwnedFd>, BpfError> {
    let load = |half| match object.load(name(half)) {
        Ok(program) => Ok((half, program)),
        Err(BpfError::Verifier {
            program, source, log, ..
        }) => Err(BpfError::Verifier {
            log_file: keep_log(program, &log),
            program,
            source,
            log,
        }),
        Err(error) => Err(error),
    };
    Half::ALL.into_iter().map(load).collect()
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
    member(types.as_ref(), "task_struct", &["thread", "fsbase"])
}

fn member(
    types: Option<&KernelTypes<'_>>,
    structure: &'static str,
    path: &[&'static str],
) -> Result<u64, BpfError> {
    types
        .and_then(|types| types.member_offset(structure, path))
        .ok_or_else(|| BpfError::KernelTypeMissing {
            structure,
            member: path.join("."),
        })
}

fn task_offsets(types: Option<&KernelTypes<'_>>, is_nested: bool) -> Result<TaskOffsets, BpfError> {
    let offset = |structure, path: &[&'static str]| {
        let offset = member(types, structure, path)?;
        u32::try_from(offset).map_err(|_too_large| BpfError::KernelTypeMissing {
            structure,
            member: path.join("."),
        })
    };
    let task = |name| offset("task_struct", &[name]);
    let mut offsets = TaskOffsets {
        pid: task("pid")?,
        tgid: task("tgid")?,
        mm: task("mm")?,
        exit_code: task("exit_code")?,
        signal: task("signal")?,
        signal_flags: offset("signal_struct", &["flags"])?,
        brk: offset("mm_struct", &["brk"])?,
        ..TaskOffsets::default()
    };
    if is_nested {
        offsets.thread_pid = task("thread_pid")?;
        offsets.level = offset("pid", &["level"])?;
        offsets.numbers = offset("pid", &["numbers"])?;
        offsets.namespace_inode = offset("pid_namespace", &["ns", "inum"])?;
    }
    Ok(offsets)
}

/// Whether the numbers of processes here are those that the kernel has at hand.
pub fn is_in_initial_pid_namespace() -> bool {
    pid_namespace().is_ok_and(|namespace| namespace.0.inode == 0)
}

/// Our own; zero for the initial one, whose numbers the kernel has at hand.
fn pid_namespace() -> Result<PidNamespacePod, BpfError> {
    let namespace = fs::metadata("/proc/self/ns/pid").map_err(BpfError::PidNamespace)?;
    if namespace.ino() == INITIAL_PID_NAMESPACE {
        return Ok(PidNamespacePod(PidNamespace::default()));
    }
    Ok(PidNamespacePod(PidNamespace {
        device: namespace.dev(),
        inode: namespace.ino(),
    }))
}
