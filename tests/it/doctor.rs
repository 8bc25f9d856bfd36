//! `memray doctor` without privilege: it looks at all it can, says what is missing, and fails of nothing.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
};

use memray_tests::{
    Waiting,
    behavior::{usual_python, wait_until},
    memray,
    memray::memray_binary,
    transcript,
};
use nix::unistd::{Uid, gettid};
use serde_json::Value;

/// `memray doctor` as nobody, in a folder that nobody may enter.
fn as_nobody(words: &[&str]) -> std::process::Output {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("memray");
    fs::copy(memray_binary(), &binary).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(binary);
    command.arg("doctor").args(words).stdin(Stdio::null());
    if Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

fn finding<'value>(findings: &'value Value, name: &str) -> &'value Value {
    let mut findings = findings.as_array().unwrap().iter();
    let found = findings.find(|finding| finding["name"] == name);
    found.unwrap_or_else(|| panic!("no finding is named `{name}`"))
}

#[test]
fn missing_privileges_are_named() {
    let output = as_nobody(&["--json"]);
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stderr.is_empty(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["works"], false);
    assert_eq!(document["process"], Value::Null);
    let capabilities = finding(&document["user"], "capabilities");
    assert_eq!(capabilities["state"], "missing");
    for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"] {
        assert!(capabilities["text"].as_str().unwrap().contains(name), "{said}");
    }
    assert!(capabilities["hint"].as_str().unwrap().contains("sudo"), "{said}");
    for way in ["run", "attach", "follow_fork"] {
        assert_eq!(document["verdict"][way]["state"], "missing", "{said}");
    }
    // What could not be tried is not said to be absent.
    for row in document["kernel"].as_array().unwrap() {
        assert_ne!(row["state"], "missing", "{said}");
    }
    let text = String::from_utf8(as_nobody(&[]).stdout).unwrap();
    assert!(text.contains("  missing  capabilities"), "{text}");
    assert!(text.lines().all(|line| !line.contains('\x1b')), "{text}");
}

#[test]
fn processes_of_others_are_out_of_reach() {
    // Root's own is not there for nobody; without root there is no other to ask for.
    if !Uid::effective().is_root() {
        let said = transcript(&as_nobody(&["1"]));
        assert!(said.contains("no permission to look into process 1"), "{said}");
        return;
    }
    let pid = std::process::id().to_string();
    let said = transcript(&as_nobody(&[&pid])).replace(&pid, "PID");
    assert_eq!(
        said,
        "exit status: 1\n--- stderr\nerror: no permission to look into process PID\n  caused by: Permission denied \
         (os error 13)\nhint: run memray as root, or grant it CAP_SYS_PTRACE (setcap or sudo)\n"
    );
}

fn doctor(pid: u32) -> String {
    let output = memray("/".as_ref()).args(["doctor", &pid.to_string()]).output();
    transcript(&output.unwrap())
}

#[test]
fn what_is_no_process() {
    // Beyond any pid_max.
    assert_eq!(
        doctor(1 << 30),
        "exit status: 1\n--- stderr\nerror: no process has the id 1073741824\nhint: `ps -e` lists the processes and their \
         numbers, which in a container are the container's own\n"
    );
    let pid = std::process::id();
    std::thread::spawn(move || {
        let tid = gettid().as_raw().cast_unsigned();
        assert_eq!(
            doctor(tid),
            format!(
                "exit status: 1\n--- stderr\nerror: {tid} is not a process but a thread of process {pid}\nhint: use \
                 {pid}\n"
            )
        );
    })
    .join()
    .unwrap();
}

fn wait_for_zombie(pid: u32) {
    wait_until("a zombie", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ").then_some(())
    });
}

#[test]
fn processes_that_have_ended() {
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    wait_for_zombie(pid);
    let said = doctor(pid);
    child.wait().unwrap();
    assert!(
        said.contains(&format!(
            "error: process {pid} has ended and is only waited for by its parent"
        )),
        "{said}"
    );

    // exit(2) of Linux ends one thread.
    let code = "import ctypes, os, threading; threading.Thread(target=os.read, args=(0, 1)).start(); \
                print('ready', flush=True); ctypes.CDLL(None).syscall(60, 0)";
    let waiting = Waiting::start(usual_python().command().args(["-c", code]));
    let pid = waiting.pid();
    wait_for_zombie(pid);
    let said = doctor(pid);
    assert!(
        said.contains("limited  first thread") && said.contains("interpreter         CPython"),
        "{said}"
    );
}
