//! The system calls that try features of uprobes, which aya has no form of.
#![expect(unsafe_code, reason = "raw system calls")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

/// Whether a program may wait, as for a page of memory to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Never,
    Allowed,
}

/// Which links a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    Single,
    Multi,
}

/// `r0 = 0; exit` (Documentation/bpf/standardization/instruction-set.rst).
static NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

const BPF_F_SLEEPABLE: u32 = 1 << 4;

/// Loads a program that does nothing.
pub(super) fn load_uprobe_program(wait: Wait, links: Links) -> io::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let mut attributes = zeroed_attributes();
    // SAFETY: this is the member that BPF_PROG_LOAD reads.
    let request = unsafe { &mut attributes.__bindgen_anon_3 };
    request.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    if links == Links::Multi {
        request.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    }
    if wait == Wait::Allowed {
        request.prog_flags = BPF_F_SLEEPABLE;
    }
    request.insns = NOTHING.as_ptr() as u64;
    request.insn_cnt = 2;
    request.license = license.as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes)
}

/// How a multi-uprobe link to `/`, which is no file to put probes into, fails.
pub(super) fn link_error(program: &OwnedFd, pid: u32) -> io::Error {
    let path = c"/";
    let offset = 0u64;
    let mut attributes = zeroed_attributes();
    // SAFETY: this is the member that BPF_LINK_CREATE reads.
    let request = unsafe { &mut attributes.link_create };
    request.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    request.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: the member for this attach type.
    let points = unsafe { &mut request.__bindgen_anon_3.uprobe_multi };
    points.path = path.as_ptr() as u64;
    points.offsets = std::ptr::from_ref(&offset) as u64;
    points.cnt = 1;
    points.pid = pid;
    match bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes) {
        Ok(_link) => io::Error::other("a link to a directory was made"),
        Err(error) => error,
    }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are initialized, as large as said, and point at memory that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            i64::from(command as u32),
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
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
