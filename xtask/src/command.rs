//! Other programs, run so that whoever watches can tell what happens and what failed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the chores talk to a person or a log"
)]

use std::{
    ffi::OsStr,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Error, Result, bail, ensure};

/// Names the step that begins.
pub(crate) fn step(text: &str) {
    println!("==> {text}");
}

/// A line below the step's name.
pub(crate) fn note(text: &str) {
    println!("    {text}");
}

pub(crate) fn report(error: &Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
}

/// Shows the command, runs it with the terminal as it is, and fails if it fails.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let text = text(command);
    note(&format!("$ {text}"));
    let status = command
        .status()
        .with_context(|| format!("failed to run `{text}`"))?;
    ensure!(status.success(), "`{text}` failed: {status}");
    Ok(())
}

/// What the command prints to its standard output; its errors reach the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = text(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run `{text}`"))?;
    ensure!(output.status.success(), "`{text}` failed: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` printed something else than text"))
}

/// What the command prints, if it runs and succeeds; nothing reaches the terminal.
pub(crate) fn probe(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Whether a program of this name is in `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The program as root: itself if we are, else through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !exists("sudo") {
        bail!(
            "`{}` needs root, and there is no `sudo`",
            program.as_ref().display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn text(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    words.join(OsStr::new(" ")).display().to_string()
}
