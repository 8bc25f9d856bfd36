//! Programs that come from the distribution.

use anyhow::{Context as _, Result, bail};

use crate::command::{as_root, execute, exists, note, step};

/// A program, the Debian package that brings it, and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Package {
    program: &'static str,
    name: &'static str,
    reason: &'static str,
}

const C_COMPILER: Package = Package {
    program: "cc",
    name: "gcc libc6-dev",
    reason: "links every binary, compiles SQLite",
};
const PYTHON: Package = Package {
    program: "python3",
    name: "python3",
    reason: "runs what is recorded",
};

pub(super) const FOR_DEMO: &[Package] = &[C_COMPILER, PYTHON];

pub(super) const FOR_TESTS: &[Package] = &[
    C_COMPILER,
    PYTHON,
    Package {
        program: "patchelf",
        name: "patchelf",
        reason: "gives fetched interpreters their own libc",
    },
    Package {
        program: "sqlite3",
        name: "sqlite3",
        reason: "reads captures independently of our own reader",
    },
    Package {
        program: "node",
        name: "nodejs",
        reason: "tests the scripts of the HTML reports",
    },
    Package {
        program: "xz",
        name: "xz-utils",
        reason: "unpacks Debian packages",
    },
];

pub(super) fn install(packages: &[Package]) -> Result<()> {
    step("packages of the distribution");
    let missing = missing(packages, exists);
    if missing.is_empty() {
        note("all there");
        return Ok(());
    }
    for package in &missing {
        note(&format!("`{}` is missing: {}", package.program, package.reason));
    }
    let names: Vec<&str> = missing
        .iter()
        .flat_map(|package| package.name.split(' '))
        .collect();
    if !exists("apt-get") {
        bail!(
            "there is no `apt-get` here; install what Debian calls {}",
            names.join(", ")
        );
    }
    let by_hand = || format!("install them by hand: `apt-get install {}`", names.join(" "));
    // Package lists of a fresh machine may be absent or name versions that are gone.
    execute(
        as_root("apt-get")
            .with_context(by_hand)?
            .args(["update", "--quiet"]),
    )
    .with_context(by_hand)?;
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    execute(
        as_root("env")?
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(options)
            .args(&names),
    )
    .with_context(by_hand)
}

fn missing(packages: &[Package], exists: impl Fn(&str) -> bool) -> Vec<Package> {
    packages
        .iter()
        .copied()
        .filter(|package| !exists(package.program))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let missing = missing(FOR_TESTS, |program| program != "patchelf");
        assert_eq!(
            missing.iter().map(|package| package.name).collect::<Vec<_>>(),
            ["patchelf"]
        );
    }
}
