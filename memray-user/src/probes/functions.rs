//! The C functions that hand out or take back memory, and where their arguments are when they are called.

use memray_ebpf::{
    allocator::Allocator,
    cookie::{Register, Role},
};

/// A function to be probed wherever an object defines it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) allocator: Allocator,
    pub(super) role: Role,
    /// Registers of the arguments that matter (System V ABI for AMD64, 3.2.3), in the order of [`Role`].
    pub(super) operands: &'static [Register],
}

/// Where two names are one function (`aligned_alloc` and memalign in glibc 2.36, free and cfree), the earlier row names
/// it. `operator new` is missing on purpose: an exception thrown through a return probe ends the program, and the
/// malloc beneath it is probed.
pub(super) const FUNCTIONS: [Function; 13] = {
    use Register::{Rdi, Rdx, Rsi};
    const fn function(
        name: &'static str,
        allocator: Allocator,
        role: Role,
        operands: &'static [Register],
    ) -> Function {
        Function {
            name,
            allocator,
            role,
            operands,
        }
    }
    [
        function("malloc", Allocator::Malloc, Role::Allocate, &[Rdi]),
        function("calloc", Allocator::Calloc, Role::AllocateArray, &[Rdi, Rsi]),
        function("realloc", Allocator::Realloc, Role::Reallocate, &[Rdi, Rsi]),
        function(
            "reallocarray",
            Allocator::Reallocarray,
            Role::ReallocateArray,
            &[Rdi, Rsi, Rdx],
        ),
        function(
            "posix_memalign",
            Allocator::PosixMemalign,
            Role::AllocateInto,
            &[Rdi, Rdx],
        ),
        function("aligned_alloc", Allocator::AlignedAlloc, Role::Allocate, &[Rsi]),
        function("memalign", Allocator::Memalign, Role::Allocate, &[Rsi]),
        function("valloc", Allocator::Valloc, Role::Allocate, &[Rdi]),
        function("pvalloc", Allocator::Pvalloc, Role::Allocate, &[Rdi]),
        function("free", Allocator::Free, Role::Free, &[Rdi]),
        function("cfree", Allocator::Free, Role::Free, &[Rdi]),
        function("free_sized", Allocator::FreeSized, Role::Free, &[Rdi]),
        function(
            "free_aligned_sized",
            Allocator::FreeAlignedSized,
            Role::Free,
            &[Rdi],
        ),
    ]
};
