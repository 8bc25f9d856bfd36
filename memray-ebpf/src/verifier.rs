//! Words to the compiler that keep its output in a form that the BPF verifier can follow, and one to the kernel about
//! what it makes of it.
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "inline assembler"))]

/// Hides where a value came from.
///
/// The verifier follows registers, not values: the compiler must keep a bounds check, or a mask that a check has
/// made redundant, on the very register that is then added to a pointer.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // An instruction and not only a comment: the kernel refuses line information of an empty statement.
        // SAFETY: moves a register to itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// Keeps the program that calls this on the stack of its thread.
///
/// From Linux 6.13 on a program of this kind with 64 bytes of stack or more gets one stack for each CPU
/// (`BPF_PRIV_STACK_MIN_SIZE`, kernel/bpf/verifier.c). Programs on functions of user space sleep in page faults and can be
/// preempted: two threads of one CPU in one of them would overwrite each other's variables. The kernel leaves a program
/// with a tail call on its thread's stack (`check_max_stack_depth`), and counts one that can never be made; the verifier
/// does not follow it, and the machine code does not have it.
#[inline(always)]
pub fn keep_thread_stack() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the call is never reached, and nothing else is touched.
    unsafe {
        core::arch::asm!(
            "{0} = 0",
            "if {0} == 0 goto +1",
            "call 12",
            out(reg) _,
            options(nomem, nostack)
        );
    }
}
