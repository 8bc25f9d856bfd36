//! Small C programs and libraries for the tests of this module, compiled when a test asks for them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles C source into `directory/name` and returns the path. `cc` is needed to link Rust programs at all, so it
/// is there wherever tests run.
pub(crate) fn compile(directory: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source_path = directory.join(format!("{name}.c"));
    std::fs::write(&source_path, source).unwrap();
    let output_path = directory.join(name);
    let status = Command::new("cc")
        .arg("-o")
        .arg(&output_path)
        .arg(&source_path)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc failed for {name}");
    output_path
}
