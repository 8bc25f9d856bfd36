//! Every check that a change must pass, the cheap ones first.

use std::{env::consts::ARCH, path::Path, process::Command};

use anyhow::Result;
use clap::Args;

use crate::{
    codegen,
    command::{execute, is_root, note, probe, step},
    long, setup, tidy,
    workspace::Workspace,
};

#[derive(Clone, Copy, Args)]
pub(crate) struct Options {
    /// Run the tests against the release build of `memray`; the default is the dev build, whose arithmetic is checked.
    #[arg(long)]
    release: bool,
    /// Leave out the tests that need root.
    #[arg(long)]
    unprivileged: bool,
    /// Then run what takes long too: the tests in modules with `#[ignore = "long"]`.
    #[arg(long)]
    long: bool,
}

pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<()> {
    let Options {
        release,
        unprivileged,
        long,
    } = options;
    setup::for_tests(workspace)?;
    check_format(workspace)?;
    lint(workspace)?;
    tidy::run(workspace)?;
    codegen::run(workspace, true)?;

    step("memray, as the end-to-end tests run it");
    let mut build = workspace.command("cargo");
    build.args(["build", "--package", "memray-user"]);
    if release {
        build.arg("--release");
    }
    execute(&mut build)?;
    let binary = workspace
        .target_directory()?
        .join(if release { "release/memray" } else { "debug/memray" });

    step("documentation tests");
    execute(
        workspace
            .command("cargo")
            .args(["test", "--quiet", "--workspace", "--doc"]),
    )?;
    step("tests without privilege");
    execute(nextest(workspace, &binary).arg("--workspace"))?;
    let long_tests = if long {
        long::tests(workspace)?
    } else {
        long::Tests::default()
    };
    if let Some(filter) = long_tests.unprivileged() {
        step("long tests without privilege");
        let long = ["--run-ignored", "only", "--filterset", &filter];
        execute(nextest(workspace, &binary).arg("--workspace").args(long))?;
    }
    step("tests of the scripts in HTML reports");
    execute(
        workspace
            .command("node")
            .arg("--test")
            .current_dir(workspace.root().join("memray-user/web")),
    )?;
    if unprivileged {
        note("tests that need root: left out, as asked");
        return Ok(());
    }
    step("tests that need root");
    execute(root_tests(workspace, &binary)?.args(["--filterset", "binary(kernel)"]))?;
    if let Some(filter) = long_tests.root() {
        step("long tests that need root");
        let long = ["--run-ignored", "only", "--filterset", &filter];
        execute(root_tests(workspace, &binary)?.args(long))?;
    }
    Ok(())
}

fn check_format(workspace: &Workspace) -> Result<()> {
    step("format");
    if probe("rustup", &["run", "nightly", "rustfmt", "--version"]).is_none() {
        note("NOT CHECKED: there is no nightly rustfmt");
        return Ok(());
    }
    execute(
        workspace
            .command("cargo")
            .args(["+nightly", "fmt", "--all", "--check"]),
    )
}

fn lint(workspace: &Workspace) -> Result<()> {
    step("lints");
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    execute(workspace.command("cargo").args(clippy))
}

fn nextest(workspace: &Workspace, binary: &Path) -> Command {
    let mut command = workspace.command("cargo");
    command
        .args(["nextest", "run", "--profile", "ci"])
        .env("MEMRAY_TEST_BINARY", binary);
    command
}

/// Cargo runs as whoever calls, so that nothing in `target` ends up owned by root; only the test binary itself is
/// started through sudo.
fn root_tests(workspace: &Workspace, binary: &Path) -> Result<Command> {
    let mut command = nextest(workspace, binary);
    command.args(["--package", "memray-tests", "--ignore-default-filter"]);
    if !is_root() {
        // Ask for the password now and not in the midst of the tests.
        execute(workspace.command("sudo").arg("--validate"))?;
        let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", ARCH.to_uppercase());
        command.env(runner, "sudo --preserve-env");
    }
    Ok(command)
}
