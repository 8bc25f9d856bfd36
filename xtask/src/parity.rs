//! Our figures of real programs beside memray's, on this machine.

use std::{env::consts::ARCH, path::PathBuf};

use anyhow::Result;
use clap::Args;

use crate::{
    command::{execute, is_root, step},
    setup,
    workspace::Workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Programs to compare, as `tests/programs/parity_PROGRAM.py`; all if none is named.
    #[arg(value_name = "PROGRAM")]
    programs: Vec<String>,
    /// Write all figures and each line that differs into a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare what was recorded last time.
    #[arg(long)]
    again: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Options {
        programs,
        json,
        again,
    } = options;
    setup::for_parity(workspace)?;

    step("memray and the comparison");
    let mut build = workspace.command("cargo");
    execute(build.args([
        "build",
        "--package",
        "memray-user",
        "--package",
        "memray-tests",
        "--bins",
    ]))?;

    step("each program under memray 1.20, under ours, and under both");
    let target = workspace.target_directory()?;
    let mut parity = workspace.command("cargo");
    parity
        .args([
            "run",
            "--quiet",
            "--package",
            "memray-tests",
            "--bin",
            "parity",
            "--",
        ])
        .arg(target.join("parity"))
        .args(programs)
        .env("MEMRAY_TEST_BINARY", target.join("debug/memray"));
    if *again {
        parity.arg("--again");
    }
    if let Some(path) = json {
        parity.arg("--json").arg(std::path::absolute(path)?);
    }
    if !is_root() {
        execute(workspace.command("sudo").arg("--validate"))?;
        let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", ARCH.to_uppercase());
        parity.env(runner, "sudo --preserve-env");
    }
    execute(&mut parity)
}
