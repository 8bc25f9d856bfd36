//! The current task: its numbers, its name, its memory, its registers.

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_copy_from_user, bpf_get_current_comm, bpf_get_current_task_btf, bpf_probe_read_user,
            bpf_task_pt_regs,
        },
    },
};
use memray_ebpf::{
    limits::COMM_BYTES,
    memory::{Fault, RemoteMemory},
};

use super::maps::task_fsbase_offset;

/// Process and thread in the initial pid namespace. The kernel calls them tgid and pid.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

#[inline(always)]
pub(super) fn ids() -> Ids {
    let both = bpf_get_current_pid_tgid();
    Ids {
        pid: (both >> 32) as u32,
        tid: both as u32,
    }
}

/// The `fs` base of the current thread. glibc sets it through arch_prctl and clone, which keep it in the task.
#[inline(always)]
pub(super) fn fs_base() -> u64 {
    // SAFETY: the helper returns the current task; the offset is that of an unsigned long in it, checked by the
    // verifier against the kernel's BTF.
    unsafe {
        bpf_get_current_task_btf()
            .cast::<u8>()
            .add(task_fsbase_offset())
            .cast::<u64>()
            .read()
    }
}

/// User registers of the current task at its system call.
#[inline(always)]
pub(super) fn user_registers() -> *const pt_regs {
    // SAFETY: the helper takes the current task and returns a pointer that the verifier knows as pt_regs.
    (unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) }) as *const pt_regs
}

#[inline(always)]
pub(super) fn comm(destination: &mut [u8; COMM_BYTES]) {
    // SAFETY: the helper writes at most the given size. It fails only without a current task.
    let _ = unsafe { bpf_get_current_comm(destination.as_mut_ptr().cast(), COMM_BYTES as u32) };
}

/// Memory of the current task, as far as its pages are there.
#[derive(Clone, Copy, Default)]
pub(super) struct PresentMemory;

impl RemoteMemory for PresentMemory {
    #[inline(always)]
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: the helper writes exactly the length of the slice, and zeroes it on a fault.
        let result = unsafe {
            bpf_probe_read_user(
                destination.as_mut_ptr().cast(),
                destination.len() as u32,
                address as *const core::ffi::c_void,
            )
        };
        if result == 0 { Ok(()) } else { Err(Fault) }
    }
}

/// Memory of the current task, with pages brought in as the task itself would. For sleepable programs.
#[derive(Clone, Copy, Default)]
pub(super) struct FaultingMemory;

impl RemoteMemory for FaultingMemory {
    #[inline(always)]
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        if PresentMemory.read_into(address, destination).is_ok() {
            return Ok(());
        }
        // SAFETY: as above.
        let result = unsafe {
            bpf_copy_from_user(
                destination.as_mut_ptr().cast(),
                destination.len() as u32,
                address as *const core::ffi::c_void,
            )
        };
        if result == 0 { Ok(()) } else { Err(Fault) }
    }
}
