//! `scripts/fetch-pythons` where there is nothing to fetch, and where it cannot be done. It is not run on an empty
//! folder here, since tests do not use the network.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use memray_tests::{Python, workspace};

const SCRIPT: &str = "scripts/fetch-pythons";

/// Runs a script with a `PATH` of these commands of the system, and those given by their text.
pub(crate) fn run_with(script: &str, commands: &[&str], scripts: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for command in commands {
        let target = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(command));
        let target = target.into_iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(target, folder.path().join(command)).unwrap();
    }
    for (name, text) in scripts {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("/bin/bash")
        .arg(workspace().join(script))
        .arg(folder.path().join("result"))
        .env("PATH", folder.path())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_is_there_is_kept() {
    // Fails with the command to run if they are not there.
    assert!(Python::all().iter().any(|python| python.version == (3, 15)));
    let output = Command::new(workspace().join(SCRIPT)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "fetch-pythons: 3.14 3.15 are there already\n"
    );
}

#[test]
fn errors_have_hints() {
    let tools = ["dirname", "uname", "mkdir"];
    let expect = "error: `apt-get` is missing\nhint: run this on Debian\n";
    assert_eq!(run_with(SCRIPT, &tools, &[]), (Some(1), expect.to_owned()));

    let other_machine = ("uname", "#!/bin/sh\necho aarch64\n");
    let expect = "error: there are packages for x86_64 only, this is `aarch64`\nhint: run this on x86_64\n";
    assert_eq!(
        run_with(SCRIPT, &["dirname", "mkdir"], &[other_machine]),
        (Some(1), expect.to_owned())
    );

    // An apt that reaches no mirror.
    let tools = [
        "awk", "cat", "chmod", "dirname", "dpkg-deb", "flock", "grep", "id", "mkdir", "rm", "sort", "tar",
        "uname",
    ];
    let scripts = [("apt-get", "#!/bin/sh\nexit 100\n"), ("patchelf", "#!/bin/sh\n")];
    let expect = "error: cannot read the package index of forky\n\
                  hint: check that http://deb.debian.org/debian can be reached\n";
    assert_eq!(run_with(SCRIPT, &tools, &scripts), (Some(1), expect.to_owned()));
}
