//! Where things lie, and what the project consists of.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command;

/// The work tree that this binary was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let manifest_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_directory.parent().context("xtask lies in a workspace")?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A command that runs at the top of the work tree.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// What `cargo metadata` says about the workspace and all that it depends on.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let mut cargo = self.command("cargo");
        let text = command::output(cargo.args(["metadata", "--format-version=1", "--locked"]))?;
        serde_json::from_str(&text).context("`cargo metadata` printed something else than JSON")
    }

    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        let metadata = self.metadata()?;
        let path = metadata["target_directory"].as_str();
        Ok(PathBuf::from(
            path.context("`cargo metadata` names no target directory")?,
        ))
    }

    /// Paths of all files that are, or are about to be, under version control, relative to the top, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = self.command("git");
        let list = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ];
        let text = command::output(git.args(list))?;
        let mut files: Vec<PathBuf> = text
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        ensure!(
            !files.is_empty(),
            "`git ls-files` names no file in `{}`",
            self.root.display()
        );
        Ok(files)
    }
}
