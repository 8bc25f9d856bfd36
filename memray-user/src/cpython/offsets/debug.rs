//! `_Py_DebugOffsets`, the table at the beginning of `_PyRuntime` that 3.13 and later make for readers like us
//! (`Include/internal/pycore_runtime.h` of 3.13, `pycore_debug_offsets.h` of 3.14 and 3.15).
//!
//! Every minor version inserts fields, so each has its own list of places. Values are data of the target: all are
//! checked against bounds before use.

#[cfg(test)]
mod tests;

use memray_ebpf::{
    config::{CodeOffsets, FrameOffsets},
    limits::{MAX_FRAME_HEADER_BYTES, MIN_FRAME_HEADER_BYTES, THREAD_STATE_BYTES},
    memory::RemoteMemory,
};

use super::{InstanceLayout, ObjectOffsets, Offsets};
use crate::cpython::version::PyVersion;

const COOKIE: [u8; 8] = *b"xdebugpy";

/// Larger than any structure whose fields are read (a heap type has 944 bytes in 3.15).
const MAX_OFFSET: u64 = 4096;

/// Why the table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DebugOffsetsError {
    #[error("the table of debug offsets of {version} is not known")]
    UnknownLayout { version: PyVersion },
    #[error("the table of debug offsets at {address:#x} cannot be read")]
    Unreadable { address: u64 },
    #[error("there is no table of debug offsets at {address:#x}")]
    NoCookie { address: u64 },
    #[error("the table of debug offsets is that of version {found:#x}, the interpreter is {version}")]
    OtherVersion { version: PyVersion, found: u64 },
    #[error("the interpreter is built without the GIL")]
    FreeThreaded,
    #[error("the debug offset of `{field}` is {value}, which cannot be")]
    Implausible { field: &'static str, value: u64 },
}

/// Where the table of one minor version holds the offsets that are needed, in bytes from its beginning. The
/// fields are called after the structure and the member whose offset they hold.
struct Layout {
    table_bytes: usize,
    thread_current_frame: usize,
    thread_thread_id: usize,
    frame_previous: usize,
    frame_executable: usize,
    frame_instr_ptr: usize,
    frame_localsplus: usize,
    frame_owner: usize,
    code_filename: usize,
    code_qualname: usize,
    code_linetable: usize,
    code_firstlineno: usize,
    code_adaptive: usize,
    object_type: usize,
    type_name: usize,
    type_flags: usize,
    tuple_items: usize,
    tuple_size: usize,
    dict_keys: usize,
    dict_values: usize,
    bytes_size: usize,
    bytes_data: usize,
    string_state: usize,
    string_length: usize,
    string_ascii_size: usize,
    /// 3.15+; before, `sizeof(PyCompactUnicodeObject)` is two words more than the ASCII one.
    string_compact_size: Option<usize>,
    /// 3.15+; a constant of the version before.
    type_cached_keys: Option<usize>,
}

const V3_13: Layout = Layout {
    table_bytes: 584,
    thread_current_frame: 184,
    thread_thread_id: 192,
    frame_previous: 232,
    frame_executable: 240,
    frame_instr_ptr: 248,
    frame_localsplus: 256,
    frame_owner: 264,
    code_filename: 280,
    code_qualname: 296,
    code_linetable: 304,
    code_firstlineno: 312,
    code_adaptive: 344,
    object_type: 360,
    type_name: 376,
    type_flags: 392,
    tuple_items: 408,
    tuple_size: 416,
    dict_keys: 456,
    dict_values: 464,
    bytes_size: 520,
    bytes_data: 528,
    string_state: 544,
    string_length: 552,
    string_ascii_size: 560,
    string_compact_size: None,
    type_cached_keys: None,
};

const V3_14: Layout = Layout {
    table_bytes: 760,
    thread_current_frame: 208,
    thread_thread_id: 216,
    frame_previous: 256,
    frame_executable: 264,
    frame_instr_ptr: 272,
    frame_localsplus: 280,
    frame_owner: 288,
    code_filename: 320,
    code_qualname: 336,
    code_linetable: 344,
    code_firstlineno: 352,
    code_adaptive: 384,
    object_type: 408,
    type_name: 424,
    type_flags: 440,
    tuple_items: 456,
    tuple_size: 464,
    dict_keys: 536,
    dict_values: 544,
    bytes_size: 600,
    bytes_data: 608,
    string_state: 624,
    string_length: 632,
    string_ascii_size: 640,
    string_compact_size: None,
    type_cached_keys: None,
};

