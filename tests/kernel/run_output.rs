//! Where captures go, to whom they belong, what memray says of it, and with which rights it does all that.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use memray_tests::{
    behavior::{ending, folder_with, plain, run_with_input, shell_status, usual_python},
    memray::memray_binary,
    transcript,
};

const SCRIPT: &str = "block = bytearray(1_234_577)\nprint('out')\n";
/// Leaves a row for each of many allocations.
const MANY: &str = "for i in range(100):
    blocks = [bytes(600 + i % 1000) for i in range(1000)]
print('out')
";
const NOBODY: &str = "65534";

/// `memray run` with the words after it; `--python` is given.
fn memray_run(folder: &Path, words: &[&str]) -> Command {
    let mut command = plain(folder, memray_binary());
    command
        .arg("run")
        .arg("--python")
        .arg(&usual_python().program)
        .args(words);
    command
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The number of a process is another each time.
fn without_pid(text: &str) -> String {
    let parts = text.split('.').map(|part| match part.parse::<u32>() {
        Ok(_pid) => "PID",
        Err(_text) => part,
    });
    parts.collect::<Vec<_>>().join(".")
}

#[test]
fn default_names_are_memray_s() {
    let folder = folder_with(&[("sub/a.py", SCRIPT), ("sub/bin/__main__.py", SCRIPT)]);
    let folder = folder.path();
    let output = memray_run(folder, &["sub/a.py"]).output().unwrap();
    insta::assert_snapshot!(without_pid(&transcript(&output)), @"
    exit status: 0
    --- stdout
    out
    --- stderr
    Writing profile results into sub/memray-a.py.PID.db

    Wrote sub/memray-a.py.PID.db

    See where the memory of its peak came from:
      memray flamegraph sub/memray-a.py.PID.db
    or here in the terminal:
      memray summary sub/memray-a.py.PID.db
      memray tree sub/memray-a.py.PID.db
    ");
    for words in [
        &["-q", "sub/bin/"][..],
        &["-q", "-c", "pass"],
        &["-q", "-m", "json.tool", "sub/none"],
    ] {
        memray_run(folder, words).output().unwrap();
    }
    let mut command = plain(folder, memray_binary());
    assert!(
        command
            .args(["run", "-q", "--", "/bin/true"])
            .status()
            .unwrap()
            .success()
    );
    let found = [folder, &folder.join("sub")].map(|folder| {
        names(folder)
            .iter()
            .map(|name| without_pid(name))
            .collect::<Vec<_>>()
    });
    assert_eq!(
        found,
        [
            vec![
                "memray-json.tool.PID.db",
                "memray-string.PID.db",
                "memray-true.PID.db",
                "sub"
            ],
            vec!["a.py", "bin", "memray-a.py.PID.db", "memray-bin.PID.db"],
        ]
    );
}

#[test]
fn quiet_says_nothing() {
    let folder = folder_with(&[("a.py", SCRIPT)]);
    let output = memray_run(folder.path(), &["-q", "-o", "a.db", "a.py"])
        .output()
        .unwrap();
    assert_eq!(transcript(&output), "exit status: 0\n--- stdout\nout\n");
}

#[test]
fn an_older_capture_is_replaced_only_when_all_is_well() {
    let folder = folder_with(&[("a.py", SCRIPT), ("c.db", "older")]);
    let folder = folder.path();
    let older = || fs::read_to_string(folder.join("c.db")).is_ok_and(|text| text == "older");
    for (words, status) in [
        (&["-o", "c.db", "a.py"][..], 1),
        (&["-f", "-o", "c.db", "--python", "/bin/ls", "a.py"], 1),
        (&["-f", "-o", "c.db", "none.py"], 1),
    ] {
        let mut command = plain(folder, memray_binary());
        let output = command.arg("run").args(words).output().unwrap();
        assert_eq!((shell_status(&output), older()), (status, true), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let output = memray_run(folder, &["-q", "-f", "-o", "c.db", "a.py"])
        .output()
        .unwrap();
    assert!(
        output.status.success() && ending(&folder.join("c.db")).finished,
        "{output:?}"
    );
    assert_eq!(names(folder), ["a.py", "c.db"]);
}

#[test]
fn behind_sudo_the_capture_is_the_user_s() {
    let folder = folder_with(&[("a.py", SCRIPT)]);
    let mut command = memray_run(folder.path(), &["-q", "-o", "a.db", "a.py"]);
    assert!(
        command
            .env("SUDO_UID", "1234")
            .env("SUDO_GID", "77")
            .status()
            .unwrap()
            .success()
    );
    let metadata = fs::metadata(folder.path().join("a.db")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 77));
    assert_eq!(names(folder.path()), ["a.db", "a.py"]);
}

/// Runs with a file system of its own mounted at `disk`, and reads the capture there.
fn on_disk(folder: &Path, options: &str, then: &str) -> Output {
    let mut command = plain(folder, "unshare");
    let line = format!(
        "mount -t tmpfs -o {options} none disk && \"$1\" run -o disk/a.db --python \"$2\" many.py; echo status $?; ls disk; {then}"
    );
    command
        .args(["-m", "sh", "-c", &line, "sh"])
        .arg(memray_binary())
        .arg(&usual_python().program);
    run_with_input(command, b"")
}

#[test]
fn disks_that_take_nothing() {
    let folder = folder_with(&[("many.py", MANY)]);
    fs::create_dir(folder.path().join("disk")).unwrap();
    let run = |options| transcript(&on_disk(folder.path(), options, ""));
    insta::assert_snapshot!(run("ro"), @"
    exit status: 0
    --- stdout
    status 1
    --- stderr
    error: cannot create the capture `disk/a.db`
      caused by: Read-only file system (os error 30)
    hint: choose a directory on a writable disk with `--output`
    ");
    insta::assert_snapshot!(run("size=4k"), @"
    exit status: 0
    --- stdout
    status 1
    --- stderr
    error: cannot create the capture `disk/a.db`
      caused by: database or disk is full
    hint: make room or choose another directory with `--output`
    ");
}

#[test]
fn a_disk_that_fills_up() {
    let folder = folder_with(&[("many.py", MANY)]);
    fs::create_dir(folder.path().join("disk")).unwrap();
    let output = on_disk(folder.path(), "size=700k", "\"$1\" summary disk/a.db >&2");
    let text = transcript(&output);
    // The program is not the one to suffer.
    assert!(text.contains("--- stdout\nout\nstatus 4\na.db\n"), "{text}");
    assert!(
        text.contains("error: no space is left for the capture `disk/a.db`\n"),
        "{text}"
    );
    assert!(
        text.contains("<module> at") && text.contains("the disk did not take"),
        "{text}"
    );
}

/// With the capabilities that the message names, and no other right, everybody can record; the program gets none of
/// them, and its environment whole, though libc cuts that of a file with capabilities.
#[test]
fn capabilities_of_the_file_are_enough() {
    const PROGRAM: &str = "import os
print(os.environ.get('LD_LIBRARY_PATH'), os.environ.get('TMPDIR'), os.getuid())
print(*sorted(set(line.split()[1] for line in open('/proc/self/status') if line[:6] in ('CapPrm', 'CapEff', 'CapAmb'))))
";
    let folder = folder_with(&[("a.py", PROGRAM)]);
    let folder = folder.path();
    let binary = folder.join("memray");
    fs::copy(memray_binary(), &binary).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let as_nobody = |environment: &[(&str, &str)]| {
        let mut command = plain(folder, "setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(&binary);
        command.args([
            "run",
            "-q",
            "-f",
            "--python",
            "/usr/bin/python3",
            "-o",
            "a.db",
            "a.py",
        ]);
        command.envs(environment.iter().copied());
        run_with_input(command, b"")
    };
    let refused = as_nobody(&[]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    let (_, rest) = message
        .split_once("sudo setcap ")
        .unwrap_or_else(|| panic!("{message}"));
    let (capabilities, _) = rest.split_once(' ').unwrap();
    assert_eq!(
        (shell_status(&refused), names(folder)),
        (1, vec!["a.py".to_owned(), "memray".to_owned()])
    );

    // What the hint says, and not one fewer.
    let all: Vec<&str> = capabilities.strip_suffix("+ep").unwrap().split(',').collect();
    let grant = |capabilities: &[&str]| {
        let text = format!("{}+ep", capabilities.join(","));
        assert!(
            Command::new("setcap")
                .arg(text)
                .arg(&binary)
                .status()
                .unwrap()
                .success()
        );
    };
    // Where tracefs is not mounted, a right is needed that includes two of the others.
    let is_included =
        |name: &str| all.contains(&"cap_sys_admin") && ["cap_bpf", "cap_perfmon"].contains(&name);
    for left_out in all.iter().filter(|name| !is_included(name)) {
        grant(
            &all.iter()
                .filter(|name| name != &left_out)
                .copied()
                .collect::<Vec<_>>(),
        );
        let output = as_nobody(&[]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("missing {}\n", left_out.to_uppercase());
        assert!(
            shell_status(&output) == 1 && message.contains(&expected),
            "{left_out}: {message}"
        );
        assert!(message.contains(capabilities), "{left_out}: {message}");
    }
    grant(&all);
    let output = as_nobody(&[("LD_LIBRARY_PATH", "/nonexistent"), ("TMPDIR", "/var/tmp")]);
    let expected = "exit status: 0\n--- stdout\n/nonexistent /var/tmp 65534\n0000000000000000\n";
    assert_eq!(transcript(&output), expected);
    let metadata = fs::metadata(folder.join("a.db")).unwrap();
    assert_eq!(
        (metadata.uid(), ending(&folder.join("a.db")).finished),
        (65534, true)
    );
}
