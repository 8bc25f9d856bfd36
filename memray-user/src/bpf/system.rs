//! System calls that aya 0.14 has no form of: bpf(2) for multi-uprobe programs and links, `perf_event_open(2)` for a
//! tracepoint by number, and a tracefs that nobody else sees.
#![expect(unsafe_code, reason = "raw system calls")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

/// A program as bpf(2) takes it.
pub(super) struct ProgramLoad<'a> {
    pub(super) name: &'a str,
    pub(super) instructions: &'a [aya_obj::generated::bpf_insn],
    pub(super) sleepable: bool,
    pub(super) types: Option<BorrowedFd<'a>>,
    pub(super) function_info: &'a [aya_obj::generated::bpf_func_info],
}

/// Points of one file that one link covers.
pub(super) struct MultiLink<'a> {
    pub(super) program: BorrowedFd<'a>,
    pub(super) path: &'a CString,
    /// Offsets in the file, not addresses.
    pub(super) offsets: &'a [u64],
    pub(super) cookies: &'a [u64],
    pub(super) is_return: bool,
    /// Process in the caller's pid namespace.
    pub(super) pid: u32,
}

const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;
const BPF_F_SLEEPABLE: u32 = 1 << 4;
/// Room for the verifier's log of a rejected program.
const LOG_BYTES: usize = 1 << 22;

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the attributes are initialized, as large as said, and point at memory that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            i64::from(command as u32),
            std::ptr::from_mut(attributes),
            size,
        )
    };
    owned(result)
}

fn owned(result: i64) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn zeroed_attributes() -> bpf_attr {
    // SAFETY: a union of plain numbers; the kernel asks for unused bytes to be zero.
    unsafe { std::mem::zeroed() }
}

/// Removes keys from a map, which lie one after the other; one that is not there is no error.
pub(super) fn remove_keys(map: RawFd, keys: &[u8], key_bytes: usize) -> io::Result<()> {
    for key in keys.chunks_exact(key_bytes) {
        let mut attributes = zeroed_attributes();
        // SAFETY: this is the member that BPF_MAP_DELETE_ELEM reads.
        let request = unsafe { &mut attributes.__bindgen_anon_2 };
        request.map_fd = map.cast_unsigned();
        request.key = key.as_ptr() as u64;
        let size = size_of::<bpf_attr>();
        let command = i64::from(bpf_cmd::BPF_MAP_DELETE_ELEM as u32);
        // SAFETY: the attributes are initialized, as large as said, and point at a key that outlives the call.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(&mut attributes), size) };
        let error = io::Error::last_os_error();
        if result < 0 && error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
    }
    Ok(())
}

/// Takes all entries out of a hash map, whose values are numbers, `chunk` of them at once.
pub(super) fn take_entries<const KEY_BYTES: usize>(
    map: RawFd,
    chunk: usize,
    mut consume: impl FnMut(&[u8; KEY_BYTES], u64),
) -> io::Result<()> {
    let mut keys = vec![[0u8; KEY_BYTES]; chunk];
    let mut values = vec![0u64; chunk];
    // Where the next chunk begins: a number of 32 bits for hash maps (kernel/bpf/hashtab.c).
    let (mut from, mut next) = (0u32, 0u32);
    let mut has_begun = false;
    loop {
        let mut attributes = zeroed_attributes();
        // SAFETY: this is the member that BPF_MAP_LOOKUP_AND_DELETE_BATCH reads.
        let request = unsafe { &mut attributes.batch };
        request.map_fd = map.cast_unsigned();
        request.in_batch = if has_begun { &raw const from as u64 } else { 0 };
        request.out_batch = &raw mut next as u64;
        request.keys = keys.as_mut_ptr() as u64;
        request.values = values.as_mut_ptr() as u64;
        request.count = length(chunk);
        let size = size_of::<bpf_attr>();
        let command = i64::from(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_BATCH as u32);
        // SAFETY: the attributes are initialized, as large as said, and point at memory that outlives the call.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(&mut attributes), size) };
        let error = io::Error::last_os_error();
        let is_last = result < 0 && error.kind() == io::ErrorKind::NotFound;
        if result < 0 && !is_last {
            return Err(error);
        }
        // SAFETY: the kernel has written it.
        let count = unsafe { attributes.batch.count } as usize;
        for (key, value) in keys.iter().zip(&values).take(count) {
            consume(key, *value);
        }
        if is_last {
            return Ok(());
        }
        from = next;
        has_begun = true;
    }
}

