//! Detection on live interpreters of every version: the configuration that the BPF programs get leads to the
//! thread states, frames and names that the program itself reports.

mod embedded;
mod errors;
mod launch;
mod reader;
mod variables;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use launch::{Running, at_entry};
use memray_ebpf::event::{RecordHeader, RecordKind, ThreadRecord};
use memray_tests::{Python, container::musl_root, program, workspace};
use memray_user::{
    cpython::{self, Interpreter},
    target::{elf::ElfFile, loader::Loader, process::Process},
};
use reader::{Frame, Reader};
use serde::Deserialize;

/// What `threads.py` says of a thread.
#[derive(Debug, Deserialize)]
struct Expected {
    ident: u64,
    #[serde(rename = "self")]
    thread_object: Option<u64>,
    name: Option<String>,
    caller: Option<String>,
    holds_gil: bool,
}

fn detect(process: &Process) -> Interpreter {
    let objects = process.objects().unwrap();
    cpython::detect(process, &objects)
        .unwrap_or_else(|error| panic!("{error:?}"))
        .expect("there is an interpreter")
}

fn thread_record(state: u64, bootstrap_self: u64) -> ThreadRecord {
    ThreadRecord {
        header: RecordHeader {
            kind: RecordKind::ThreadSeen as u8,
            allocator: 0,
            flags: 0,
            tid: 0,
            pid: 0,
            reserved: 0,
            time_ns: 0,
        },
        thread_state: state,
        bootstrap_self,
        comm: [0; 16],
    }
}

/// The line of `threads.py` that holds this text.
fn line_of(text: &str) -> u32 {
    let source = std::fs::read_to_string(program("threads.py")).unwrap();
    let index = source.lines().position(|line| line.contains(text)).unwrap();
    u32::try_from(index).unwrap() + 1
}

fn check_thread(reader: &Reader<'_>, expected: &Expected) {
    let fs = expected.ident;
    let state = reader.bound_state(fs);
    assert_eq!(reader.thread_id(state), fs, "bound state of {expected:?}");
    let attached = reader.attached_state(fs);
    assert_eq!(attached.is_some(), reader.interpreter.version.minor >= 12);
    if let Some(attached) = attached {
        let expect = if expected.holds_gil { state } else { 0 };
        assert_eq!(attached, expect, "attached state of {expected:?}");
    }

    let (frames, first_local) = reader.frames(state);
    let script = program("threads.py").to_str().unwrap().to_owned();
    assert_eq!(frames[0].file, script);
    if expected.holds_gil {
        assert_eq!(frames[0].name, "spin");
        let lines = [line_of("while True:"), line_of("        pass")];
        assert!(lines.contains(&frames[0].line), "{frames:?}");
    } else {
        let blocked = Frame {
            name: "blocked".to_owned(),
            file: script,
            line: line_of("os.read(reader, 1)"),
        };
        assert_eq!(frames[0], blocked, "{expected:?}");
    }
    if let Some(caller) = &expected.caller {
        assert_eq!(frames[1].name, *caller, "{expected:?}");
    }
    if let Some(thread_object) = expected.thread_object {
        assert_eq!(first_local & !7, thread_object, "{expected:?} in {frames:?}");
    }
    let name = cpython::thread_name(
        reader.process,
        reader.interpreter,
        &thread_record(state, first_local),
        cpython::Evidence::Held,
    );
    assert_eq!(name, expected.name, "{expected:?}");
}

/// Runs `threads.py` by this command and compares; returns what was detected.
fn check_program(command: &mut Command) -> Interpreter {
    let (running, lines) = Running::until_ready(command.arg(program("threads.py")));
    let process = running.process();
    let interpreter = detect(&process);
    let reader = Reader {
        process: &process,
        interpreter: &interpreter,
    };
    let expected: Vec<Expected> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(expected.len() > 30, "only {} threads", expected.len());
    for expected in &expected {
        check_thread(&reader, expected);
    }
    interpreter
}

/// Compares with the symbol where the file has it.
fn check_code_dealloc(interpreter: &Interpreter) {
    let file = ElfFile::open(&interpreter.object_path).unwrap();
    let bias = interpreter.runtime_avma - file.symbol("_PyRuntime").unwrap().svma;
    let dealloc = interpreter.code_dealloc_avma.expect("code_dealloc is known");
    if let Some(symbol) = file.symbol("code_dealloc") {
        assert_eq!(dealloc, symbol.svma + bias);
    }
}

fn check(python: &Python) {
    let live = check_program(&mut python.command());
    assert_eq!(live.version.minor_version(), python.version);
    let reported = python
        .command()
        .args(["-c", "import platform; print(platform.python_version())"])
        .output();
    let reported = String::from_utf8(reported.unwrap().stdout).unwrap();
    assert_eq!(live.version.to_string(), reported.trim());
    assert_eq!(live.python_allocator, "pymalloc");
    check_code_dealloc(&live);

    // Before anything of Python has run the answer must be the same, but for where libraries were loaded.
    let early = at_entry(&python.command(), detect);
    assert_eq!(early.version, live.version);
    assert_eq!(early.offsets, live.offsets);
    let normalized = |interpreter: &Interpreter| {
        let mut source = interpreter.config.thread_state;
        let base = interpreter.runtime_avma;
        for address in [&mut source.tss_key_address, &mut source.gil_holder_address] {
            *address = address.saturating_sub(base);
        }
        let dealloc = interpreter.code_dealloc_avma.expect("code_dealloc is known");
        (source, dealloc.wrapping_sub(base))
    };
    assert_eq!(normalized(&early), normalized(&live));
}

