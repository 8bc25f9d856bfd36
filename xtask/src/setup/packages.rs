//! Programs and libraries that come from the distribution.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::command::{as_root, execute, exists, note, step};

/// What a Debian package brings, and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Package {
    /// A program by its name, or a library by its path.
    brings: &'static str,
    name: &'static str,
    reason: &'static str,
}

const C_COMPILER: Package = Package {
    brings: "cc",
    name: "gcc libc6-dev",
    reason: "links every binary, compiles SQLite",
};
const PYTHON: Package = Package {
    brings: "python3",
    name: "python3",
    reason: "runs what is recorded",
};

pub(super) const FOR_DEMO: &[Package] = &[C_COMPILER, PYTHON];

pub(super) const FOR_TESTS: &[Package] = &[
    C_COMPILER,
    PYTHON,
    Package {
        brings: "c++",
        name: "g++",
        reason: "compiles a library of the tests",
    },
    Package {
        brings: "patchelf",
        name: "patchelf",
        reason: "gives fetched interpreters their own libc",
    },
    Package {
        brings: "sqlite3",
        name: "sqlite3",
        reason: "reads captures independently of our own reader",
    },
    Package {
        brings: "node",
        name: "nodejs",
        reason: "tests the scripts of the HTML reports",
    },
    Package {
        brings: "xz",
        name: "xz-utils",
        reason: "unpacks Debian packages",
    },
    Package {
        brings: "make",
        name: "make",
        reason: "builds an interpreter on musl",
    },
    Package {
        brings: "gdb",
        name: "gdb",
        reason: "debugs programs that are recorded",
    },
    Package {
        brings: "bwrap",
        name: "bubblewrap",
        reason: "runs programs in containers",
    },
    Package {
        brings: "mkfs.ext4",
        name: "e2fsprogs",
        reason: "makes small disks that are soon full",
    },
    Package {
        brings: "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
        name: "libjemalloc2",
        reason: "an allocator in place of the C library's",
    },
    Package {
        brings: "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
        name: "libtcmalloc-minimal4",
        reason: "an allocator in place of the C library's",
    },
    Package {
        brings: "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0",
        name: "libmimalloc2.0",
        reason: "an allocator in place of the C library's",
    },
];

pub(super) fn install(packages: &[Package]) -> Result<()> {
    step("packages of the distribution");
    let missing = missing(packages, is_there);
    if missing.is_empty() {
        note("all there");
        return Ok(());
    }
    for package in &missing {
        note(&format!("`{}` is missing: {}", package.brings, package.reason));
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

fn is_there(brought: &str) -> bool {
    if brought.starts_with('/') {
        return Path::new(brought).exists();
    }
    exists(brought)
}

fn missing(packages: &[Package], exists: impl Fn(&str) -> bool) -> Vec<Package> {
    packages
        .iter()
        .copied()
        .filter(|package| !exists(package.brings))
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

    #[test]
    fn libraries_are_files() {
        assert!(is_there("/proc/self/exe"));
        assert!(!is_there("/proc/self/nothing"));
        assert!(!is_there("a program that nobody has"));
    }
}
