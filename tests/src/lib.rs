//! The harness of the end-to-end tests.

pub mod behavior;
pub mod memray;
pub mod python;

use std::path::PathBuf;

pub use memray::{memray, transcript};
pub use python::{Python, workspace};

/// A program of the tests, by its file name.
pub fn program(name: &str) -> PathBuf {
    workspace().join("tests/programs").join(name)
}
