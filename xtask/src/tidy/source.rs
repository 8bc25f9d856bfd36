//! Rules for every Rust file. The length of functions is clippy's affair (`too-many-lines-threshold`).

use std::path::Path;

use super::Problem;

/// About a hundred is usual; beyond this a file has more than one subject.
const LINES_MAX: usize = 500;

pub(super) fn check(path: &Path, content: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = path.display();
    // The subject of `tests.rs` is that of the module beside it.
    let explains_itself = path.file_name().is_some_and(|name| name == "tests.rs");
    if !content.starts_with("//!") && !explains_itself {
        problems.push(format!(
            "{name}: does not begin with a `//!` that says why it exists"
        ));
    }
    let lines = content.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{name}: {lines} lines, more than {LINES_MAX}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let check = |content: &str, expect: usize| {
            assert_eq!(check(Path::new("a.rs"), content).len(), expect);
        };
        assert!(super::check(Path::new("a/tests.rs"), "use super::*;\n").is_empty());
        check("//! Why.\n", 0);
        check("use a::b;\n", 1);
        check(&"//! Why.\n".repeat(LINES_MAX), 0);
        check(&"//! Why.\n".repeat(LINES_MAX + 1), 1);
        check(&"// Why.\n".repeat(LINES_MAX + 1), 2);
    }
}
