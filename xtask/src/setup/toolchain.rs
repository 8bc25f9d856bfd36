//! What compiles and links the BPF object: a nightly with `rust-src`, or Debian's own compiler; and `bpf-linker`.
//!
//! `memray-user/build.rs` uses what this leaves behind and looks for it in the same order.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::{execute, exists, note, output, probe, step},
    workspace::Workspace,
};

/// 0.10 links with LLVM 22, which is what both compilers emit; 0.13 wants LLVM 23.
const BPF_LINKER_VERSION: &str = "0.10.1";

pub(super) fn install(workspace: &Workspace) -> Result<()> {
    install_compiler(workspace)?;
    install_linker(workspace)
}

/// The format is checked with a nightly's rustfmt; where none can be had, `test` says so and goes on.
pub(super) fn install_rustfmt() {
    step("formatter: rustfmt of the nightly");
    if probe("rustup", &["run", "nightly", "rustfmt", "--version"]).is_some() {
        note("there");
    } else if probe(
        "rustup",
        &["component", "add", "rustfmt", "--toolchain", "nightly"],
    )
    .is_none()
    {
        note("not to be had: the format will not be checked");
    }
}

fn install_compiler(workspace: &Workspace) -> Result<()> {
    step("compiler for BPF: a nightly with rust-src, or Debian's");
    let debian_wanted = env::var_os("MEMRAY_BPF_TOOLCHAIN").is_some_and(|value| value == "debian");
    if !debian_wanted {
        if nightly_is_complete() {
            note("nightly with rust-src");
            return Ok(());
        }
        match install_nightly(workspace) {
            Ok(()) => return Ok(()),
            Err(error) => note(&format!("{error:#}; Debian's compiler will do")),
        }
    }
    install_debian(workspace)
}

fn nightly_is_complete() -> bool {
    probe("rustup", &["run", "nightly", "rustc", "--print", "sysroot"]).is_some_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}

fn install_nightly(workspace: &Workspace) -> Result<()> {
    ensure!(exists("rustup"), "there is no `rustup`");
    let mut rustup = workspace.command("rustup");
    if probe("rustup", &["run", "nightly", "rustc", "--version"]).is_some() {
        rustup.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
    } else {
        rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        rustup.args(["--component", "rust-src", "--component", "rustfmt"]);
    }
    execute(&mut rustup)?;
    ensure!(
        nightly_is_complete(),
        "the nightly that rustup installed has no rust-src"
    );
    Ok(())
}

/// Unpacks Debian's compiler beside the work tree's other caches, without installing it: the archive's `rustc-web`
/// is a newer compiler than the distribution's `rustc`, kept for browsers.
fn install_debian(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root().join(".cache/toolchain");
    let rustc = folder.join("usr/bin/rustc");
    if rustc.is_file() {
        note("Debian's rustc-web, unpacked before");
        return Ok(());
    }
    ensure!(
        exists("apt-get") && exists("dpkg"),
        "there is neither a usable rustup nor Debian's archive; `rustup toolchain install nightly --component rust-src`"
    );
    // Unpacked aside and moved at the end, so that an interruption leaves nothing that looks complete.
    let unpacked = workspace.root().join(".cache/toolchain.partial");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("failed to remove an unfinished unpacking")?;
    }
    fs::create_dir_all(&unpacked).context("failed to create the folder of the compiler")?;
    unpack_debian(&unpacked).context("failed to unpack Debian's compiler")?;
    let compiler = unpacked.join("usr/bin/rustc");
    let libraries = unpacked.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
    let version = output(
        workspace
            .command(&compiler.to_string_lossy())
            .arg("-V")
            .env("LD_LIBRARY_PATH", libraries),
    )
    .context("Debian's compiler was unpacked but does not run")?;
    note(version.trim());
    fs::rename(&unpacked, &folder).context("failed to move the compiler to its place")
}

fn unpack_debian(folder: &Path) -> Result<()> {
    // The name of this one carries the version that the others must have.
    download(folder, &["libstd-rust-web-1.96"])?;
    let version = version_of(&find_package(folder, "libstd-rust-web-1.96_")?)?;
    let same = |name: &str| format!("{name}={version}");
    download(
        folder,
        &[
            &same("rustc-web"),
            &same("libstd-rust-web-dev"),
            &same("rust-web-src"),
            "libllvm22",
            "libedit2",
            "libz3-4",
        ],
    )?;
    // Libraries that libLLVM needs and a small system may lack.
    download(folder, &["libxml2", "libffi8", "libbsd0", "libmd0"])?;
    for entry in fs::read_dir(folder).context("failed to list the packages")? {
        let path = entry.context("failed to list the packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            execute(
                std::process::Command::new("dpkg")
                    .arg("-x")
                    .arg(&path)
                    .arg(folder),
            )?;
            fs::remove_file(&path).with_context(|| format!("failed to remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// `apt-get download` writes into the current folder, needs no root and takes the package lists as they are; if they
/// are absent or too old for the archive, they are renewed once.
fn download(folder: &Path, packages: &[&str]) -> Result<()> {
    let once = || {
        execute(
            std::process::Command::new("apt-get")
                .args(["download", "--quiet"])
                .args(packages)
                .current_dir(folder),
        )
    };
    once().or_else(|_first| {
        execute(crate::command::as_root("apt-get")?.args(["update", "--quiet"]))?;
        once()
    })
}

fn find_package(folder: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(folder)
        .context("failed to list the packages")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .with_context(|| format!("`apt-get download` left no file named `{prefix}*`"))
}

/// `name_1.2%3a3-4_amd64.deb` is version `1.2:3-4`.
fn version_of(package: &Path) -> Result<String> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .split('_')
        .nth(1)
        .with_context(|| format!("`{name}` is no name of a Debian package"))?;
    Ok(version.replace("%3a", ":"))
}

fn install_linker(workspace: &Workspace) -> Result<()> {
    step("linker for BPF: bpf-linker");
    let found = probe("bpf-linker", &["--version"]);
    if let Some(found) = found.as_deref().map(str::trim) {
        if found.ends_with(&format!(" {BPF_LINKER_VERSION}")) {
            note(found);
            return Ok(());
        }
        note(&format!("{found} is not the version that fits the compiler"));
    }
    let install = [
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER_VERSION,
        "--locked",
        "--force",
    ];
    execute(workspace.command("cargo").args(install))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_packages() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(version_of(Path::new(name)).ok().as_deref(), expect, "{name}");
        };
        check(
            "/x/libstd-rust-web-1.96_1.96.0+dfsg1-1~deb12u2_amd64.deb",
            Some("1.96.0+dfsg1-1~deb12u2"),
        );
        check(
            "libllvm22_1%3a22.1.8-1~deb12u1_amd64.deb",
            Some("1:22.1.8-1~deb12u1"),
        );
        check("README", None);
    }
}
