//! The harness of the end-to-end tests.

pub mod attachment;
pub mod behavior;
pub mod capture;
pub mod compiled;
pub mod container;
pub mod elf32;
pub mod harmless;
pub mod kernel_maps;
pub mod memray;
pub mod parity;
pub mod probed;
pub mod python;
pub mod recording;
pub mod rising;
pub mod script;
pub mod stress;
pub mod target;
pub mod waiting;

use std::path::PathBuf;

pub use attachment::{Attach, Attachment};
pub use capture::Capture;
pub use compiled::Compiled;
pub use memray::{memray, transcript};
pub use python::{Python, workspace};
pub use recording::Recording;
pub use script::Script;
pub use stress::{Stress, Stressed};
pub use target::Target;
pub use waiting::Waiting;

/// A program of the tests, by its file name.
pub fn program(name: &str) -> PathBuf {
    workspace().join("tests/programs").join(name)
}
