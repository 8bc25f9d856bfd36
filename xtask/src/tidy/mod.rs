//! What no compiler checks: who imports whom, module docs, sizes, licences, and the text of every file.
//!
//! Each rule is a function from text to problems, with a test that it can fail; `project_is_tidy` applies all of them
//! to the work tree, so that `cargo test` finds what `cargo xtask tidy` finds.

mod imports;
mod licenses;
mod source;
mod text;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::{note, step},
    workspace::Workspace,
};

/// Something that a rule forbids, with the place.
type Problem = String;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    step("tidy: imports, module docs, sizes, licences, text");
    let problems = problems(workspace)?;
    for problem in &problems {
        note(problem);
    }
    ensure!(problems.is_empty(), "{} places are not tidy", problems.len());
    Ok(())
}

fn problems(workspace: &Workspace) -> Result<Vec<Problem>> {
    let mut problems = licenses::check(&workspace.metadata()?);
    for path in workspace.files()? {
        let Ok(content) = fs::read_to_string(workspace.root().join(&path)) else {
            continue; // Not text.
        };
        problems.extend(text::check(&path, &content));
        if path.extension().is_some_and(|extension| extension == "rs") {
            problems.extend(source::check(&path, &content));
            problems.extend(imports::check(&path, &content));
        }
    }
    let changelog = fs::read_to_string(workspace.root().join("CHANGELOG.md"));
    problems.extend(check_changelog(
        &changelog.context("failed to read CHANGELOG.md")?,
    ));
    Ok(problems)
}

fn check_changelog(content: &str) -> Option<Problem> {
    let found = content.lines().any(|line| line == "## Unreleased");
    (!found).then(|| "CHANGELOG.md has no section `## Unreleased`".to_owned())
}

fn place(path: &Path, line_index: usize) -> String {
    format!("{}:{}", path.display(), line_index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_is_tidy() {
        let problems = problems(&Workspace::find().unwrap()).unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn a_changelog_has_a_place_for_what_comes() {
        assert_eq!(check_changelog("# Changelog\n\n## Unreleased\n"), None);
        assert!(check_changelog("# Changelog\n\n## 0.1.0\n").is_some());
    }
}
