//! Fetches what a fresh machine lacks. Each part looks first, and does nothing when its result is there.

mod packages;
mod toolchain;

use anyhow::Result;

use crate::{
    command::{execute, note, probe, step},
    workspace::Workspace,
};

/// All that the tests need.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    packages::install(packages::FOR_TESTS)?;
    toolchain::install(workspace)?;
    toolchain::install_rustfmt();
    install_nextest(workspace)?;
    fetch_interpreters(workspace)?;
    step("greenlet and cffi, which programs of the tests import");
    execute(&mut workspace.command("./scripts/fetch-extensions"))?;
    make_parity_venv(workspace)
}

/// What the comparison with memray needs.
pub(crate) fn for_parity(workspace: &Workspace) -> Result<()> {
    packages::install(packages::FOR_DEMO)?;
    toolchain::install(workspace)?;
    make_parity_venv(workspace)
}

/// What building and a recording need.
pub(crate) fn for_demo(workspace: &Workspace) -> Result<()> {
    packages::install(packages::FOR_DEMO)?;
    toolchain::install(workspace)
}

fn make_parity_venv(workspace: &Workspace) -> Result<()> {
    step("memray 1.20, to compare figures with");
    execute(&mut workspace.command("./scripts/make-parity-venv"))
}

fn install_nextest(workspace: &Workspace) -> Result<()> {
    step("test runner: cargo-nextest");
    if let Some(version) = probe("cargo", &["nextest", "--version"]) {
        note(version.lines().next().unwrap_or_default());
        return Ok(());
    }
    // Without optimisation it is built in a third of the time, and it only waits for tests.
    let install = [
        "install",
        "cargo-nextest",
        "--version",
        "0.9.143",
        "--locked",
        "--debug",
    ];
    execute(
        workspace
            .command("cargo")
            .args(install)
            .env("CARGO_PROFILE_DEV_DEBUG", "0"),
    )
}

/// Debian's newest, and one on musl, whose compilation takes some minutes.
fn fetch_interpreters(workspace: &Workspace) -> Result<()> {
    const SCRIPTS: [&str; 2] = ["scripts/fetch-pythons", "scripts/build-musl-python"];
    step("interpreters to test with");
    for script in SCRIPTS {
        if workspace.root().join(script).is_file() {
            execute(&mut workspace.command(&format!("./{script}")))?;
        } else {
            note(&format!("`{script}` is missing: only those that are installed"));
        }
    }
    Ok(())
}
