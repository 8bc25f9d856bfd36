//! What tracing costs, measured on this machine.

#![expect(clippy::print_stdout, reason = "shows the table")]

use std::{env::consts::ARCH, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    command::{execute, is_root, note, output, probe, step},
    setup,
    workspace::Workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Interpreter to measure, instead of `MEMRAY_BENCH_PYTHON` or else `python3`.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// BPF object of another build, measured in the same rounds; may be repeated.
    #[arg(long, value_name = "PATH")]
    object: Vec<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::for_demo(workspace)?;

    step("the benchmark, built in release");
    let arguments = ["bench", "--package", "memray-user", "--bench", "probe_cost"];
    execute(workspace.command("cargo").args(arguments).arg("--no-run"))?;

    step("one traced malloc and free beside programs that do nothing; half a minute, more on a busy machine");
    let mut bench = workspace.command("cargo");
    bench
        .args(arguments)
        .arg("--quiet")
        .env("MEMRAY_BENCH_OBJECTS", std::env::join_paths(&options.object)?);
    if let Some(python) = &options.python {
        bench.env("MEMRAY_BENCH_PYTHON", python);
    }
    if !is_root() {
        // Only the benchmark itself runs as root, so that nothing in `target` ends up owned by root.
        execute(workspace.command("sudo").arg("--validate"))?;
        let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", ARCH.to_uppercase());
        bench.env(runner, "sudo --preserve-env");
    }
    let text = output(&mut bench)?;
    // The figures come after the table, one to a line.
    for line in text.lines().take_while(|line| !line.starts_with('{')) {
        println!("{line}");
    }

    let date = probe("date", &["+%Y-%m-%dT%H-%M-%S"]).context("failed to run `date`")?;
    let folder = workspace.target_directory()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let path = folder.join(format!("probe_cost-{}.txt", date.trim()));
    fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    note(&format!("every figure is in {}", path.display()));
    Ok(())
}
