//! Words to the compiler that keep its output in a form that the BPF verifier can follow.
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
