//! `scripts/fetch-extensions` where there is nothing to fetch, and where it cannot be done. It is not run on an empty
//! folder here, since tests do not use the network.

use std::process::Command;

use memray_tests::workspace;

use super::fetch_pythons::run_with;

const SCRIPT: &str = "scripts/fetch-extensions";

#[test]
fn what_is_there_is_kept() {
    let output = Command::new(workspace().join(SCRIPT)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "fetch-extensions: greenlet and cffi for 3.8 to 3.15 are there already\n"
    );
}

#[test]
fn errors_have_hints() {
    let expect = "error: `flock` is missing\nhint: apt-get install util-linux\n";
    assert_eq!(
        run_with(SCRIPT, &["dirname", "mkdir"], &[]),
        (Some(1), expect.to_owned())
    );
}
