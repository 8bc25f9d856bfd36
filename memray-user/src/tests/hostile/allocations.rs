//! The allocator of the test binary, which knows what each thread holds and held at most.
#![expect(unsafe_code, reason = "an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
    static MOST_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that `work` has allocated at most at one time in this thread. What it frees that was there before counts
/// against it.
pub(crate) fn peak_bytes(work: impl FnOnce()) -> usize {
    let before = HELD_BYTES.get();
    MOST_BYTES.set(before);
    work();
    usize::try_from(MOST_BYTES.get() - before).unwrap_or(0)
}

fn count(change_bytes: isize) {
    // Not there any more while a thread ends.
    let _ending = HELD_BYTES.try_with(|held| {
        let now = held.get().wrapping_add(change_bytes);
        held.set(now);
        let _ending = MOST_BYTES.try_with(|most| most.set(most.get().max(now)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[test]
fn the_highest_level_is_told() {
    let peak = peak_bytes(|| {
        drop(vec![0_u8; 1_000_000]);
        drop(vec![0_u8; 10_000]);
    });
    assert!((1_000_000..1_010_000).contains(&peak), "{peak}");
    assert_eq!(peak_bytes(|| {}), 0);
}
