//! A program that runs by itself, as the targets of `memray attach` do: it says `ready`, then obeys the lines that it
//! is told and answers each.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Python, Script};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Killed when dropped.
#[derive(Debug)]
pub struct Target {
    child: Child,
    /// Of the program itself, where what was started only leads to it.
    pid: u32,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    /// How a failed assertion calls it.
    name: String,
    pub python: Python,
    pub script: Option<Script>,
}

/// How a target ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// As a shell shows it: its code, or 128 and its signal.
    pub status: i32,
    /// What it printed since the last answer.
    pub rest: Vec<String>,
}

impl Target {
    /// A program of `tests/programs` that is ready.
    ///
    /// # Panics
    /// If it does not say so.
    pub fn script(python: &Python, script: &Script, arguments: &[&str]) -> Self {
        let mut command = python.command();
        command.arg(&script.path).args(arguments);
        Self::start(command, python, Some(script))
    }

    /// Any program that says `ready`.
    ///
    /// # Panics
    /// If it does not say so.
    pub fn start(mut command: Command, python: &Python, script: Option<&Script>) -> Self {
        let mut target = Self::start_unready(&mut command, python, script);
        let ready = target.answer();
        assert_eq!(ready, "ready", "{}", target.name);
        target.find_innermost();
        target
    }

    /// Takes what the started program has started, if it has, for the target, as with `unshare --fork` and `su`.
    pub fn find_innermost(&mut self) {
        self.pid = innermost(self.child.id());
    }

    /// A program of which nothing is known but that it was started.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_unready(command: &mut Command, python: &Python, script: Option<&Script>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
        let (sender, answers) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        // Ends when every process that has the pipe has closed it.
        thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            pid: child.id(),
            requests: child.stdin.take(),
            child,
            answers,
            name,
            python: python.clone(),
            script: script.cloned(),
        }
    }

    /// As this machine counts processes.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a line, whose answer another call awaits.
    ///
    /// # Panics
    /// If nobody reads it.
    pub fn tell(&mut self, request: &str) {
        let requests = self.requests.as_mut().expect("its input is open");
        writeln!(requests, "{request}").unwrap_or_else(|error| panic!("{}: {request}: {error}", self.name));
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// If none comes.
    pub fn answer(&mut self) -> String {
        match self.answers.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} does not answer", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} has closed its output", self.name),
        }
    }

    /// Sends a line and waits until it is obeyed.
    ///
    /// # Panics
    /// If the answer is not `done`.
    pub fn obey(&mut self, request: &str) {
        self.tell(request);
        let answer = self.answer();
        assert_eq!(answer, "done", "{}: {request}", self.name);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(process_id(self.pid), signal).unwrap_or_else(|error| panic!("{}: {signal}: {error}", self.name));
    }

    /// Closes its input, which tells it to end, and waits.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(mut self) -> Ended {
        drop(self.requests.take());
        self.ended()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn ended(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(start.elapsed() < DEADLINE, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(2));
        };
        let mut rest = Vec::new();
        while let Ok(line) = self.answers.recv_timeout(DEADLINE) {
            rest.push(line);
        }
        Ended {
            status: as_a_shell_shows(status),
            rest,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // First the program, so that nothing survives what led to it.
            if self.pid != self.child.id() {
                let _gone = kill(process_id(self.pid), Signal::SIGKILL);
            }
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// A process id as the kernel's calls take it.
///
/// # Panics
/// If it is none.
pub fn process_id(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("process ids are small"))
}

pub fn as_a_shell_shows(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// The end of a chain of only children.
pub(crate) fn innermost(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut children = children.split_whitespace().filter_map(|child| child.parse().ok());
    match (children.next(), children.next()) {
        (Some(only), None) => innermost(only),
        _ => pid,
    }
}
