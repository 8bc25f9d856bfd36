//! What user space tells the programs about one traced process.
//!
//! Written into the map of targets before the first probe is attached; the programs only read it, but for
//! [`ThreadStateSource::tss_slot_offset`], which they fill in when the interpreter has made its pthread key, and
//! [`TargetConfig::code_epoch`].

/// How to reach a thread-local variable from the thread's `fs` base.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsVariable {
    /// One of [`TlsVariable::NONE`], [`STATIC`](TlsVariable::STATIC), [`DYNAMIC`](TlsVariable::DYNAMIC).
    pub mode: u32,
    /// `DYNAMIC`: size of a slot of the dynamic thread vector, 16 in glibc, 8 in musl.
    pub slot_bytes: u32,
    /// `DYNAMIC`: index into the dynamic thread vector.
    pub module_id: u64,
    /// `STATIC`: offset from `fs` base. `DYNAMIC`: offset in the module's block.
    pub offset: i64,
}

impl TlsVariable {
    pub const NONE: u32 = 0;
    /// `*(fs + offset)`: the program itself, or a library that was there at start.
    pub const STATIC: u32 = 1;
    /// `*(dtv[module_id] + offset)` with `dtv = *(fs + 8)`.
    pub const DYNAMIC: u32 = 2;
}

/// Where the thread's `PyThreadState` is found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStateSource {
    /// 3.12+: `_Py_tss_tstate`, the attached state; null while the thread has released the GIL.
    pub attached: TlsVariable,
    /// 3.15+: `_Py_tss_gilstate`, the state bound to the thread, GIL or not.
    pub bound: TlsVariable,
    /// Up to 3.14: address of `_PyRuntime.autoTSSkey`, a `Py_tss_t {int is_initialized; pthread_key_t key}`; its
    /// pthread value is the state bound to the thread. 0 where there is none.
    pub tss_key_address: u64,
    /// Offset to the value of that key, once the key is known; [`UNKNOWN_SLOT`](Self::UNKNOWN_SLOT) before. Filled in by
    /// the programs. From `fs` base in glibc, in the array of values in musl, where that of the first key is 0.
    pub tss_slot_offset: u64,
    /// glibc: `specific_1stblock` in `struct pthread`, 0x310 on x86-64 since 2.34 at the latest.
    pub tss_first_block_offset: u64,
    /// glibc: `specific` in `struct pthread`, the pointers to blocks of 32 keys.
    pub tss_blocks_offset: u64,
    /// musl: `tsd` in `struct pthread`, the pointer to the array of values; 0 with glibc.
    pub tss_array_offset: u64,
    /// 3.8 to 3.11: address of `_PyRuntime.gilstate.tstate_current`, the state that holds the GIL; 0 elsewhere.
    pub gil_holder_address: u64,
}

impl ThreadStateSource {
    pub const UNKNOWN_SLOT: u64 = u64::MAX;
}

/// Offsets in `PyThreadState` and in a frame, all in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameOffsets {
    /// In `PyThreadState`: `frame` (3.10-), `cframe` (3.11, 3.12) or `current_frame` (3.13+).
    pub thread_state_frame: u32,
    /// In `_PyCFrame`: `current_frame`; [`FrameOffsets::NONE`] where the thread state points at the frame.
    pub cframe_current_frame: u32,
    /// In `PyThreadState`: `thread_id`, the value of `pthread_self`, compared with `fs` base.
    pub thread_state_thread_id: u32,
    /// In the frame: `f_back` or `previous`.
    pub previous: u32,
    /// In the frame: `f_code` or `f_executable`.
    pub code: u32,
    /// In the frame: `f_lasti` (32 bits), `prev_instr` or `instr_ptr`.
    pub instruction: u32,
    /// In the frame: `is_entry` (3.11) or `owner` (3.12+); [`FrameOffsets::NONE`] before.
    pub owner: u32,
    /// In the frame: `f_localsplus` or `localsplus`.
    pub localsplus: u32,
    /// Bytes of a frame that the walk reads: to the end of the last field above, `localsplus` not included.
    pub header_bytes: u32,
    /// One of [`FrameOffsets::HEAP`], [`CONTIGUOUS`](FrameOffsets::CONTIGUOUS).
    pub layout: u32,
}

impl FrameOffsets {
    /// A field that this version does not have.
    pub const NONE: u32 = u32::MAX;
    /// Up to 3.10: frames are heap objects, one read each; `instruction` is `f_lasti`.
    pub const HEAP: u32 = 0;
    /// From 3.11: frames lie in chunks, many to a read; `instruction` is an address inside the code object.
    pub const CONTIGUOUS: u32 = 1;
    /// Frames of this owner and above are no Python frames (3.12+: `FRAME_OWNED_BY_CSTACK` is 3; 3.14:
    /// `FRAME_OWNED_BY_INTERPRETER` 3, `FRAME_OWNED_BY_CSTACK` 4; `Include/internal/pycore_frame.h`).
    pub const FIRST_SHIM_OWNER: u8 = 3;
}

/// Offsets in `PyCodeObject`, `str` and `bytes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeOffsets {
    pub file: u32,
    /// `co_qualname`, or `co_name` before 3.11.
    pub name: u32,
    pub first_line: u32,
    /// `co_linetable`, or `co_lnotab` before 3.10.
    pub line_table: u32,
    /// `ob_size` of a `bytes`.
    pub bytes_size: u32,
    /// `ob_sval`.
    pub bytes_data: u32,
    /// `PyASCIIObject.length`.
    pub string_length: u32,
    /// `PyASCIIObject.state`, 32 bits.
    pub string_state: u32,
    /// Characters of a compact ASCII string: `sizeof(PyASCIIObject)`.
    pub string_ascii_data: u32,
    /// Characters of a compact string of another kind: `sizeof(PyCompactUnicodeObject)`.
    pub string_compact_data: u32,
}

/// One traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetConfig {
    /// 1 if the process runs an interpreter that we know; else all below is unused and stacks are empty.
    pub has_python: u32,
    /// Number of this life of the process, set when it is told to the programs: a process that executes another
    /// program keeps its pid, and code objects may come back at the same addresses.
    pub life: u32,
    /// Raised by the programs whenever a code object dies that a stack has shown: all stacks get new hashes, so
    /// that another code object at the same address cannot pass for it.
    pub code_epoch: u64,
    /// 1 if the programs see code objects die; else they remember none, nor any stack, and describe both with each event.
    pub sees_code_deaths: u32,
    pub reserved: u32,
    pub thread_state: ThreadStateSource,
    pub frame: FrameOffsets,
    pub code: CodeOffsets,
}

const _: () = assert!(size_of::<TlsVariable>() == 24);
const _: () = assert!(size_of::<ThreadStateSource>() == 96);
const _: () = assert!(size_of::<TargetConfig>() == 24 + 96 + 40 + 40);
