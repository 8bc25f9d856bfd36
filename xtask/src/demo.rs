//! From a fresh work tree to a report that is worth looking at.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{
    command::{as_root, execute, note, step},
    setup,
    workspace::Workspace,
};

const EXAMPLE: &str = "examples/log_report.py";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::for_demo(workspace)?;

    step("memray, built in release");
    execute(
        workspace
            .command("cargo")
            .args(["build", "--release", "--package", "memray-user"]),
    )?;
    let target = workspace.target_directory()?;
    let memray = target.join("release/memray");
    let folder = target.join("demo");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let capture = folder.join("log_report.db");
    let flamegraph = folder.join("log_report.html");

    step("a recording: the program runs as it is, its allocations are traced from outside");
    execute(
        as_root(&memray)?
            .current_dir(workspace.root())
            .args(["run", "--force", "--output"])
            .args([capture.as_os_str(), EXAMPLE.as_ref()]),
    )?;

    step("where the memory was at its peak");
    let reporter = || workspace.command(&memray.to_string_lossy());
    execute(reporter().args(["summary", "--max-rows", "10"]).arg(&capture))?;

    step("the flame graph");
    execute(
        reporter()
            .args(["flamegraph", "--force", "--output"])
            .args([&flamegraph, &capture]),
    )?;
    note(&format!("open {} in a browser", flamegraph.display()));
    note(&format!(
        "the capture is an SQLite database: sqlite3 {}",
        capture.display()
    ));
    Ok(())
}
