//! `scripts/build-musl-python` where there is nothing to build, and where it cannot be done. It is not run on an empty
//! folder here, since tests do not use the network.

use std::process::Command;

use memray_tests::{container::musl_root, workspace};

use super::fetch_pythons::run_with;

const SCRIPT: &str = "scripts/build-musl-python";

#[test]
fn what_is_there_is_kept() {
    // Fails with the command to run if it is not there.
    musl_root();
    let output = Command::new(workspace().join(SCRIPT)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "build-musl-python: CPython 3.13 is there already\n"
    );
}

#[test]
fn errors_have_hints() {
    let tools = ["dirname", "uname", "mkdir"];
    let expect = "error: `apt-get` is missing\nhint: run this on Debian, with xz-utils\n";
    assert_eq!(run_with(SCRIPT, &tools, &[]), (Some(1), expect.to_owned()));

    let other_machine = ("uname", "#!/bin/sh\necho aarch64\n");
    let expect = "error: this builds for x86_64 only, this is `aarch64`\nhint: run this on x86_64\n";
    assert_eq!(
        run_with(SCRIPT, &["dirname", "mkdir"], &[other_machine]),
        (Some(1), expect.to_owned())
    );

    let tools = [
        "awk", "cat", "chmod", "dirname", "dpkg-deb", "flock", "gcc", "grep", "id", "make", "mkdir", "rm",
        "tar", "uname", "xz",
    ];
    let apt = ("apt-get", "#!/bin/sh\nexit 100\n");
    let expect = "error: `patchelf` is missing\nhint: sudo apt-get install patchelf\n";
    assert_eq!(run_with(SCRIPT, &tools, &[apt]), (Some(1), expect.to_owned()));

    // An apt that reaches no mirror.
    let patchelf = ("patchelf", "#!/bin/sh\n");
    let expect = "error: cannot read the package index of trixie\n\
                  hint: check that http://deb.debian.org/debian can be reached\n";
    assert_eq!(
        run_with(SCRIPT, &tools, &[apt, patchelf]),
        (Some(1), expect.to_owned())
    );
}
