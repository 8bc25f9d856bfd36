//! Builds the BPF object of `memray-ebpf` into `OUT_DIR/memray-ebpf`, from where `bpf` includes it.
//!
//! Inputs: the package `memray-ebpf`, one of two compilers, and `bpf-linker`. The compiler is rustup's nightly, or
//! Debian's own (`MEMRAY_BPF_TOOLCHAIN=debian`, or when there is no usable nightly); `cargo xtask setup` fetches
//! what is missing, and every error here names that command. With `AYA_BUILD_SKIP=1` nothing is built and the object
//! is empty: enough for `cargo check` and for tests that load no program.
//!
//! `aya-build` is not used: it runs `rustup run nightly` or whatever `cargo` is in `PATH`, clears `RUSTC`, and so
//! cannot use the second compiler; and it turns each line of progress into a warning that cargo repeats for ever.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};

/// 0.10 links with LLVM 22, which is what both compilers emit; 0.13 wants LLVM 23.
const BPF_LINKER_VERSION: &str = "0.10.1";
const MEND: &str = "run `cargo xtask setup`";

/// One way to compile for `bpfel-unknown-none`.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Where the compiler's libLLVM lies: `bpf-linker` has none of its own and opens the one it finds.
    library_directory: PathBuf,
}

#[expect(
    clippy::print_stderr,
    reason = "cargo shows this, without the backtrace that `Result` would bring"
)]
/// Cargo shows the error as it is; a `Result` would bring a backtrace.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let manifest_directory = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_directory
        .parent()
        .context("the package lies in a workspace")?;
    let out_directory = PathBuf::from(variable("OUT_DIR")?);
    let object = out_directory.join("memray-ebpf");
    announce(workspace);

    if env::var_os("AYA_BUILD_SKIP").is_some_and(|value| value == "1") {
        return fs::write(&object, []).context("failed to write the empty BPF object");
    }
    require_bpf_linker()?;
    let toolchain = find_toolchain(workspace)?;
    let built = build(&toolchain, workspace, &out_directory)?;
    fs::copy(&built, &object).context("failed to copy the BPF object")?;
    Ok(())
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo sets `{name}`"))
}

fn announce(workspace: &Path) {
    for path in ["memray-ebpf/src", "memray-ebpf/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["AYA_BUILD_SKIP", "MEMRAY_BPF_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
}

fn require_bpf_linker() -> Result<()> {
    let output = Command::new("bpf-linker").arg("--version").output();
    let found = output.with_context(|| format!("`bpf-linker` is missing; {MEND}"))?;
    let version = String::from_utf8_lossy(&found.stdout);
    let version = version.trim().trim_start_matches("bpf-linker ");
    ensure!(
        version == BPF_LINKER_VERSION,
        "`bpf-linker` is version `{version}`, this needs `{BPF_LINKER_VERSION}`; {MEND}"
    );
    Ok(())
}

fn find_toolchain(workspace: &Path) -> Result<Toolchain> {
    let debian = || debian_toolchain(workspace);
    let found = match env::var("MEMRAY_BPF_TOOLCHAIN").as_deref() {
        Ok("debian") => debian()?,
        Ok("nightly") => nightly_toolchain(),
        Ok("") | Err(_) => match nightly_toolchain() {
            None => debian()?,
            nightly => nightly,
        },
        Ok(other) => bail!("`MEMRAY_BPF_TOOLCHAIN` is `{other}`, not `nightly` or `debian`"),
    };
    found.with_context(|| format!("no compiler for BPF: a nightly with rust-src is missing; {MEND}"))
}

fn nightly_toolchain() -> Option<Toolchain> {
    let output = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let complete = output.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    complete.then(|| Toolchain {
        cargo: sysroot.join("bin/cargo"),
        rustc: sysroot.join("bin/rustc"),
        library_directory: sysroot.join("lib"),
    })
}

/// The compiler that `cargo xtask setup` unpacks where rustup cannot bring a nightly. It is a stable one of another
/// version than the workspace's; cargo is the one that runs this script.
fn debian_toolchain(workspace: &Path) -> Result<Option<Toolchain>> {
    let root = workspace.join(".cache/toolchain/usr");
    let library_directory = root.join(format!("lib/{}-linux-gnu", env::consts::ARCH));
    let rustc = root.join("bin/rustc");
    if !rustc.is_file() {
        return Ok(None);
    }
    Ok(Some(Toolchain {
        cargo: PathBuf::from(variable("CARGO")?),
        rustc,
        library_directory,
    }))
}

fn build(toolchain: &Toolchain, workspace: &Path, out_directory: &Path) -> Result<PathBuf> {
    const TARGET: &str = "bpfel-unknown-none";
    let Toolchain {
        cargo,
        rustc,
        library_directory,
    } = toolchain;
    // A target directory of its own: the outer cargo holds the lock of the usual one while this runs.
    let target_directory = out_directory.join("bpf");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").context("cargo sets `CARGO_CFG_TARGET_ARCH`")?;
    // BTF carries func_info only if there is debug info; bpf_loop needs it.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    let library_path = env::join_paths(
        std::iter::once(library_directory.clone()).chain(env::split_paths(
            env::var_os("LD_LIBRARY_PATH")
                .as_deref()
                .unwrap_or(OsStr::new("")),
        )),
    )
    .context("a library directory has a colon in its name")?;

    let features = if env::var_os("CARGO_FEATURE_BPF_LOG").is_some() {
        "programs,log"
    } else {
        "programs"
    };
    let output = Command::new(cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--release",
            "--package",
            "memray-ebpf",
            "--bin",
            "memray-ebpf",
        ])
        .args([
            "--features",
            features,
            "--target",
            TARGET,
            "-Zbuild-std=core",
            "--target-dir",
        ])
        .arg(&target_directory)
        .env("RUSTC", rustc)
        // Debian's compiler is a stable one; for a nightly this changes nothing.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("LD_LIBRARY_PATH", library_path)
        // What clippy and the outer toolchain set for themselves.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTDOC")
        .output()
        .with_context(|| format!("failed to run `{}`", cargo.display()))?;
    ensure!(
        output.status.success(),
        "failed to build the BPF object with `{}`:\n{}",
        rustc.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    forward_warnings(&String::from_utf8_lossy(&output.stderr));
    Ok(target_directory.join(TARGET).join("release/memray-ebpf"))
}

/// Progress is dropped: cargo would repeat it at every later build.
fn forward_warnings(stderr: &str) {
    for line in stderr.lines().skip_while(|line| !line.starts_with("warning")) {
        println!("cargo::warning={line}");
    }
}