const V3_15: Layout = Layout {
    table_bytes: 888,
    thread_current_frame: 208,
    thread_thread_id: 240,
    frame_previous: 320,
    frame_executable: 328,
    frame_instr_ptr: 336,
    frame_localsplus: 344,
    frame_owner: 352,
    code_filename: 384,
    code_qualname: 400,
    code_linetable: 408,
    code_firstlineno: 416,
    code_adaptive: 448,
    object_type: 472,
    type_name: 488,
    type_flags: 504,
    tuple_items: 552,
    tuple_size: 560,
    dict_keys: 632,
    dict_values: 640,
    bytes_size: 696,
    bytes_data: 704,
    string_state: 720,
    string_length: 728,
    string_ascii_size: 736,
    string_compact_size: Some(744),
    type_cached_keys: Some(536),
};

/// Reads the table at `_PyRuntime`. It is static data: it is there before the interpreter starts.
pub fn read(
    memory: &impl RemoteMemory,
    runtime_avma: u64,
    version: PyVersion,
) -> Result<Offsets, DebugOffsetsError> {
    let layout = match version.minor_version() {
        (3, 13) => &V3_13,
        (3, 14) => &V3_14,
        (3, 15) => &V3_15,
        _ => return Err(DebugOffsetsError::UnknownLayout { version }),
    };
    let address = runtime_avma;
    let mut bytes = vec![0; layout.table_bytes];
    memory
        .read_into(address, &mut bytes)
        .map_err(|_fault| DebugOffsetsError::Unreadable { address })?;
    let table = Table(&bytes);
    if !bytes.starts_with(&COOKIE) {
        return Err(DebugOffsetsError::NoCookie { address });
    }
    let found = table.word(8);
    if u32::try_from(found).ok().and_then(PyVersion::from_hex) != Some(version) {
        return Err(DebugOffsetsError::OtherVersion { version, found });
    }
    if table.word(16) != 0 {
        return Err(DebugOffsetsError::FreeThreaded);
    }
    Ok(Offsets {
        frame: table.frame(layout)?,
        code: table.code(layout)?,
        code_adaptive: table.offset(layout.code_adaptive, "code_object.co_code_adaptive")?,
        object: table.object(layout)?,
    })
}

/// The bytes of a table, as long as its layout says.
struct Table<'bytes>(&'bytes [u8]);

