//! Which tests take long. Some are ignored for other reasons, and a test runner does not tell reasons, so the sources are
//! asked.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const MARK: &str = "#[ignore = \"long\"]";
/// Of the root tests; all others need no privilege.
const ROOT_TESTS: &str = "tests/kernel/";

/// Names of functions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    unprivileged: Vec<String>,
    root: Vec<String>,
}

pub(crate) fn tests(workspace: &Workspace) -> Result<Tests> {
    let mut found = Tests::default();
    for path in workspace.files()? {
        let name = path.to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "rs") || name.starts_with("xtask/") {
            continue;
        }
        let text = fs::read_to_string(workspace.root().join(&path))
            .with_context(|| format!("cannot read `{name}`"))?;
        let tests = if name.starts_with(ROOT_TESTS) {
            &mut found.root
        } else {
            &mut found.unprivileged
        };
        tests.extend(marked(&text));
    }
    Ok(found)
}

impl Tests {
    /// A filter of nextest; none if there are no such tests.
    pub(crate) fn unprivileged(&self) -> Option<String> {
        filter("not binary(kernel)", &self.unprivileged)
    }

    pub(crate) fn root(&self) -> Option<String> {
        filter("binary(kernel)", &self.root)
    }
}

fn filter(binaries: &str, names: &[String]) -> Option<String> {
    let tests: Vec<String> = names
        .iter()
        .map(|name| format!("test(/(^|::){name}$/)"))
        .collect();
    (!tests.is_empty()).then(|| format!("{binaries} and ({})", tests.join(" or ")))
}

/// The functions behind the marks.
fn marked(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for behind in text.split(MARK).skip(1) {
        let name = behind
            .split_once("fn ")
            .map(|(_, rest)| rest.split('(').next().unwrap_or_default());
        names.extend(name.map(|name| name.trim().to_owned()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_functions_are_found() {
        let text = format!(
            "#[test]\nfn short() {{}}\n\n#[test]\n{MARK}\nfn slow() {{}}\n{MARK}\n#[test]\nfn other() {{}}"
        );
        assert_eq!(marked(&text), ["slow", "other"]);
        assert_eq!(marked("fn short() {}"), [""; 0]);
    }

    #[test]
    fn filters() {
        assert_eq!(Tests::default().root(), None);
        let tests = Tests {
            root: vec!["a".to_owned(), "b".to_owned()],
            ..Tests::default()
        };
        assert_eq!(
            tests.root().as_deref(),
            Some("binary(kernel) and (test(/(^|::)a$/) or test(/(^|::)b$/))")
        );
    }
}
