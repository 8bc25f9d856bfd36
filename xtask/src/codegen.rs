//! Files that are made from code and kept under version control, so that a reader finds them and a change shows.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use memray_ebpf::stat::{StatId, StatKind};

use crate::{
    command::{note, step},
    workspace::Workspace,
};

const LOSSES: &str = "docs/reference/losses.md";

/// Writes each generated file, or with `check` fails if one differs.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<()> {
    step("generated files");
    let (path, text) = (workspace.root().join(LOSSES), losses());
    if check {
        return require_fresh(&path, &text);
    }
    fs::create_dir_all(path.parent().context("the file lies in a folder")?)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    note(LOSSES);
    Ok(())
}

fn require_fresh(path: &Path, expected: &str) -> Result<()> {
    let found = fs::read_to_string(path).unwrap_or_default();
    ensure!(
        found == expected,
        "`{}` is not what `cargo xtask codegen` writes",
        path.display()
    );
    Ok(())
}

fn losses() -> String {
    let mut text = String::from(
        "<!-- Written by `cargo xtask codegen` from `StatId`; edit memray-ebpf/src/stat.rs instead. -->\n\n\
         # What a recording counts\n\n\
         The names are those of the table `losses` of a capture, which holds the counters that are not zero.\n",
    );
    for (kind, title, meaning) in [
        (StatKind::Lost, "Lost", "Events are missing from the capture."),
        (
            StatKind::Degraded,
            "Degraded",
            "Events are there, but something about them is not known.",
        ),
        (StatKind::Neutral, "Neutral", "What happened; nothing is wrong."),
    ] {
        text.extend([
            "\n## ",
            title,
            "\n\n",
            meaning,
            "\n\n| counter | counts |\n|---|---|\n",
        ]);
        for stat in StatId::ALL.into_iter().filter(|stat| stat.kind() == kind) {
            text.extend(["| `", stat.name(), "` | ", stat.describe(), " |\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_row() {
        let text = losses();
        for stat in StatId::ALL {
            assert!(
                text.contains(&format!("| `{}` | {} |", stat.name(), stat.describe())),
                "{stat:?}"
            );
        }
    }

    #[test]
    fn generated_files_are_fresh() {
        run(&Workspace::find().unwrap(), true).unwrap();
    }

    #[test]
    fn a_file_that_is_absent_is_not_fresh() {
        require_fresh(Path::new("/nonexistent"), "text").unwrap_err();
    }
}
