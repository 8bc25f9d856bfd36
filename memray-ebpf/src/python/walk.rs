//! The walk over a thread's Python frames, many frames to a read.
//!
//! From 3.11 on, frames lie one after the other in chunks. One copy that begins at the page of a frame and ends
//! with its header is therefore mapped, and brings most of its callers along; shims on the C stack and the frames
//! of generators need no special case. Before 3.11 a frame is a heap object and a read brings one.
//!
//! A stack is walked once to hash it. Only if the hash is new it is walked again, to send its frames; the thread
//! that owns them sits in the probe, so both walks see the same memory.
//!
//! The walk's state lives in memory that the verifier knows nothing about (a map value), so that walks of
//! different lengths are one state to it; see `docs/decisions`.
#![expect(
    unsafe_code,
    reason = "masked offsets into one fixed buffer, in a form that the BPF verifier accepts"
)]

use crate::{
    config::FrameOffsets,
    event::{RawFrame, StackFramesRecord},
    limits::{
        FRAMES_PER_RECORD, MAX_FRAME_HEADER_BYTES, MAX_FRAMES_PER_WINDOW, MAX_PYTHON_FRAMES,
        THREAD_STATE_BYTES, WINDOW_BYTES, WINDOW_SLACK_BYTES,
    },
    memory::{Fault, RemoteMemory},
    verifier::opaque,
};

/// Callers lie below their callee in a chunk of this size (`DATA_STACK_CHUNK_SIZE`,
/// `Python/pystate.c`, 3.11 to 3.15).
const CHUNK_BYTES: u64 = 16 << 10;
const BYTE_MASK: u32 = MAX_FRAME_HEADER_BYTES - 1;
/// All fields but `owner` are pointers or lie where one would.
const WORD_MASK: u32 = BYTE_MASK & !7;
/// Where the local variables of a frame begin: 360 bytes into the heap objects of 3.8.
const LOCALS_MASK: u32 = 511 & !7;
const THREAD_STATE_MASK: u32 = THREAD_STATE_BYTES as u32 - 8;

/// The state of one walk, with the window of memory that it looks through. Zero is a valid value.
#[repr(C)]
pub struct Walk {
    /// The frame to visit next; 0 when the outermost has been visited.
    pub frame: u64,
    pub hash: [u64; 2],
    /// Frames visited.
    pub visited: u32,
    /// 1 after a frame that could not be read.
    pub fault: u32,
    /// Where the last window that was a page began.
    page_base: u64,
    /// The last frame that was read by itself.
    lone_frame: u64,
    /// Words and not bytes: the compiler reads a word that may lie anywhere byte by byte.
    window: [u64; (WINDOW_BYTES + WINDOW_SLACK_BYTES) / 8],
}

impl core::fmt::Debug for Walk {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_struct("Walk")
            .field("frame", &self.frame)
            .field("visited", &self.visited)
            .finish_non_exhaustive()
    }
}

/// Why a walk cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The thread state belongs to another thread.
    NotThisThread,
    Fault,
}

impl From<Fault> for StartError {
    fn from(_fault: Fault) -> Self {
        Self::Fault
    }
}

#[inline(always)]
fn mix(hash: u64, value: u64, multiplier: u64) -> u64 {
    let product = (hash ^ value).wrapping_mul(multiplier);
    product ^ (product >> 32)
}

#[inline(always)]
fn mix_each(hash: [u64; 2], values: [u64; 2]) -> [u64; 2] {
    [
        mix(hash[0], values[0], 0x9e37_79b9_7f4a_7c15),
        mix(hash[1], values[1], 0xd6e8_feb8_6659_fd93),
    ]
}

#[inline(always)]
fn mix_both(hash: [u64; 2], value: u64) -> [u64; 2] {
    mix_each(hash, [value, value])
}

impl Walk {
    /// Finds the innermost frame of `thread_state`, after checking that the state is that of the thread with
    /// `fs_base`. `seed` sets stacks of different processes, lives and epochs apart. Without a frame,
    /// `frame` is 0.
    #[inline(always)]
    pub fn start<M: RemoteMemory>(
        &mut self,
        memory: &M,
        offsets: &FrameOffsets,
        thread_state: u64,
        fs_base: u64,
        seed: [u64; 2],
    ) -> Result<(), StartError> {
        self.restart(0);
        self.hash = [seed[0] ^ 0x1234_5678_9abc_def1, seed[1] ^ 0x0fed_cba9_8765_4321];
        self.read(memory, thread_state, THREAD_STATE_BYTES)?;
        let thread_id = self.word((offsets.thread_state_thread_id & THREAD_STATE_MASK) as usize);
        if thread_id != fs_base {
            // 0: a state that is being made, not bound to its thread yet; it has no frames.
            return if thread_id == 0 {
                Ok(())
            } else {
                Err(StartError::NotThisThread)
            };
        }
        let mut frame = self.word((offsets.thread_state_frame & THREAD_STATE_MASK) as usize);
        if offsets.cframe_current_frame != FrameOffsets::NONE && frame != 0 {
            frame = memory.read_u64(frame.wrapping_add(u64::from(offsets.cframe_current_frame)))?;
        }
        self.restart(frame);
        Ok(())
    }

