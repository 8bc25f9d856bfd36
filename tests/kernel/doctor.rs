//! `memray doctor PID` of running programs: what would be probed in each interpreter, and why others cannot be
//! recorded.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use memray_tests::{
    Python, Waiting,
    behavior::{folder_with, plain},
    elf32, memray, transcript,
};
use memray_user::bpf::supports_uprobe_multi;
use serde_json::Value;

/// A Python that says that it runs, and waits.
const WAIT: &str = "import sys; print('ready'); sys.stdout.flush(); sys.stdin.read()";

fn doctor(words: &[&str]) -> Output {
    memray("/".as_ref()).arg("doctor").args(words).output().unwrap()
}

fn document(pid: u32) -> Value {
    let output = doctor(&["--json", &pid.to_string()]);
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stderr.is_empty(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'value>(findings: &'value Value, name: &str) -> &'value str {
    let mut findings = findings.as_array().unwrap().iter();
    let found = findings.find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no finding is named `{name}`"));
    found["text"].as_str().unwrap()
}

/// The probed functions of the file whose name begins so.
fn probed(process: &Value, file: &str) -> Vec<String> {
    let objects = process["objects"].as_array().unwrap().iter();
    let of_file = objects.filter(|object| {
        let path = Path::new(object["path"].as_str().unwrap());
        path.file_name().unwrap().to_string_lossy().starts_with(file)
    });
    of_file
        .flat_map(|object| object["probes"].as_array().unwrap())
        .map(|probe| probe["function"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_interpreter_is_understood() {
    Python::each(|python| {
        let waiting = Waiting::start(python.command().args(["-c", WAIT]));
        let document = document(waiting.pid());
        let name = python.name();
        assert_eq!(document["works"], true, "{name}");
        let process = &document["process"];
        let (major, minor) = python.version;
        let version = process["python_version"].as_str().unwrap();
        assert!(
            version.starts_with(&format!("{major}.{minor}.")),
            "{name}: {version}"
        );
        let functions = probed(process, "libc.so.6");
        for function in ["malloc", "calloc", "realloc", "free"] {
            assert!(
                functions.iter().any(|found| found == function),
                "{name}: {functions:?}"
            );
        }
        let findings = &process["findings"];
        let offsets = text(findings, "offsets");
        assert_eq!(
            offsets.contains("_Py_DebugOffsets"),
            python.version >= (3, 13),
            "{name}: {offsets}"
        );
        let thread_state = text(findings, "thread state");
        assert_eq!(
            thread_state.contains("pthread key"),
            python.version < (3, 15),
            "{name}: {thread_state}"
        );
        assert!(
            thread_state.ends_with("as the code of `PyGILState_GetThisThreadState` says"),
            "{name}: {thread_state}"
        );
        assert!(
            text(findings, "dynamic loader").contains("/ld-linux-x86-64.so.2"),
            "{name}"
        );
        assert!(text(findings, "c library").starts_with("glibc 2."), "{name}");
        let destroyed = process["objects"].as_array().unwrap().iter();
        let n_destroyed = destroyed
            .flat_map(|object| object["probes"].as_array().unwrap())
            .filter(|probe| probe["function"] == "code_dealloc")
            .count();
        assert_eq!(n_destroyed, 1, "{name}");
    });
}

/// This very machine records in the other tests, so here nothing may be missing.
#[test]
fn this_machine_is_well() {
    let output = doctor(&[]);
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("missing") && !said.contains("unknown"), "{said}");
    assert_eq!(
        supports_uprobe_multi(),
        said.contains("ok       multi-uprobe links"),
        "{said}"
    );
}

#[test]
fn other_namespaces_are_named() {
    let python = Python::of_pyenv(12);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    let waiting = Waiting::start(command.arg(&python.program).args(["-c", WAIT]));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", waiting.pid())).unwrap();
    let document = document(children.trim().parse().unwrap());
    let process = &document["process"];
    assert_eq!(
        text(&process["findings"], "namespaces"),
        "others than ours: mnt, pid; its files are reached through /proc; it knows itself as process 1"
    );
    assert!(probed(process, "libc.so.6").contains(&"malloc".to_owned()));
}

/// An i386 program that writes a line and waits for a signal.
fn elf32() -> Vec<u8> {
    // write(1, the byte behind the code, 1); pause().
    let mut code = vec![0xb8, 4, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9];
    let newline_at = elf32::ENTRY + 11 + 4 + 5 + 2 + 5 + 2;
    code.extend(newline_at.to_le_bytes());
    code.extend([0xba, 1, 0, 0, 0, 0xcd, 0x80, 0xb8, 29, 0, 0, 0, 0xcd, 0x80, b'\n']);
    elf32::program(&code)
}

/// What stands in the way of a recording of a program, and the verdict; what else is said depends on the machine.
fn refusal(command: &mut Command) -> String {
    let waiting = Waiting::start(command);
    let output = doctor(&["--json", &waiting.pid().to_string()]);
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["works"], false);
    let mut text = String::new();
    let verdict = document["verdict"].as_object().unwrap().values();
    for finding in document["process"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .chain(verdict)
    {
        if finding["state"] == "missing" {
            let part = |name: &str| finding[name].as_str().unwrap_or("none").to_owned();
            let (name, told, hint) = (part("name"), part("text"), part("hint"));
            text.extend([&name, ": ", &told, "\n  hint: ", &hint, "\n"]);
        }
    }
    text
}

#[test]
fn programs_that_cannot_be_recorded() {
    const SAY_AND_WAIT: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        int main(void) { free(malloc(9)); puts(\"ready\"); fflush(stdout); pause(); return 0; }\n";
    let folder = folder_with(&[("s.c", SAY_AND_WAIT)]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("elf32"), elf32()).unwrap();
    fs::set_permissions(path("elf32"), fs::Permissions::from_mode(0o755)).unwrap();
    for flags in [&["-o", "plain"][..], &["-static", "-s", "-o", "static"]] {
        let mut compiler = plain(folder.path(), "cc");
        assert!(compiler.args(flags).arg("s.c").status().unwrap().success());
    }
    let home = Python::of_pyenv(12).program;
    let versions = home.ancestors().nth(3).unwrap();
    let mut said = String::new();
    for name in ["elf32", "static", "plain"] {
        said.extend(["$ ", name, "\n", &refusal(&mut Command::new(path(name))), "\n"]);
    }
    for version in ["2.7.18", "3.7.16"] {
        let python = versions.join(version).join("bin/python");
        let told = refusal(Command::new(python).args(["-c", WAIT]));
        said.extend(["$ python ", version, "\n", &told, "\n"]);
    }
    let said = said
        .replace(&*folder.path().to_string_lossy(), "[folder]")
        .replace(&*versions.to_string_lossy(), "[versions]");
    insta::assert_snapshot!(said);
}

#[test]
fn threads_of_the_kernel() {
    let comm = fs::read_to_string("/proc/2/comm").unwrap();
    assert_eq!(
        comm.trim(),
        "kthreadd",
        "the tests with root run in the first pid namespace"
    );
    assert_eq!(
        transcript(&doctor(&["2"])),
        "exit status: 1\n--- stderr\nerror: process 2 is a thread of the kernel, which has no memory of its own\n\
         hint: name a process that runs a program; `pgrep -a python` lists those of Python\n"
    );
}