macro_rules! interpreters_are_understood {
    ($($name:ident: $minor:literal,)*) => {$(
        #[test]
        fn $name() {
            let mut pythons = Python::all().iter().filter(|python| python.version == (3, $minor)).peekable();
            assert!(pythons.peek().is_some());
            pythons.for_each(check);
        }
    )*};
}

interpreters_are_understood! {
    detects_3_8: 8,
    detects_3_9: 9,
    detects_3_10: 10,
    detects_3_11: 11,
    detects_3_12: 12,
    detects_3_13: 13,
    detects_3_14: 14,
    detects_3_15: 15,
}

/// A thread has a state for each interpreter it is in. The bound one is that of the interpreter it entered last, so
/// that its frames are found without the GIL too.
#[test]
fn subinterpreters() {
    for python in Python::all().iter().filter(|python| python.version >= (3, 12)) {
        let mut command = python.command();
        let (running, lines) = Running::until_ready(command.arg(program("subinterpreter.py")));
        let process = running.process();
        let interpreter = detect(&process);
        let reader = Reader {
            process: &process,
            interpreter: &interpreter,
        };
        let fs = lines[0].parse().unwrap();
        // The line was written without the GIL: the thread attaches its state again a moment later.
        let deadline = Instant::now() + Duration::from_secs(10);
        let attached = loop {
            let attached = reader.attached_state(fs).unwrap();
            if attached != 0 && reader.frames(attached).0[0].name == "inside" {
                break attached;
            }
            assert!(Instant::now() < deadline, "{python:?}");
            std::thread::yield_now();
        };
        assert_eq!(reader.thread_id(attached), fs, "{python:?}");
        assert_eq!(reader.bound_state(fs), attached, "{python:?}");
    }
}

/// The loader called as a program: `/proc/PID/exe` is the loader then.
fn by_its_loader(minor: u8) -> Command {
    let root = workspace().join(".cache/pythons/forky").canonicalize().unwrap();
    let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"));
    command.arg(root.join(format!("usr/bin/python3.{minor}")));
    command
}

fn on_musl_by_its_loader() -> Command {
    let root = musl_root();
    let mut command = Command::new(root.join("lib/ld-musl-x86_64.so.1"));
    command.arg("--library-path").arg(root.join("usr/lib"));
    command.arg(root.join("usr/bin/python3.13"));
    command
}

#[test]
fn started_by_the_loader() {
    for minor in [14, 15] {
        assert_eq!(check_program(&mut by_its_loader(minor)).version.minor, minor);
    }
}

/// What such a loader has loaded may lie anywhere beside it.
#[test]
fn loaders_that_are_programs() {
    for mut command in [by_its_loader(15), on_musl_by_its_loader()] {
        command.args([
            "-I",
            "-c",
            "print('ready', flush=True); import time; time.sleep(60)",
        ]);
        let (running, _) = Running::until_ready(&mut command);
        let process = running.process();
        let loader = Loader::of(&process).unwrap().unwrap();
        assert!(loader.is_program);
        assert!(loader.state_function_avma.is_some(), "{loader:?}");
        assert!(loader.progress().is_loaded_by_now(&process), "{loader:?}");
    }
}

/// musl, whose loader is the program here: its pthread keys and its thread-local variables lie elsewhere.
#[test]
fn on_musl() {
    let interpreter = check_program(&mut on_musl_by_its_loader());
    assert_eq!(interpreter.version.minor, 13);
    let source = interpreter.config.thread_state;
    assert_eq!((source.tss_array_offset, source.attached.slot_bytes), (0x80, 8));
    check_code_dealloc(&interpreter);
}

#[test]
fn other_programs_have_no_interpreter() {
    at_entry(&Command::new("/bin/sleep"), |process| {
        let objects = process.objects().unwrap();
        assert!(!objects.is_empty());
        assert!(cpython::detect(process, &objects).unwrap().is_none());
    });
}

#[test]
fn the_allocator_is_that_of_the_environment() {
    let python = &Python::all()[0];
    let allocator = |command: &Command| at_entry(command, |process| detect(process).python_allocator);
    assert_eq!(
        allocator(python.command().env("PYTHONMALLOC", "malloc")),
        "malloc"
    );
    assert_eq!(allocator(python.command().args(["-X", "dev"])), "pymalloc_debug");
    assert_eq!(
        allocator(python.command().env("PYTHONMALLOC", "malloc").arg("-I")),
        "pymalloc"
    );
}