    /// Begins again at `frame`, keeping nothing but the window.
    #[inline(always)]
    pub fn restart(&mut self, frame: u64) {
        self.frame = frame;
        self.visited = 0;
        self.fault = 0;
        // So that the innermost frame brings its page.
        self.page_base = frame;
        self.lone_frame = frame;
    }

    /// Under which a stack is remembered whose walk is over. One that was cut at the bound is not one that ends there.
    #[inline(always)]
    pub fn key(&self) -> [u64; 2] {
        // 1 where `frame` is not 0, without a branch that the verifier would follow.
        let is_cut = (self.frame | self.frame.wrapping_neg()) >> 63;
        [self.hash[0] ^ is_cut.wrapping_neg(), self.hash[1]]
    }

    /// True when [`step`](Self::hash_step) has nothing left to do.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.frame == 0 || self.fault != 0 || self.visited >= MAX_PYTHON_FRAMES
    }

    /// Reads once and hashes every consecutive frame that the read brought. False when the walk is over.
    #[inline(always)]
    pub fn hash_step<M: RemoteMemory>(&mut self, memory: &M, offsets: &FrameOffsets) -> bool {
        if self.is_over() {
            return false;
        }
        let Ok((base, last)) = self.fill(memory, offsets) else {
            self.fault = 1;
            return false;
        };
        if offsets.layout == FrameOffsets::HEAP {
            // Code objects are aligned to 16 bytes: an index below 2^20 fits beside one, and what is above goes into the
            // second half, which tells as much as both.
            let instruction = self.field(0, offsets.instruction) & 0xffff_ffff;
            let code = self.field(0, offsets.code);
            let value = (instruction & 0xf_ffff) ^ (code << 16);
            self.hash = mix_each(self.hash, [value, value ^ (instruction >> 20)]);
            self.visited += 1;
            self.frame = self.field(0, offsets.previous);
            return !self.is_over();
        }
        let (mut frame, mut hash, mut visited) = (self.frame, self.hash, self.visited);
        for _ in 0..MAX_FRAMES_PER_WINDOW {
            let offset = frame.wrapping_sub(base);
            if offset > last || offset & 7 != 0 || visited >= MAX_PYTHON_FRAMES {
                break;
            }
            let header = (offset as usize) & (WINDOW_BYTES - 8);
            // The instruction's address alone determines the code object.
            hash = mix_both(hash, self.field(header, offsets.instruction));
            visited += 1;
            frame = self.field(header, offsets.previous);
        }
        self.frame = frame;
        self.hash = hash;
        self.visited = visited;
        !self.is_over()
    }

    /// Reads once and adds to the record every consecutive frame that the read brought and that has room. False
    /// when the walk is over or the record is full.
    #[inline(always)]
    pub fn store_step<M: RemoteMemory>(
        &mut self,
        memory: &M,
        offsets: &FrameOffsets,
        record: &mut StackFramesRecord,
    ) -> bool {
        if self.is_over() || record.frame_count >= FRAMES_PER_RECORD as u32 {
            return false;
        }
        let Ok((base, last)) = self.fill(memory, offsets) else {
            self.fault = 1;
            return false;
        };
        let heap = offsets.layout == FrameOffsets::HEAP;
        let (mut frame, mut visited, mut count) = (self.frame, self.visited, record.frame_count);
        for _ in 0..MAX_FRAMES_PER_WINDOW {
            let offset = frame.wrapping_sub(base);
            if offset > last || offset & 7 != 0 || visited >= MAX_PYTHON_FRAMES {
                break;
            }
            let header = (offset as usize) & (WINDOW_BYTES - 8);
            let mut instruction = self.field(header, offsets.instruction);
            let mut owner = self.owner(header, offsets);
            if heap {
                // f_lasti is an int; -1 before the first instruction.
                instruction = i64::from((instruction as u32).cast_signed()).cast_unsigned();
                owner = 0;
            }
            // From 3.14 on f_executable is a _PyStackRef with tag bits; code objects are aligned to 16 bytes.
            let code = self.field(header, offsets.code) & !7;
            let Some(slot) = record.frames.get_mut(opaque(u64::from(count)) as usize) else {
                break;
            };
            *slot = RawFrame::new(code, owner, instruction);
            frame = self.field(header, offsets.previous);
            count += 1;
            visited += 1;
        }
        self.frame = frame;
        self.visited = visited;
        record.frame_count = count;
        !self.is_over()
    }

    /// Visits one frame; returns its first local variable if it is a Python frame.
    #[inline(always)]
    pub fn first_local_step<M: RemoteMemory>(&mut self, memory: &M, offsets: &FrameOffsets) -> Option<u64> {
        let frame = self.frame;
        // `fill` of a heap frame reads the header alone; the first local lies behind it.
        let localsplus = (offsets.localsplus & LOCALS_MASK) as usize;
        let length = localsplus + 8;
        if self.is_over() || self.read(memory, frame, length).is_err() {
            self.frame = 0;
            return None;
        }
        let owner = self.owner(0, offsets);
        let is_python = offsets.owner == FrameOffsets::NONE || owner < FrameOffsets::FIRST_SHIM_OWNER;
        let local = self.word(localsplus) & !7;
        self.frame = self.field(0, offsets.previous);
        self.visited += 1;
        is_python.then_some(local)
    }

    /// Copies the memory that ends with the header of `self.frame`, as far back as its page begins. Returns the
    /// address of the window and the offset of that last frame in it.
    #[inline(always)]
    fn fill<M: RemoteMemory>(&mut self, memory: &M, offsets: &FrameOffsets) -> Result<(u64, u64), Fault> {
        let header_bytes = u64::from(offsets.header_bytes & (2 * MAX_FRAME_HEADER_BYTES - 8));
        let mut length = header_bytes;
        let frame = self.frame;
        // CPython's frames are aligned. What a misaligned one shows would depend on where the window begins.
        if frame & 7 != 0 {
            return Err(Fault);
        }
        let brings_callers = offsets.layout != FrameOffsets::HEAP
            && (self.page_base.wrapping_sub(frame) < CHUNK_BYTES
                || self.lone_frame.wrapping_sub(frame) < CHUNK_BYTES);
        if brings_callers {
            length += frame & (WINDOW_BYTES as u64 - 1);
        }
        if length > WINDOW_BYTES as u64 {
            length = WINDOW_BYTES as u64;
        }
        let base = frame.wrapping_add(header_bytes).wrapping_sub(length);
        if brings_callers {
            self.page_base = base;
        } else {
            self.lone_frame = frame;
        }
        self.read(memory, base, length as usize)?;
        Ok((base, length.wrapping_sub(header_bytes)))
    }

    /// Copies to the beginning of the window. `length` is at most [`WINDOW_BYTES`].
    #[inline(always)]
    fn read<M: RemoteMemory>(&mut self, memory: &M, address: u64, length: usize) -> Result<(), Fault> {
        let window = &raw mut self.window;
        // SAFETY: every caller bounds the length, in the way that its verifier can follow.
        let bytes = unsafe { core::slice::from_raw_parts_mut(window.cast::<u8>(), length) };
        memory.read_into(address, bytes)
    }

    /// A field of the frame whose header begins at `header` in the window.
    #[inline(always)]
    fn field(&self, header: usize, offset: u32) -> u64 {
        self.word((header & (WINDOW_BYTES - 8)) + (offset & WORD_MASK) as usize)
    }

    #[inline(always)]
    fn owner(&self, header: usize, offsets: &FrameOffsets) -> u8 {
        let offset = (header & (WINDOW_BYTES - 8)) + (offsets.owner & BYTE_MASK) as usize;
        let window = (&raw const self.window).cast::<u8>();
        // SAFETY: the masks keep the offset below WINDOW_BYTES + MAX_FRAME_HEADER_BYTES, which the slack covers.
        let owner = unsafe { window.add(offset) };
        // SAFETY: as above.
        unsafe { owner.read() }
    }

    /// Eight bytes of the window, at a multiple of eight.
    #[inline(always)]
    fn word(&self, offset: usize) -> u64 {
        let window = (&raw const self.window).cast::<u64>();
        // SAFETY: callers mask the offset below WINDOW_BYTES + MAX_FRAME_HEADER_BYTES, and the slack behind the
        // window is at least that and eight bytes.
        let word = unsafe { window.byte_add(offset) };
        // SAFETY: as above; the window is aligned, and so is what callers mask.
        unsafe { word.read() }
    }
}

#[cfg(test)]
mod tests;
