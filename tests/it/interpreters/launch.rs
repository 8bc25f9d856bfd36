//! Programs that run until they say that they are ready, and programs stopped before they have run at all.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    ptr::without_provenance_mut,
};

use memray_user::target::process::Process;
use nix::{
    libc::AT_ENTRY,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A child that is killed with its owner.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program and reads its output up to the line `ready`.
    pub(crate) fn until_ready(command: &mut Command) -> (Self, Vec<String>) {
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let running = Self(child);
        let mut lines = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            if line == "ready" {
                return (running, lines);
            }
            lines.push(line);
        }
        panic!("{command:?} ended before it was ready");
    }

    pub(crate) fn process(&self) -> Process {
        Process::open(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("the child has not been waited for");
        self.0.wait().expect("the child is ours");
    }
}

/// Starts a program and calls `look` at its entry point, when its libraries are mapped and relocated and nothing
/// of it has run.
pub(crate) fn at_entry<T>(command: &Command, look: impl FnOnce(&Process) -> T) -> T {
    // A shell that stops itself, so that the tracer is there before the program is.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let running = Running(shell.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    let pid = Pid::from_raw(running.0.id().try_into().unwrap());
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXEC).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(_, _, event) if event == nix::libc::PTRACE_EVENT_EXEC => break,
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None).unwrap(),
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
            status => panic!("{command:?}: {status:?} before exec"),
        }
    }
    let process = running.process();
    let entry = process
        .auxiliary_value(AT_ENTRY)
        .unwrap()
        .expect("the kernel gives AT_ENTRY");
    let entry = without_provenance_mut(usize::try_from(entry).unwrap());
    let word = ptrace::read(pid, entry).unwrap();
    ptrace::write(pid, entry, (word & !0xff) | 0xcc).unwrap();
    ptrace::cont(pid, None).unwrap();
    let status = waitpid(pid, None).unwrap();
    assert!(
        matches!(status, WaitStatus::Stopped(_, Signal::SIGTRAP)),
        "{command:?}: {status:?}"
    );
    look(&process)
}
