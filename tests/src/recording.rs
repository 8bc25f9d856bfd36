//! One run of `memray run`.

use std::{
    collections::BTreeSet, ffi::OsString, iter, os::unix::process::ExitStatusExt as _, path::Path,
    process::Command,
};

use tempfile::TempDir;

use crate::{Capture, Python, Script, memray};

/// What to record and how it must end.
#[derive(Debug)]
pub struct Recording<'test> {
    python: &'test Python,
    script: Option<&'test Script>,
    options: Vec<OsString>,
    program: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    degraded: BTreeSet<&'test str>,
    tolerated: BTreeSet<&'test str>,
    status: i32,
}

impl<'test> Recording<'test> {
    pub fn script(python: &'test Python, script: &'test Script) -> Self {
        let program = vec![script.path.clone().into_os_string()];
        Self {
            script: Some(script),
            ..Self::new(python, program)
        }
    }

    /// `-c`.
    pub fn code(python: &'test Python, code: &str) -> Self {
        Self::new(python, vec!["-c".into(), code.into()])
    }

    /// `-m`.
    pub fn module(python: &'test Python, name: &str) -> Self {
        Self::new(python, vec!["-m".into(), name.into()])
    }

    /// A program that need not be a Python.
    pub fn command(program: &Path) -> Self {
        let python = &Python::all()[0];
        Self::new(python, vec!["--".into(), program.into()])
    }

    /// A command that leads to a script with a Python of its own, as in a container.
    pub fn leading_to(command: &Command, python: &'test Python, script: &'test Script) -> Self {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let program = iter::once(OsString::from("--")).chain(words.map(OsString::from));
        Self {
            script: Some(script),
            ..Self::new(python, program.collect())
        }
    }

    fn new(python: &'test Python, program: Vec<OsString>) -> Self {
        Self {
            python,
            script: None,
            options: Vec::new(),
            program,
            environment: Vec::new(),
            degraded: BTreeSet::new(),
            tolerated: BTreeSet::new(),
            status: 0,
        }
    }

    /// An option of `memray run`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// An argument of the program.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.program.push(argument.into());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
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

    /// The end of the program as a shell shows it: its code, or 128 and its signal.
    #[must_use]
    pub fn ends_with(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// Records, and checks what must hold for every capture.
    ///
    /// # Panics
    /// If the program does not end as it must, or if the capture contradicts itself.
    pub fn run(&self) -> Capture {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join("capture.db");
        let mut command = memray(directory.path());
        Python::clean_environment(&mut command);
        command
            .args(["run", "--quiet", "--output"])
            .arg(&path)
            .arg("--python")
            .arg(&self.python.program)
            .args(&self.options)
            .args(&self.program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let name = format!("{command:?}");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let status = output.status;
        let ended = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        assert_eq!(
            ended,
            Some(self.status),
            "{status} of {name}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        let capture = Capture::open(
            directory,
            path,
            self.python.clone(),
            self.script.cloned(),
            stdout.into_owned(),
        );
        capture.check(&self.degraded, &self.tolerated);
        capture
    }
}
