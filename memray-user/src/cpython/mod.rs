//! CPython from outside: which interpreter a process runs, where its threads keep their state, and what its code
//! objects, strings and line tables say.
//!
//! [`detect()`] turns a process into the [`TargetConfig`](memray_ebpf::config::TargetConfig) that the BPF programs
//! walk by; the other modules turn what those programs send into names and lines. All of it reads untrusted
//! bytes: each read is bounded, and what is unknown is an error with a hint, never a guess.

pub mod accessor;
mod allocator;
mod attribute;
pub mod c_library;
pub mod code;
pub mod detect;
pub mod glibc;
pub mod linetable;
pub mod musl;
pub mod offsets;
pub mod provenance;
pub mod pthread;
pub mod strings;
pub mod thread_name;
pub mod thread_state;
pub mod version;

pub use c_library::{CLibrary, c_library};
pub use code::CodeObject;
pub use detect::{DetectError, Interpreter, detect};
pub use provenance::{BoundState, OffsetsSource, Provenance, provenance};
pub use thread_name::{Evidence, thread_name};
pub use version::PyVersion;
