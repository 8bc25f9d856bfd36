//! A program that runs and waits while a test looks at it from outside.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A child that has said that it is ready; killed with its owner.
#[derive(Debug)]
pub struct Waiting(Child);

impl Waiting {
    /// Starts a program and reads its output up to the first line. Its input stays open for as long as this lives, so
    /// that it can wait by reading.
    ///
    /// # Panics
    /// If it cannot be started, or ends before it has said something.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let output = child.stdout.take().expect("it is piped");
        let waiting = Self(child);
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        assert!(
            read.is_ok_and(|bytes| bytes > 0),
            "{command:?} ended before it was ready"
        );
        waiting
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}