/// Copies the value of a key out of a hash map; false if it is not there. Both must be as long as those of the map.
pub(super) fn lookup(map: RawFd, key: &[u8], value: &mut [u8]) -> bool {
    let mut attributes = zeroed_attributes();
    // SAFETY: this is the member that BPF_MAP_LOOKUP_ELEM reads.
    let request = unsafe { &mut attributes.__bindgen_anon_2 };
    request.map_fd = map.cast_unsigned();
    request.key = key.as_ptr() as u64;
    request.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    let size = size_of::<bpf_attr>();
    let command = i64::from(bpf_cmd::BPF_MAP_LOOKUP_ELEM as u32);
    // SAFETY: the attributes are initialized, as large as said, and point at memory that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(&mut attributes), size) };
    result == 0
}

/// Loads BTF of the object, which callbacks of `bpf_loop` need.
pub(super) fn load_types(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: this is the member that BPF_BTF_LOAD reads.
    let request = unsafe { &mut attributes.__bindgen_anon_7 };
    request.btf = bytes.as_ptr() as u64;
    request.btf_size = length(bytes.len());
    bpf(bpf_cmd::BPF_BTF_LOAD, &mut attributes)
}

/// Loads a program for multi-uprobe links. On rejection the second value is the verifier's log.
pub(super) fn load_multi_program(load: &ProgramLoad<'_>) -> Result<OwnedFd, (io::Error, String)> {
    let license = c"Dual MIT/GPL";
    let mut attributes = zeroed_attributes();
    {
        // SAFETY: this is the member that BPF_PROG_LOAD reads.
        let request = unsafe { &mut attributes.__bindgen_anon_3 };
        request.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        request.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        request.insns = load.instructions.as_ptr() as u64;
        request.insn_cnt = length(load.instructions.len());
        request.license = license.as_ptr() as u64;
        request.prog_flags = if load.sleepable { BPF_F_SLEEPABLE } else { 0 };
        if let Some(types) = load.types {
            request.prog_btf_fd = types.as_raw_fd().cast_unsigned();
            request.func_info = load.function_info.as_ptr() as u64;
            request.func_info_cnt = length(load.function_info.len());
            request.func_info_rec_size = length(size_of::<aya_obj::generated::bpf_func_info>());
        }
        for (destination, source) in request.prog_name.iter_mut().zip(load.name.bytes().take(15)) {
            *destination = source.cast_signed();
        }
    }
    match bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes) {
        Ok(program) => Ok(program),
        Err(error) => Err((error, rejection_log(&mut attributes))),
    }
}

/// How many instructions the verifier followed, over all paths, to accept the program (`struct bpf_prog_info`,
/// include/uapi/linux/bpf.h).
pub(super) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(information(program, &mut [])?.verified_insns)
}

