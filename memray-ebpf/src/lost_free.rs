//! Frees whose records find no room in the ring.
//!
//! An allocation that is missing is missing; a free that is missing would make a leak of a block that has ended. So the
//! programs keep the address of such a free, with its time, in a table beside the ring. A free comes after the return of
//! the call that handed out its block, and before the address can be handed out again: the time says exactly which
//! block at the address has ended, however late user space learns of it.

/// A block, as its free knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostFreeKey {
    pub pid: u32,
    /// The thread of a `realloc`, 0 for a free. A free is entered before anybody else can free the address again, so of
    /// two the later has the later time; a `realloc` is entered when it returns, with the time of its beginning, which
    /// must not replace that of a later free.
    pub tid: u32,
    pub address: u64,
}

const _: () = assert!(size_of::<LostFreeKey>() == 16);
