//! The current task: its numbers, its name, its memory, its registers.

use aya_ebpf::{
    bindings::{bpf_pidns_info, pt_regs},
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_copy_from_user, bpf_copy_from_user_task, bpf_get_current_comm, bpf_get_current_task_btf,
            bpf_get_ns_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
        },
    },
};
use memray_ebpf::{
    limits::COMM_BYTES,
    memory::{Fault, RemoteMemory},
};

use super::maps::{pid_namespace, task_fsbase_offset, task_offsets};

/// Process and thread in our own pid namespace. The kernel calls them tgid and pid.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

/// 0 and 0 for a process that our namespace does not see.
#[inline(always)]
pub(super) fn ids() -> Ids {
    let namespace = pid_namespace();
    if namespace.inode != 0 {
        let mut numbers = bpf_pidns_info { pid: 0, tgid: 0 };
        // SAFETY: the helper writes as much as it is told, and zeroes it if the process is not in the namespace.
        let _ = unsafe {
            bpf_get_ns_current_pid_tgid(
                namespace.device,
                namespace.inode,
                &raw mut numbers,
                size_of::<bpf_pidns_info>() as u32,
            )
        };
        return Ids {
            pid: numbers.tgid,
            tid: numbers.pid,
        };
    }
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

/// The end of the data of the current task's program: `mm->brk`.
#[inline(always)]
pub(super) fn end_of_data() -> u64 {
    let offsets = task_offsets();
    // SAFETY: takes nothing, returns the current task, whose address is all that is asked.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let memory: u64 = read_kernel(task.wrapping_add(u64::from(offsets.mm)));
    read_kernel(memory.wrapping_add(u64::from(offsets.brk)))
}

/// Lets others have the CPU for a moment: reading memory as another process would is the one thing a sleepable program
/// can do that always asks the scheduler (`__get_user_pages`, mm/gup.c). `address` is any of the current task. False if
/// the thread is being killed.
#[inline(always)]
pub(super) fn give_way(address: u64) -> bool {
    let mut byte = 0u8;
    // SAFETY: the helper writes one byte, and takes the current task.
    let result = unsafe {
        bpf_copy_from_user_task(
            (&raw mut byte).cast(),
            1,
            address as *const core::ffi::c_void,
            bpf_get_current_task_btf(),
            0,
        )
    };
    result == 0
}

/// Reads a number of the kernel's memory; 0 if it cannot be read.
#[inline(always)]
pub(super) fn read_kernel<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper writes exactly the size of the value, and zeroes it on a fault.
    let _ = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const core::ffi::c_void,
        )
    };
    value
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
