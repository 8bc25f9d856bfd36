//! Where the fields of CPython's structures lie, per version.
//!
//! Up to 3.12 from [`tables`](of_version), one per minor version; from 3.13 on the interpreter says it itself in
//! `_Py_DebugOffsets` ([`read`]). All offsets are bytes, for x86-64 release builds with the GIL.

mod debug;
mod tables;

use memray_ebpf::config::{CodeOffsets, FrameOffsets};

pub use self::{
    debug::{DebugOffsetsError, read},
    tables::{gil_holder, of_version, tss_key},
};

/// All that is known of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub frame: FrameOffsets,
    pub code: CodeOffsets,
    /// In `PyCodeObject`: `co_code_adaptive`, the instructions (3.11+); 0 before, where they are another object.
    pub code_adaptive: u32,
    pub object: ObjectOffsets,
}

/// Offsets in objects, types and dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectOffsets {
    pub object_type: u32,
    pub type_name: u32,
    pub type_basic_size: u32,
    pub type_dealloc: u32,
    pub type_flags: u32,
    pub type_dict_offset: u32,
    pub type_mro: u32,
    /// In `PyHeapTypeObject`: `ht_cached_keys`, the keys that instances share.
    pub type_cached_keys: u32,
    pub tuple_size: u32,
    pub tuple_items: u32,
    pub dict_keys: u32,
    pub dict_values: u32,
    /// `PyCode_Type.tp_basicsize`, which shows whether the build is one that the offsets are for; from 3.11 on that
    /// is `offsetof(PyCodeObject, co_code_adaptive)` (Objects/codeobject.c).
    pub code_basic_size: u32,
    pub instance: InstanceLayout,
}

/// How an object finds its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceLayout {
    /// Up to 3.10: a pointer to a dictionary at `tp_dictoffset`.
    DictPointer,
    /// 3.11: before the object a pointer to values, and one to a dictionary (`Include/internal/pycore_object.h`).
    TwoPointersBefore,
    /// 3.12: before the object one pointer, to values if its lowest bit is set, else to a dictionary.
    OnePointerBefore,
    /// 3.13 and later: a pointer to a dictionary before the object, values behind it.
    ValuesBehind,
}
