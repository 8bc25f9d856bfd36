//! Runs the `memray` binary as a user does.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The binary that `MEMRAY_TEST_BINARY` names, as `cargo xtask test` does; else the one built beside the tests.
///
/// # Panics
///
/// If there is none.
pub fn memray_binary() -> PathBuf {
    let binary = env::var_os("MEMRAY_TEST_BINARY").map_or_else(built_beside_tests, PathBuf::from);
    assert!(
        binary.is_file(),
        "`{}` is not there: run `cargo build --package memray-user`",
        binary.display()
    );
    binary
}

/// `target/debug/deps/it-0123` is the test, `target/debug/memray` the binary.
fn built_beside_tests() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own file");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("a test lies two folders deep in `target`");
    folder.join("memray")
}

/// `memray` in a folder, with nothing in its environment that changes what it prints.
pub fn memray(folder: &Path) -> Command {
    let mut command = Command::new(memray_binary());
    command.current_dir(folder);
    clean_environment(&mut command);
    command
}

/// Takes away what changes what programs print.
pub(crate) fn clean_environment(command: &mut Command) {
    for name in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
}

/// What a run showed, in a form that is the same every time: for snapshots.
pub fn transcript(output: &Output) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let part = |name: &str, text: &[u8]| match String::from_utf8_lossy(text).trim_end() {
        "" => String::new(),
        text => format!("--- {name}\n{text}\n"),
    };
    format!("{status}\n{}{}", part("stdout", stdout), part("stderr", stderr))
}