impl Table<'_> {
    fn word(&self, place: usize) -> u64 {
        let bytes = self.0[place..place + 8].try_into().expect("8 bytes were taken");
        u64::from_le_bytes(bytes)
    }

    fn offset(&self, place: usize, field: &'static str) -> Result<u32, DebugOffsetsError> {
        let value = self.word(place);
        u32::try_from(value)
            .ok()
            .filter(|_| value <= MAX_OFFSET)
            .ok_or(DebugOffsetsError::Implausible { field, value })
    }

    /// The offset of a pointer or of what lies where one would: the walk reads whole words.
    fn word_offset(&self, place: usize, field: &'static str) -> Result<u32, DebugOffsetsError> {
        let offset = self.offset(place, field)?;
        if offset.is_multiple_of(8) {
            return Ok(offset);
        }
        let value = offset.into();
        Err(DebugOffsetsError::Implausible { field, value })
    }

    /// The offset of a word in the part of a thread state that the walk reads.
    fn thread_offset(&self, place: usize, field: &'static str) -> Result<u32, DebugOffsetsError> {
        let offset = self.word_offset(place, field)?;
        if usize::try_from(offset).is_ok_and(|offset| offset + 8 <= THREAD_STATE_BYTES) {
            return Ok(offset);
        }
        let value = offset.into();
        Err(DebugOffsetsError::Implausible { field, value })
    }

    fn frame(&self, layout: &Layout) -> Result<FrameOffsets, DebugOffsetsError> {
        let localsplus = self.word_offset(layout.frame_localsplus, "interpreter_frame.localsplus")?;
        if !(MIN_FRAME_HEADER_BYTES..=MAX_FRAME_HEADER_BYTES).contains(&localsplus) {
            return Err(DebugOffsetsError::Implausible {
                field: "interpreter_frame.localsplus",
                value: localsplus.into(),
            });
        }
        let inside = |field, offset: u32, size_bytes| {
            if offset + size_bytes <= localsplus {
                return Ok(offset);
            }
            let value = offset.into();
            Err(DebugOffsetsError::Implausible { field, value })
        };
        let word = |place, field| inside(field, self.word_offset(place, field)?, 8);
        let byte = |place, field| inside(field, self.offset(place, field)?, 1);
        Ok(FrameOffsets {
            thread_state_frame: self
                .thread_offset(layout.thread_current_frame, "thread_state.current_frame")?,
            cframe_current_frame: FrameOffsets::NONE,
            thread_state_thread_id: self.thread_offset(layout.thread_thread_id, "thread_state.thread_id")?,
            previous: word(layout.frame_previous, "interpreter_frame.previous")?,
            code: word(layout.frame_executable, "interpreter_frame.executable")?,
            instruction: word(layout.frame_instr_ptr, "interpreter_frame.instr_ptr")?,
            owner: byte(layout.frame_owner, "interpreter_frame.owner")?,
            localsplus,
            header_bytes: localsplus,
            layout: FrameOffsets::CONTIGUOUS,
        })
    }

    fn code(&self, layout: &Layout) -> Result<CodeOffsets, DebugOffsetsError> {
        let string_ascii_data = self.offset(layout.string_ascii_size, "unicode_object.asciiobject_size")?;
        let string_compact_data = match layout.string_compact_size {
            Some(place) => self.offset(place, "unicode_object.compactunicodeobject_size")?,
            // `utf8_length` and `utf8` (Include/cpython/unicodeobject.h, 3.13 and 3.14).
            None => string_ascii_data + 16,
        };
        Ok(CodeOffsets {
            file: self.offset(layout.code_filename, "code_object.filename")?,
            name: self.offset(layout.code_qualname, "code_object.qualname")?,
            first_line: self.offset(layout.code_firstlineno, "code_object.firstlineno")?,
            line_table: self.offset(layout.code_linetable, "code_object.linetable")?,
            bytes_size: self.offset(layout.bytes_size, "bytes_object.ob_size")?,
            bytes_data: self.offset(layout.bytes_data, "bytes_object.ob_sval")?,
            string_length: self.offset(layout.string_length, "unicode_object.length")?,
            string_state: self.offset(layout.string_state, "unicode_object.state")?,
            string_ascii_data,
            string_compact_data,
        })
    }

    fn object(&self, layout: &Layout) -> Result<ObjectOffsets, DebugOffsetsError> {
        Ok(ObjectOffsets {
            object_type: self.offset(layout.object_type, "pyobject.ob_type")?,
            type_name: self.offset(layout.type_name, "type_object.tp_name")?,
            // The beginning of a type is part of the stable ABI (Include/cpython/object.h).
            type_basic_size: 32,
            type_dealloc: 48,
            type_flags: self.offset(layout.type_flags, "type_object.tp_flags")?,
            type_dict_offset: 288,
            type_mro: 344,
            type_cached_keys: match layout.type_cached_keys {
                Some(place) => self.offset(place, "heap_type_object.ht_cached_keys")?,
                // PyHeapTypeObject of 3.13 and 3.14 with a PyTypeObject of 416 bytes.
                None => 880,
            },
            tuple_size: self.offset(layout.tuple_size, "tuple_object.ob_size")?,
            tuple_items: self.offset(layout.tuple_items, "tuple_object.ob_item")?,
            dict_keys: self.offset(layout.dict_keys, "dict_object.ma_keys")?,
            dict_values: self.offset(layout.dict_values, "dict_object.ma_values")?,
            code_basic_size: self.offset(layout.code_adaptive, "code_object.co_code_adaptive")?,
            instance: InstanceLayout::ValuesBehind,
        })
    }
}