/// `BPF_OBJ_GET_INFO_BY_FD`, with as much of the machine code as `code` has room for.
fn information(program: BorrowedFd<'_>, code: &mut [u8]) -> io::Result<aya_obj::generated::bpf_prog_info> {
    // SAFETY: plain numbers.
    let mut info: aya_obj::generated::bpf_prog_info = unsafe { std::mem::zeroed() };
    info.jited_prog_len = length(code.len());
    info.jited_prog_insns = if code.is_empty() {
        0
    } else {
        code.as_mut_ptr() as u64
    };
    let mut attributes = zeroed_attributes();
    attributes.info.bpf_fd = program.as_raw_fd().cast_unsigned();
    attributes.info.info_len = length(size_of_val(&info));
    attributes.info.info = std::ptr::from_mut(&mut info) as u64;
    // SAFETY: the attributes are initialized, as large as said, and point at memory that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            i64::from(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as u32),
            std::ptr::from_mut(&mut attributes),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

/// The machine code of a program and its callbacks. Empty where the kernel does not show it: to those who may not see
/// its addresses, or without a compiler for BPF.
pub(super) fn machine_code(program: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut code = vec![0u8; information(program, &mut [])?.jited_prog_len as usize];
    information(program, &mut code)?;
    Ok(code)
}

/// Loads a rejected program again to learn why.
fn rejection_log(attributes: &mut bpf_attr) -> String {
    let mut log = vec![0u8; LOG_BYTES];
    // SAFETY: as in `load_multi_program`, which has filled the rest of the request.
    let request = unsafe { &mut attributes.__bindgen_anon_3 };
    request.log_level = 1;
    request.log_buf = log.as_mut_ptr() as u64;
    request.log_size = length(log.len());
    drop(bpf(bpf_cmd::BPF_PROG_LOAD, attributes));
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// Attaches a program to many points of one file. Closing the descriptor detaches all of them.
pub(super) fn link_multi(link: &MultiLink<'_>) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: this is the member that BPF_LINK_CREATE reads.
    let request = unsafe { &mut attributes.link_create };
    request.__bindgen_anon_1.prog_fd = link.program.as_raw_fd().cast_unsigned();
    request.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: the member for this attach type.
    let points = unsafe { &mut request.__bindgen_anon_3.uprobe_multi };
    points.path = link.path.as_ptr() as u64;
    points.offsets = link.offsets.as_ptr() as u64;
    points.cookies = link.cookies.as_ptr() as u64;
    points.cnt = length(link.offsets.len().min(link.cookies.len()));
    points.flags = if link.is_return {
        BPF_F_UPROBE_MULTI_RETURN
    } else {
        0
    };
    points.pid = link.pid;
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes)
}

/// Runs `program` at every hit of the tracepoint with this number. Closing the descriptor ends it.
pub(super) fn attach_tracepoint(program: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    const PERF_FLAG_FD_CLOEXEC: u64 = 1 << 3;
    const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
    const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
    // `struct perf_event_attr` up to PERF_ATTR_SIZE_VER0: type, size, config, and what may stay 0.
    let mut request = [0u64; 8];
    request[0] = u64::from(PERF_TYPE_TRACEPOINT) | 64 << 32;
    request[1] = id;
    // One CPU is enough: a program on a tracepoint runs at every hit, whatever the event is bound to.
    let (any_process, cpu, no_group): (i64, i64, i64) = (-1, 0, -1);
    // SAFETY: the request is as large as it says and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            request.as_ptr(),
            any_process,
            cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let event = owned(result)?;
    for (operation, argument) in [
        (PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()),
        (PERF_EVENT_IOC_ENABLE, 0),
    ] {
        // SAFETY: both requests take a plain number.
        if unsafe { libc::ioctl(event.as_raw_fd(), operation, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// A tracefs of our own that is mounted nowhere, so that none has to be mounted and none stays.
pub(super) fn detached_tracefs() -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    const CLOEXEC: u32 = 1;
    // SAFETY: the name ends with a zero byte.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), CLOEXEC) })?;
    // SAFETY: this command takes no key and no value.
    let configured = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    if configured < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })
}

/// How far a ring has been filled and read: the first words of its first two pages (`struct bpf_ringbuf`,
/// kernel/bpf/ringbuf.c).
pub(super) struct RingPositions {
    pages: std::ptr::NonNull<libc::c_void>,
}

// SAFETY: shared memory that is only read, by one thread at a time.
unsafe impl Send for RingPositions {}

impl RingPositions {
    const PAGE_BYTES: usize = 4096;

    pub(super) fn map(ring: RawFd) -> nix::Result<Self> {
        let (length, nowhere) = (2 * Self::PAGE_BYTES, std::ptr::null_mut());
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let pages = unsafe { libc::mmap(nowhere, length, libc::PROT_READ, libc::MAP_SHARED, ring, 0) };
        if pages == libc::MAP_FAILED {
            return Err(nix::errno::Errno::last());
        }
        Ok(Self {
            pages: std::ptr::NonNull::new(pages).ok_or(nix::errno::Errno::EINVAL)?,
        })
    }

    pub(super) fn consumer(&self) -> u64 {
        self.word(0)
    }

    pub(super) fn producer(&self) -> u64 {
        self.word(Self::PAGE_BYTES)
    }

    fn word(&self, offset: usize) -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: within the mapping.
        let word = unsafe { self.pages.as_ptr().byte_add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned to a page, and written by the kernel and by us as a whole.
        let word = unsafe { &*word };
        word.load(Ordering::Acquire)
    }
}

impl Drop for RingPositions {
    fn drop(&mut self) {
        // SAFETY: made by `map`, and nothing else has it.
        unsafe { libc::munmap(self.pages.as_ptr(), 2 * Self::PAGE_BYTES) };
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
