//! The allocator calls that a thread has under way, so that a call made by another one is not counted again.
//!
//! A record is pushed when a function is entered and taken when it returns. Not every call returns: longjmp, a
//! missed return probe, the end of a thread. So a record is known by the stack pointer at its entry, and records
//! that cannot be under way any more are dropped: a call entered at a higher or equal stack pointer means that
//! the frame of the older one is gone. The one exception is a tail call (reallocarray jumps to realloc), which
//! has the same stack pointer but is another function, and returns together with its caller.

use crate::{limits::MAX_PENDING_CALLS, verifier::opaque};

/// Bit of [`PendingCall::stack_pointer`], which is aligned to 8: the function that this one jumped to has
/// returned, so this one returns next, or never.
const TAIL_RETURNED: u64 = 1;
const ALIGNED: u64 = !7;

/// One call under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCall {
    /// At the entry, where it points at the return address.
    pub stack_pointer: u64,
    /// Which function: the cookie of its probe.
    pub cookie: u64,
    pub size_bytes: u64,
    /// The old block of `realloc`, or where `posix_memalign` puts its result.
    pub argument: u64,
}

/// The calls of one thread, outermost first. Zero is a valid value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCalls {
    calls: [PendingCall; MAX_PENDING_CALLS],
    depth: u64,
    /// Calls that were dropped because their frame was gone; taken by the caller for its counter.
    pub abandoned: u64,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    Outermost,
    Nested,
    /// No room: the call will not be seen to return.
    Overflow,
}

/// What a return belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    Outermost(PendingCall),
    Nested,
    WithoutEntry,
}

/// Index of the call at `depth`, whatever the depth in memory says.
#[inline(always)]
fn slot(depth: u64) -> usize {
    opaque(depth) as usize & (MAX_PENDING_CALLS - 1)
}

impl PendingCalls {
    #[inline(always)]
    pub fn enter(&mut self, call: PendingCall) -> Entered {
        self.drop_gone(call.stack_pointer, call.cookie);
        let depth = self.depth;
        if depth >= MAX_PENDING_CALLS as u64 {
            return Entered::Overflow;
        }
        self.calls[slot(depth)] = call;
        self.depth = depth + 1;
        if depth == 0 {
            Entered::Outermost
        } else {
            Entered::Nested
        }
    }

    /// `stack_pointer` is that at the return: the return address has been popped.
    #[inline(always)]
    pub fn leave(&mut self, stack_pointer: u64, cookie: u64) -> Returned {
        let entry_stack_pointer = stack_pointer.wrapping_sub(8) & ALIGNED;
        for _ in 0..MAX_PENDING_CALLS {
            let depth = self.depth;
            if depth == 0 {
                break;
            }
            let call = self.calls[slot(depth - 1)];
            let call_stack_pointer = call.stack_pointer & ALIGNED;
            // A call further out is still under way: this return has no record of its own.
            if call_stack_pointer > entry_stack_pointer {
                break;
            }
            self.depth = depth - 1;
            if call_stack_pointer == entry_stack_pointer && call.cookie == cookie {
                if depth == 1 {
                    return Returned::Outermost(PendingCall {
                        stack_pointer: entry_stack_pointer,
                        ..call
                    });
                }
                let caller = &mut self.calls[slot(depth - 2)];
                if caller.stack_pointer == entry_stack_pointer {
                    caller.stack_pointer |= TAIL_RETURNED;
                }
                return Returned::Nested;
            }
            self.abandoned += 1;
        }
        Returned::WithoutEntry
    }

    /// True if a call is under way around an event at `stack_pointer`.
    #[inline(always)]
    pub fn is_inside(&mut self, stack_pointer: u64) -> bool {
        self.drop_gone(stack_pointer, 0);
        self.depth != 0
    }

    pub fn depth(&self) -> u64 {
        self.depth
    }

