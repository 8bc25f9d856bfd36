//! One run of `memray attach`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::{
    Capture, Python, Script, Target,
    behavior::ending,
    memray::memray_binary,
    probed::{is_unprobed, wait_unprobed},
    target::{as_a_shell_shows, innermost, process_id},
};

/// Longest wait for the probes to be in, and for the capture to be complete.
const DEADLINE: Duration = Duration::from_secs(30);

/// What begins the line that says that all probes are in.
const READY: &str = "Recording process";

/// What to attach to, and how.
#[derive(Debug)]
pub struct Attach<'test> {
    python: Python,
    script: Option<Script>,
    pids: Vec<u32>,
    /// What memray is told instead, where it counts processes otherwise.
    named_pid: Option<u32>,
    options: Vec<OsString>,
    /// What starts memray, if it is not started as it is.
    prefix: Vec<OsString>,
    binary: PathBuf,
    degraded: BTreeSet<&'test str>,
    tolerated: BTreeSet<&'test str>,
    is_alone: bool,
}

/// A recording under way; `memray` is killed when dropped.
#[derive(Debug)]
pub struct Attachment<'test> {
    attach: Attach<'test>,
    child: Child,
    messages: Receiver<String>,
    name: String,
    directory: Option<TempDir>,
    path: PathBuf,
}

impl<'test> Attach<'test> {
    pub fn to(target: &Target) -> Self {
        Self {
            python: target.python.clone(),
            script: target.script.clone(),
            pids: vec![target.pid()],
            named_pid: None,
            options: Vec::new(),
            prefix: Vec::new(),
            binary: memray_binary(),
            degraded: BTreeSet::new(),
            tolerated: BTreeSet::new(),
            is_alone: true,
        }
    }

    /// Another process of the same capture.
    #[must_use]
    pub fn and(mut self, target: &Target) -> Self {
        self.pids.push(target.pid());
        self
    }

    /// An option of `memray attach`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// Another process id than the target's own, such as the one inside of a container.
    #[must_use]
    pub fn by_pid(mut self, pid: u32) -> Self {
        self.named_pid = Some(pid);
        self
    }

    /// A command that starts memray, as `nsenter` does.
    #[must_use]
    pub fn through(mut self, prefix: &[&str], binary: &Path) -> Self {
        self.prefix = prefix.iter().map(OsString::from).collect();
        binary.clone_into(&mut self.binary);
        self
    }

    /// A counter of what is lost or degraded that must not be zero; all others must be.
    #[must_use]
    pub fn degrades(mut self, reason: &'test str) -> Self {
        self.degraded.insert(reason);
        self
    }

    /// A counter that may be zero or not, because it depends on who is faster.
    #[must_use]
    pub fn tolerates(mut self, reason: &'test str) -> Self {
        self.tolerated.insert(reason);
        self
    }

    /// Another recording of the process goes on when this one ends, so its probes stay.
    #[must_use]
    pub fn among_others(mut self) -> Self {
        self.is_alone = false;
        self
    }

    /// Starts memray and waits until all probes are in.
    ///
    /// # Panics
    /// If it says anything else.
    pub fn start(self) -> Attachment<'test> {
        let attachment = self.start_unready();
        let message = attachment.message();
        assert!(
            message.starts_with(READY),
            "{}: {message}\n{}",
            attachment.name,
            attachment.remaining_messages()
        );
        attachment
    }

    /// Starts memray.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_unready(self) -> Attachment<'test> {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join("capture.db");
        let mut command = self.command(&path);
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
        let (sender, messages) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().expect("it is piped"));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Attachment {
            attach: self,
            child,
            messages,
            name,
            directory: Some(directory),
            path,
        }
    }

    fn command(&self, path: &Path) -> Command {
        let mut words = self.prefix.iter().map(OsString::as_os_str).collect::<Vec<_>>();
        words.push(self.binary.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        for name in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.args(["attach", "--output"]).arg(path).args(&self.options);
        match self.named_pid {
            Some(pid) => command.arg(pid.to_string()),
            None => command.args(self.pids.iter().map(u32::to_string)),
        };
        command
    }
}

impl Attachment<'_> {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of memray itself.
    pub fn pid(&self) -> u32 {
        innermost(self.child.id())
    }

    /// The next line that memray says.
    ///
    /// # Panics
    /// If there is none.
    pub fn message(&self) -> String {
        match self.messages.recv_timeout(DEADLINE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("{} says nothing", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended and said nothing", self.name),
        }
    }

    /// Ends the recording as Ctrl-C does.
    ///
    /// # Panics
    /// If the capture is not whole.
    pub fn finish(self) -> Capture {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    /// Sends memray a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        // What started memray need not pass signals on.
        kill(process_id(self.pid()), signal)
            .unwrap_or_else(|error| panic!("{}: {signal}: {error}", self.name));
    }

    /// Waits until the recording ends by itself, and checks what must hold for every capture.
    ///
    /// # Panics
    /// If it does not end, or if the capture contradicts itself.
    pub fn wait(mut self) -> Capture {
        let status = self.ended();
        let messages = self.remaining_messages();
        assert_eq!(status, 0, "{}\n{messages}", self.name);
        let directory = self.directory.take().expect("nobody else takes it");
        let beside: Vec<_> = fs::read_dir(directory.path())
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name())
            .collect();
        assert_eq!(beside, ["capture.db"], "{}", self.name);
        if self.attach.is_alone {
            for &pid in &self.attach.pids {
                wait_unprobed(pid);
            }
        }
        let capture = Capture::open(
            directory,
            self.path.clone(),
            self.attach.python.clone(),
            self.attach.script.clone(),
            messages,
        );
        capture.check(&self.attach.degraded, &self.attach.tolerated);
        capture
    }

    /// Waits for an end of either kind: with a capture that is whole, or with an error and without one.
    ///
    /// # Panics
    /// If it ends otherwise.
    pub fn ended_or_refused(mut self) {
        let status = self.ended();
        let messages = self.remaining_messages();
        match status {
            0 => assert!(ending(&self.path).finished, "{}\n{messages}", self.name),
            1 => assert!(
                messages.starts_with("error: ") && !self.path.exists(),
                "{}\n{messages}",
                self.name
            ),
            _ => panic!("{}: status {status}\n{messages}", self.name),
        }
    }

    /// Kills memray, and waits until nothing of it is left in the targets.
    ///
    /// # Panics
    /// If something is.
    pub fn killed(mut self) -> KilledAttachment {
        for &pid in &self.attach.pids {
            assert!(!is_unprobed(pid), "{} has no probes", self.name);
        }
        self.child.kill().expect("it is ours");
        self.ended();
        for &pid in &self.attach.pids {
            wait_unprobed(pid);
        }
        KilledAttachment {
            path: self.path.clone(),
            _directory: self.directory.take().expect("nobody else takes it"),
        }
    }

    fn remaining_messages(&self) -> String {
        let mut messages = String::new();
        while let Ok(message) = self.messages.recv_timeout(DEADLINE) {
            messages.extend([message.as_str(), "\n"]);
        }
        messages
    }

    fn ended(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return as_a_shell_shows(status);
            }
            assert!(start.elapsed() < DEADLINE, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// What a killed memray left.
#[derive(Debug)]
pub struct KilledAttachment {
    pub path: PathBuf,
    /// Keeps the file.
    _directory: TempDir,
}
