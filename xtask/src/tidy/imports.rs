//! Who may import whom in `memray-user`, and which module alone may use which foreign crate.
//!
//! The tables are the architecture: data flows one way, and what may break an API (aya, SQLite) has one door.
//! Code below `#[cfg(test)] mod` and files named `tests` or in such a folder may import what they like.

mod paths;

use std::path::Path;

use self::paths::Import;
use super::Problem;

const ANY: &[&str] = &["*"];

/// Module, and the modules that its code may name.
const MODULES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("units", &[]),
    ("escape", &[]),
    ("target", &["model", "units"]),
    ("cpython", &["model", "units", "target"]),
    ("probes", &["model", "units", "target", "cpython"]),
    ("bpf", &["model", "units", "target", "cpython", "probes"]),
    ("store", &["model", "units"]),
    ("ingest", &["model", "units", "cpython"]),
    (
        "session",
        &[
            "model", "units", "target", "cpython", "probes", "bpf", "ingest", "store",
        ],
    ),
    ("analysis", &["model"]),
    ("report", &["model", "units", "escape", "analysis"]),
    (
        "doctor",
        &["units", "escape", "target", "cpython", "probes", "bpf", "report"],
    ),
    ("error", &["model", "units"]),
    ("printer", &["units", "escape"]),
    ("cli", ANY),
    ("main", &["cli", "error", "printer"]),
    ("lib", &[]),
];

/// Crate, and the modules that may name it; a longer path narrows to a submodule.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "error", "main"]),
    ("aya", &["bpf"]),
    ("aya_log", &["bpf"]),
    ("aya_obj", &["bpf"]),
    ("clap", &["cli"]),
    ("comfy_table", &["report"]),
    ("iced_x86", &["cpython", "probes"]),
    ("indicatif", &["printer"]),
    ("inferno", &["report"]),
    ("log", &["bpf"]),
    ("libc", &["target", "bpf", "ingest", "store::writer", "cli"]),
    ("nix", &["target", "bpf", "session", "store::writer", "cli"]),
    ("object", &["target", "cpython"]),
    ("rusqlite", &["store"]),
    ("signal_hook", &["session", "cli"]),
];

pub(super) fn check(path: &Path, content: &str) -> Vec<Problem> {
    let Ok(inside) = path.strip_prefix("memray-user/src") else {
        return Vec::new();
    };
    let module = module_of(inside);
    if module.iter().any(|name| name == "tests") {
        return Vec::new();
    }
    let top = module.first().map_or("", String::as_str);
    let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == top) else {
        return vec![format!(
            "{}: module `{top}` is not in the table of imports",
            path.display()
        )];
    };
    let mut problems = Vec::new();
    for Import { root, child, line } in paths::imports(content) {
        let mut add = |what: String| problems.push(format!("{}:{line}: {what}", path.display()));
        if root == "super" {
            let depth = module.len();
            if child.len() >= depth && child.len() >= 2 {
                add(
                    "reaches the top by `super`; write `crate::`, which the table of imports can see"
                        .to_owned(),
                );
            }
        } else if root == "crate" || (root == "memray_user" && top == "main") {
            let fine = child == top || *allowed == ANY || allowed.contains(&child.as_str());
            if !fine {
                add(format!("`{top}` must not import `{child}`"));
            }
        } else if let Some((_, owners)) = CRATES.iter().find(|(name, _)| *name == root)
            && !owners.iter().any(|owner| is_inside(&module, owner))
        {
            add(format!("`{root}` is for {} alone", owners.join(", ")));
        }
    }
    problems
}

/// `store/reader/rows.rs` is `[store, reader, rows]`, `store/mod.rs` is `[store]`.
fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn is_inside(module: &[String], owner: &str) -> bool {
    let owner: Vec<&str> = owner.split("::").collect();
    module.len() >= owner.len() && owner.iter().zip(module).all(|(wanted, part)| wanted == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_follow_the_table() {
        let check = |path: &str, content: &str, expect: &[&str]| {
            let path = format!("memray-user/src/{path}");
            let expect: Vec<String> = expect.iter().map(|what| format!("{path}:1: {what}")).collect();
            assert_eq!(check(Path::new(&path), content), expect, "{content}");
        };
        check("store/reader.rs", "use crate::model::View;\n", &[]);
        check(
            "store/reader.rs",
            "use crate::{store::schema, model::View};\n",
            &[],
        );
        check(
            "store/reader.rs",
            "use crate::report;\n",
            &["`store` must not import `report`"],
        );
        check(
            "analysis/tree.rs",
            "let a = crate::store::open();\n",
            &["`analysis` must not import `store`"],
        );
        check(
            "analysis/mod.rs",
            "use crate::{model, store::{a, b}};\n",
            &["`analysis` must not import `store`"],
        );
        check("cli/run.rs", "use crate::store;\n", &[]);
        check(
            "main.rs",
            "use memray_user::store;\n",
            &["`main` must not import `store`"],
        );
        check(
            "report/tree.rs",
            "use rusqlite::Connection;\n",
            &["`rusqlite` is for store alone"],
        );
        check(
            "ingest/decode.rs",
            "use nix::sys;\n",
            &["`nix` is for target, bpf, session, store::writer, cli alone"],
        );
        check("session/mod.rs", "use nix::sys;\n", &[]);
        check("report/tests.rs", "use crate::store;\n", &[]);
        check("report/tests/all.rs", "use crate::store;\n", &[]);
        check(
            "report/a.rs",
            "#[cfg(test)]\nmod tests { use crate::store; }\n",
            &[],
        );
        check(
            "report/a.rs",
            "// crate::store\nconst A: &str = \"crate::store\";\n",
            &[],
        );
        let by_super = "reaches the top by `super`; write `crate::`, which the table of imports can see";
        check("report/a.rs", "use super::super::store;\n", &[by_super]);
        check("report/a/b.rs", "use super::super::c;\n", &[]);
    }

    #[test]
    fn a_new_module_needs_a_row() {
        let problems = check(Path::new("memray-user/src/news.rs"), "");
        assert_eq!(
            problems,
            ["memray-user/src/news.rs: module `news` is not in the table of imports"]
        );
    }

    #[test]
    fn other_packages_are_not_in_the_table() {
        assert!(check(Path::new("xtask/src/main.rs"), "use crate::store;").is_empty());
    }
}