    #[inline(always)]
    fn drop_gone(&mut self, stack_pointer: u64, cookie: u64) {
        for _ in 0..MAX_PENDING_CALLS {
            let depth = self.depth;
            if depth == 0 {
                break;
            }
            let call = &self.calls[slot(depth - 1)];
            let is_tail_call = call.stack_pointer == stack_pointer && call.cookie != cookie;
            if call.stack_pointer & ALIGNED > stack_pointer || is_tail_call {
                break;
            }
            self.depth = depth - 1;
            self.abandoned += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MALLOC: u64 = 6;
    const REALLOC: u64 = 7;
    const CALLOC: u64 = 8;

    fn call(stack_pointer: u64, cookie: u64) -> PendingCall {
        PendingCall {
            stack_pointer,
            cookie,
            size_bytes: stack_pointer + cookie,
            argument: 0,
        }
    }

    #[test]
    fn a_call_returns_to_its_own_record() {
        let mut pending = PendingCalls::default();
        assert_eq!(pending.enter(call(1000, MALLOC)), Entered::Outermost);
        assert_eq!(
            pending.leave(1008, MALLOC),
            Returned::Outermost(call(1000, MALLOC))
        );
        assert_eq!(pending.leave(1008, MALLOC), Returned::WithoutEntry);
        assert_eq!(pending.abandoned, 0);
    }

    #[test]
    fn inner_calls_are_nested() {
        let mut pending = PendingCalls::default();
        assert_eq!(pending.enter(call(1000, CALLOC)), Entered::Outermost);
        assert!(pending.is_inside(900));
        assert_eq!(pending.enter(call(900, MALLOC)), Entered::Nested);
        assert_eq!(pending.leave(908, MALLOC), Returned::Nested);
        assert_eq!(
            pending.leave(1008, CALLOC),
            Returned::Outermost(call(1000, CALLOC))
        );
        assert!(!pending.is_inside(900));
    }

    #[test]
    fn a_tail_call_shares_the_stack_pointer() {
        let mut pending = PendingCalls::default();
        pending.enter(call(1000, CALLOC));
        assert_eq!(pending.enter(call(1000, MALLOC)), Entered::Nested);
        assert_eq!(pending.leave(1008, MALLOC), Returned::Nested);
        assert_eq!(
            pending.leave(1008, CALLOC),
            Returned::Outermost(call(1000, CALLOC))
        );
    }

    #[test]
    fn a_call_that_never_returned_hides_one_call_at_most() {
        let mut pending = PendingCalls::default();
        pending.enter(call(1000, CALLOC));
        // longjmp, and another function from the same place: looks like a tail call, once.
        assert_eq!(pending.enter(call(1000, MALLOC)), Entered::Nested);
        assert_eq!(pending.leave(1008, MALLOC), Returned::Nested);
        assert_eq!(pending.enter(call(1000, MALLOC)), Entered::Outermost);
        assert_eq!(pending.abandoned, 1);
    }

    #[test]
    fn calls_that_never_returned_are_dropped() {
        let mut pending = PendingCalls::default();
        pending.enter(call(1000, CALLOC));
        pending.enter(call(900, MALLOC));
        // longjmp out of both, then a call from the same place and one from further out.
        assert_eq!(pending.enter(call(1000, CALLOC)), Entered::Outermost);
        assert_eq!(pending.abandoned, 2);
        assert_eq!(pending.enter(call(2000, MALLOC)), Entered::Outermost);
        assert_eq!(
            pending.leave(2008, MALLOC),
            Returned::Outermost(call(2000, MALLOC))
        );
        assert_eq!(pending.abandoned, 3);
    }

    #[test]
    fn a_return_drops_what_its_callees_left() {
        let mut pending = PendingCalls::default();
        pending.enter(call(1000, CALLOC));
        pending.enter(call(900, MALLOC));
        assert_eq!(
            pending.leave(1008, CALLOC),
            Returned::Outermost(call(1000, CALLOC))
        );
        assert_eq!((pending.depth(), pending.abandoned), (0, 1));
    }

    #[test]
    fn depth_is_bounded() {
        let mut pending = PendingCalls::default();
        for level in 0..MAX_PENDING_CALLS as u64 {
            assert_ne!(pending.enter(call(1000 - level * 8, REALLOC)), Entered::Overflow);
        }
        assert_eq!(pending.enter(call(8, REALLOC)), Entered::Overflow);
        assert_eq!(pending.leave(16, REALLOC), Returned::WithoutEntry);
        assert_eq!(pending.depth(), MAX_PENDING_CALLS as u64);
    }
}
