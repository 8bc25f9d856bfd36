//! The walk on memory of our own: whole, cut, cyclic, faulty, and across pages.
#![expect(unsafe_code, reason = "zeroed boxes of plain data")]

use std::{alloc::Layout, cell::Cell};

use super::*;

/// Pages at made-up addresses; a read outside of them fails, as does the one that `fail_at` counts down to.
struct FakeMemory {
    base: u64,
    bytes: Vec<u8>,
    fail_at: Cell<Option<u32>>,
}

impl FakeMemory {
    fn new(base: u64, size_bytes: usize) -> Self {
        Self {
            base,
            bytes: vec![0; size_bytes],
            fail_at: Cell::new(None),
        }
    }

    fn write(&mut self, address: u64, value: u64) {
        let start = usize::try_from(address - self.base).expect("small");
        self.bytes[start..start + 8].copy_from_slice(&value.to_ne_bytes());
    }
}

impl RemoteMemory for FakeMemory {
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        if let Some(left) = self.fail_at.get() {
            if left == 0 {
                return Err(Fault);
            }
            self.fail_at.set(Some(left - 1));
        }
        let start = address
            .checked_sub(self.base)
            .and_then(|start| usize::try_from(start).ok())
            .ok_or(Fault)?;
        let end = start.checked_add(destination.len()).ok_or(Fault)?;
        destination.copy_from_slice(self.bytes.get(start..end).ok_or(Fault)?);
        Ok(())
    }
}

/// CPython 3.12.
const CONTIGUOUS: FrameOffsets = FrameOffsets {
    thread_state_frame: 56,
    cframe_current_frame: 0,
    thread_state_thread_id: 136,
    previous: 8,
    code: 0,
    instruction: 56,
    owner: 70,
    localsplus: 72,
    header_bytes: 72,
    layout: FrameOffsets::CONTIGUOUS,
};

/// CPython 3.9.
const HEAP: FrameOffsets = FrameOffsets {
    thread_state_frame: 24,
    cframe_current_frame: FrameOffsets::NONE,
    thread_state_thread_id: 176,
    previous: 24,
    code: 32,
    instruction: 104,
    owner: FrameOffsets::NONE,
    localsplus: 360,
    header_bytes: 112,
    layout: FrameOffsets::HEAP,
};

const BASE: u64 = 0x7f00_0000_0000;
const THREAD_STATE: u64 = BASE;
const CFRAME: u64 = BASE + 0x400;
const FRAMES: u64 = BASE + 0x1000;
const FS_BASE: u64 = 0x7fff_1234_5640;

#[expect(clippy::unnecessary_box_returns, reason = "too large for the stack of a test")]
fn zeroed<T>() -> Box<T> {
    // SAFETY: the layout is that of T.
    let pointer = unsafe { std::alloc::alloc_zeroed(Layout::new::<T>()) }.cast::<T>();
    // SAFETY: `Walk` and `StackFramesRecord` are plain data for which zero is valid.
    unsafe { Box::from_raw(pointer) }
}

/// `count` frames of `stride` bytes, the innermost last, as a data-stack chunk has them.
fn stack(offsets: &FrameOffsets, count: u64, stride: u64) -> FakeMemory {
    let mut memory = FakeMemory::new(BASE, usize::try_from(0x2000 + count * stride).expect("small"));
    for index in 0..count {
        let frame = FRAMES + index * stride;
        memory.write(
            frame + u64::from(offsets.previous),
            if index == 0 { 0 } else { frame - stride },
        );
        memory.write(frame + u64::from(offsets.code), code(index));
        memory.write(frame + u64::from(offsets.instruction), instruction(index));
    }
    let innermost = if count == 0 {
        0
    } else {
        FRAMES + (count - 1) * stride
    };
    memory.write(THREAD_STATE + u64::from(offsets.thread_state_thread_id), FS_BASE);
    if offsets.cframe_current_frame == FrameOffsets::NONE {
        memory.write(THREAD_STATE + u64::from(offsets.thread_state_frame), innermost);
    } else {
        memory.write(THREAD_STATE + u64::from(offsets.thread_state_frame), CFRAME);
        memory.write(CFRAME, innermost);
    }
    memory
}

fn code(index: u64) -> u64 {
    0x5500_0000_0000 + index * 512
}

fn instruction(index: u64) -> u64 {
    index * 2 + 10
}

#[derive(Debug, PartialEq, Eq)]
struct Walked {
    hash: [u64; 2],
    visited: u32,
    fault: bool,
    left: bool,
    stored: Vec<(u64, u64)>,
}

