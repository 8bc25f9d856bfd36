//! CPython 3.8 to 3.12, whose structures do not change within a minor version.
//!
//! From the headers of the release named beside each table (`Include/internal/pycore_*.h`,
//! `Include/cpython/*.h`, `Include/frameobject.h`), by `offsetof` on x86-64.

use memray_ebpf::config::{CodeOffsets, FrameOffsets};

use super::{InstanceLayout, ObjectOffsets, Offsets};
use crate::cpython::version::PyVersion;

const NONE: u32 = FrameOffsets::NONE;

/// The offsets of a version up to 3.12; none before 3.8 and after 3.12.
pub fn of_version(version: PyVersion) -> Option<Offsets> {
    Some(match version.minor_version() {
        (3, 8) => V3_8,
        (3, 9) => V3_9,
        (3, 10) => V3_10,
        (3, 11) => V3_11,
        (3, 12) => V3_12,
        _ => return None,
    })
}

/// Where `gilstate.autoTSSkey` (3.12: `autoTSSkey`) lies in `_PyRuntime`, for the versions of [`of_version`].
pub fn tss_key(version: PyVersion) -> Option<u64> {
    Some(match version.minor_version() {
        (3, 8) => 1392,
        (3, 9 | 10) => 584,
        (3, 11) => 592,
        (3, 12) => 1544,
        _ => return None,
    })
}

/// Where `gilstate.tstate_current` lies in `_PyRuntime`, for the versions in which it is the only word on the state that
/// holds the GIL.
pub fn gil_holder(version: PyVersion) -> Option<u64> {
    Some(match version.minor_version() {
        (3, 8) => 1368,
        (3, 9 | 10) => 568,
        (3, 11) => 576,
        _ => return None,
    })
}

/// 3.8.18.
const V3_8: Offsets = Offsets {
    frame: FrameOffsets {
        thread_state_frame: 24,
        cframe_current_frame: NONE,
        thread_state_thread_id: 176,
        previous: 24,
        code: 32,
        instruction: 104,
        owner: NONE,
        localsplus: 360,
        header_bytes: 112,
        layout: FrameOffsets::HEAP,
    },
    code: CodeOffsets {
        file: 104,
        name: 112,
        first_line: 40,
        line_table: 120,
        bytes_size: 16,
        bytes_data: 32,
        string_length: 16,
        string_state: 32,
        string_ascii_data: 48,
        string_compact_data: 72,
    },
    code_adaptive: 0,
    object: ObjectOffsets {
        object_type: 8,
        type_name: 24,
        type_basic_size: 32,
        type_dealloc: 48,
        type_flags: 168,
        type_dict_offset: 288,
        type_mro: 344,
        // 3.8 alone has `tp_print` once more at the end of the type.
        type_cached_keys: 872,
        tuple_size: 16,
        tuple_items: 24,
        dict_keys: 32,
        dict_values: 40,
        code_basic_size: 176,
        instance: InstanceLayout::DictPointer,
    },
};

/// 3.9.18.
const V3_9: Offsets = Offsets {
    object: ObjectOffsets {
        type_cached_keys: 864,
        ..V3_8.object
    },
    ..V3_8
};

/// 3.10.13.
const V3_10: Offsets = Offsets {
    frame: FrameOffsets {
        instruction: 96,
        localsplus: 352,
        header_bytes: 104,
        ..V3_9.frame
    },
    object: ObjectOffsets {
        type_cached_keys: 872,
        ..V3_9.object
    },
    ..V3_9
};

/// 3.11.7.
const V3_11: Offsets = Offsets {
    frame: FrameOffsets {
        thread_state_frame: 56,
        cframe_current_frame: 8,
        thread_state_thread_id: 152,
        previous: 48,
        code: 32,
        instruction: 56,
        // `is_entry`.
        owner: 68,
        localsplus: 72,
        header_bytes: 72,
        layout: FrameOffsets::CONTIGUOUS,
    },
    code: CodeOffsets {
        file: 112,
        name: 128,
        first_line: 72,
        line_table: 136,
        ..V3_10.code
    },
    code_adaptive: 184,
    object: ObjectOffsets {
        type_cached_keys: 872,
        code_basic_size: 184,
        instance: InstanceLayout::TwoPointersBefore,
        ..V3_10.object
    },
};

/// 3.12.1.
const V3_12: Offsets = Offsets {
    frame: FrameOffsets {
        cframe_current_frame: 0,
        thread_state_thread_id: 136,
        previous: 8,
        code: 0,
        owner: 70,
        ..V3_11.frame
    },
    code: CodeOffsets {
        first_line: 68,
        string_ascii_data: 40,
        string_compact_data: 56,
        ..V3_11.code
    },
    code_adaptive: 192,
    object: ObjectOffsets {
        type_cached_keys: 880,
        code_basic_size: 192,
        instance: InstanceLayout::OnePointerBefore,
        ..V3_11.object
    },
};
