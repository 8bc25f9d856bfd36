//! Rules for every text file.

use std::path::Path;

use super::{Problem, place};

/// Texts that are not ours to change.
const VERBATIM: [&str; 5] = [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "LICENSE-GPL2",
    "Cargo.lock",
    ".snap",
];

/// Folders of one person's machine, without their slashes so that this file does not name them. In Rust `home` is the
/// home of people whom a test makes up.
const MACHINE_FOLDERS: [&str; 3] = ["root", "work", "home"];

pub(super) fn check(path: &Path, content: &str) -> Vec<Problem> {
    let name = path.to_string_lossy();
    if VERBATIM.iter().any(|end| name.ends_with(end)) {
        return Vec::new();
    }
    let is_rust = name.ends_with(".rs");
    let mut problems = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let mut add = |what: &str| problems.push(format!("{}: {what}", place(path, index)));
        if line.contains('\t') {
            add("a tab");
        }
        if line.ends_with(' ') {
            add("a space at the end of the line");
        }
        for folder in MACHINE_FOLDERS {
            if !(is_rust && folder == "home") && line.contains(&format!("/{folder}/")) {
                add(&format!("a path of one machine: `/{folder}/`"));
            }
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        problems.push(format!("{name}: no newline at the end"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |content: &str, expect: &[&str]| {
            assert_eq!(check(Path::new("a.rs"), content), expect, "{content:?}");
        };
        check("let a = 1;\n", &[]);
        check("", &[]);
        check("a\n\tb\n", &["a.rs:2: a tab"]);
        check("a \n", &["a.rs:1: a space at the end of the line"]);
        check("a", &["a.rs: no newline at the end"]);
        check(
            &format!("/{}/x\n", "root"),
            &[&format!("a.rs:1: a path of one machine: `/{}/`", "root")],
        );
        check("/usr/home\n", &[]);
    }

    #[test]
    fn texts_of_others_are_left_alone() {
        assert!(check(Path::new("memray-ebpf/LICENSE-GPL2"), "a\t \n").is_empty());
    }
}