/// Both walks, as the programs drive them.
fn walk(memory: &FakeMemory, offsets: &FrameOffsets) -> Walked {
    let mut walk = zeroed::<Walk>();
    walk.start(memory, offsets, THREAD_STATE, FS_BASE, [1, 2])
        .expect("starts");
    let innermost = walk.frame;
    let mut turns = 0;
    while walk.hash_step(memory, offsets) {
        turns += 1;
        assert!(turns <= MAX_PYTHON_FRAMES, "each turn takes a frame");
    }
    let mut walked = Walked {
        hash: walk.key(),
        visited: walk.visited,
        fault: walk.fault != 0,
        left: walk.frame != 0,
        stored: Vec::new(),
    };
    let mut record = zeroed::<StackFramesRecord>();
    walk.restart(innermost);
    while !walk.is_over() {
        record.frame_count = 0;
        while walk.store_step(memory, offsets, &mut record) {}
        let stored = &record.frames[..record.frame_count as usize];
        walked
            .stored
            .extend(stored.iter().map(|frame| (frame.code(), frame.instruction)));
    }
    if memory.fail_at.get().is_none() {
        assert_eq!(
            (walk.visited, walk.fault != 0, walk.frame != 0),
            (walked.visited, walked.fault, walked.left)
        );
    }
    walked
}

fn expected(count: u64) -> Vec<(u64, u64)> {
    (0..count)
        .rev()
        .map(|index| (code(index), instruction(index)))
        .collect()
}

#[test]
fn every_frame_is_found_in_order() {
    for (offsets, stride) in [
        (&CONTIGUOUS, 80),
        (&CONTIGUOUS, 136),
        (&CONTIGUOUS, 5000),
        (&HEAP, 448),
    ] {
        for count in [0, 1, 2, 57, 58, 127, 128, 129, 1000, u64::from(MAX_PYTHON_FRAMES)] {
            let walked = walk(&stack(offsets, count, stride), offsets);
            assert_eq!(walked.stored, expected(count), "{count} frames of {stride} bytes");
            assert!(!walked.fault && !walked.left);
        }
    }
}

#[test]
fn the_hash_tells_stacks_apart() {
    let base = walk(&stack(&CONTIGUOUS, 20, 96), &CONTIGUOUS).hash;
    assert_eq!(
        base,
        walk(&stack(&CONTIGUOUS, 20, 160), &CONTIGUOUS).hash,
        "where frames lie does not matter"
    );
    let mut other = stack(&CONTIGUOUS, 20, 96);
    other.write(FRAMES + 5 * 96 + 56, instruction(5) + 2);
    assert_ne!(base, walk(&other, &CONTIGUOUS).hash);
    let mut other = stack(&HEAP, 20, 448);
    let base = walk(&other, &HEAP).hash;
    other.write(FRAMES + 5 * 448 + 32, code(77));
    assert_ne!(
        base,
        walk(&other, &HEAP).hash,
        "the same f_lasti in another code object"
    );
    let mut other = stack(&HEAP, 20, 448);
    other.write(FRAMES + 5 * 448 + 104, instruction(5) + (1 << 20));
    assert_ne!(base, walk(&other, &HEAP).hash, "far on in a huge code object");
}

#[test]
fn a_stack_that_is_cut_is_not_one_that_ends_there() {
    let (count, stride) = (u64::from(MAX_PYTHON_FRAMES), 80);
    let whole = walk(&stack(&CONTIGUOUS, count, stride), &CONTIGUOUS);
    let mut deeper = stack(&CONTIGUOUS, count, stride);
    deeper.write(FRAMES + 8, FRAMES + count * stride);
    let cut = walk(&deeper, &CONTIGUOUS);
    assert_eq!((whole.left, cut.left), (false, true));
    assert_eq!(whole.stored, cut.stored);
    assert_ne!(whole.hash, cut.hash);
}

#[test]
fn a_stack_beyond_the_bound_is_cut_at_the_outer_end() {
    let count = u64::from(MAX_PYTHON_FRAMES) + 100;
    let walked = walk(&stack(&CONTIGUOUS, count, 80), &CONTIGUOUS);
    assert_eq!(walked.visited, MAX_PYTHON_FRAMES);
    assert!(walked.left && !walked.fault);
    assert_eq!(walked.stored, expected(count)[..MAX_PYTHON_FRAMES as usize]);
}

#[test]
fn a_cycle_ends_at_the_bound() {
    for (offsets, stride) in [(&CONTIGUOUS, 80), (&HEAP, 448)] {
        let mut memory = stack(offsets, 10, stride);
        memory.write(FRAMES + u64::from(offsets.previous), FRAMES + 9 * stride);
        let walked = walk(&memory, offsets);
        assert_eq!(walked.visited, MAX_PYTHON_FRAMES);
        assert_eq!(walked.stored.len(), MAX_PYTHON_FRAMES as usize);
    }
}

#[test]
fn wild_pointers_are_a_fault_that_keeps_the_prefix() {
    for wild in [
        1,
        7,
        0xfff,
        0x1234_5678,
        u64::MAX,
        u64::MAX - 71,
        1 << 47,
        FRAMES + 3,
    ] {
        let mut memory = stack(&CONTIGUOUS, 10, 4096);
        memory.write(FRAMES + 4 * 4096 + 8, wild);
        let walked = walk(&memory, &CONTIGUOUS);
        assert_eq!(walked.stored[..6], expected(10)[..6], "{wild:#x}");
    }
}

/// What a misaligned frame shows would depend on where the window begins, and the two walks begin theirs differently: one
/// saw 4,096 frames and the other 153.
#[test]
fn a_misaligned_frame_is_a_fault_to_both_walks() {
    for count in [2, 57, 152] {
        let mut memory = stack(&CONTIGUOUS, count, 136);
        memory.write(FRAMES + 8, FRAMES + 136 + 3);
        let walked = walk(&memory, &CONTIGUOUS);
        assert_eq!(walked.stored, expected(count));
        assert!(walked.fault);
    }
}

#[test]
fn a_fault_at_any_read_ends_the_walk() {
    for fail_at in 0..12 {
        let memory = stack(&CONTIGUOUS, 10, 4096);
        memory.fail_at.set(Some(fail_at));
        let mut walk = zeroed::<Walk>();
        if walk
            .start(&memory, &CONTIGUOUS, THREAD_STATE, FS_BASE, [0; 2])
            .is_err()
        {
            assert!(fail_at < 2);
            continue;
        }
        while walk.hash_step(&memory, &CONTIGUOUS) {}
        // Two reads find the frame, each of the others brings one.
        assert_eq!((walk.visited, walk.fault != 0), (fail_at - 2, fail_at < 12));
    }
}

#[test]
fn a_state_of_another_thread_is_refused() {
    let memory = stack(&CONTIGUOUS, 3, 96);
    let mut walk = zeroed::<Walk>();
    let other = walk.start(&memory, &CONTIGUOUS, THREAD_STATE, FS_BASE + 64, [0; 2]);
    assert_eq!(other, Err(StartError::NotThisThread));
    let mut unbound = stack(&CONTIGUOUS, 3, 96);
    unbound.write(THREAD_STATE + 136, 0);
    assert_eq!(
        walk.start(&unbound, &CONTIGUOUS, THREAD_STATE, FS_BASE, [0; 2]),
        Ok(())
    );
    assert_eq!(walk.frame, 0, "not bound to its thread yet");
}

#[test]
fn the_first_local_is_that_of_the_outermost_python_frame() {
    let mut memory = stack(&CONTIGUOUS, 4, 96);
    for index in 0..4 {
        memory.write(FRAMES + index * 96 + 72, 0x1000 + index * 16 + 1);
    }
    // The outermost is a shim: owner 3 in byte 70.
    memory.write(FRAMES + 64, 3 << 48);
    let mut walk = zeroed::<Walk>();
    walk.start(&memory, &CONTIGUOUS, THREAD_STATE, FS_BASE, [0; 2])
        .expect("starts");
    let mut last = None;
    while walk.frame != 0 {
        last = walk.first_local_step(&memory, &CONTIGUOUS).or(last);
    }
    assert_eq!(last, Some(0x1010), "of frame 1, without its tag bits");
    let mut memory = stack(&HEAP, 2, 448);
    memory.write(FRAMES + 360, 0x2000);
    memory.write(FRAMES + 448 + 360, 0x3000);
    walk.start(&memory, &HEAP, THREAD_STATE, FS_BASE, [0; 2])
        .expect("starts");
    assert_eq!(walk.first_local_step(&memory, &HEAP), Some(0x3000));
    assert_eq!(walk.first_local_step(&memory, &HEAP), Some(0x2000));
    assert_eq!(walk.first_local_step(&memory, &HEAP), None);
}
