//! The only writer to the terminal.
//!
//! Standard output is data: a report, or the name of the file that holds one. What memray says beside that goes to
//! standard error, and not at all with `--quiet`. Errors are always told.

use std::{
    env,
    io::{self, IsTerminal as _},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::escape::is_control;

/// What takes less than this needs no word about it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much memray says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    Normal,
    Quiet,
}

#[derive(Clone, Copy, Debug)]
pub struct Printer {
    talk: Talk,
}

impl Printer {
    pub fn new(talk: Talk) -> Self {
        Self { talk }
    }

    /// A remark; nothing depends on its arrival.
    pub fn say(self, text: &str) {
        if self.talk == Talk::Normal {
            let _ignored = write_lines(&mut io::stderr().lock(), text);
        }
    }

    /// A result on standard output.
    pub fn result(self, text: &str) -> io::Result<()> {
        write_lines(&mut io::stdout().lock(), text)
    }

    /// An error, already rendered.
    pub fn error(self, text: &str) {
        let _ignored = write_lines(&mut io::stderr().lock(), text);
    }

    /// Shows that work goes on, if it takes long and somebody watches, until the guard is dropped.
    pub fn progress(self, message: &'static str) -> Progress {
        let watched = self.talk == Talk::Normal && io::stderr().is_terminal();
        Progress(watched.then(|| Spinner::start(message)))
    }
}

/// Whether escape sequences may go to standard output (<https://no-color.org>).
pub fn stdout_has_color() -> bool {
    color_allowed(
        env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        io::stdout().is_terminal(),
    )
}

fn color_allowed(no_color: bool, is_terminal: bool) -> bool {
    is_terminal && !no_color
}

/// Ends each line with a newline; control characters, which a name from elsewhere can hold, are shown and not obeyed.
fn write_lines(output: &mut dyn io::Write, text: &str) -> io::Result<()> {
    let mut safe = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if is_control(character) && !matches!(character, '\n' | '\t') {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    if !safe.ends_with('\n') {
        safe.push('\n');
    }
    output.write_all(safe.as_bytes())?;
    output.flush()
}

/// Guard of a progress line.
#[derive(Debug)]
#[must_use = "the line goes when this is dropped"]
pub struct Progress(#[expect(dead_code, reason = "held for its Drop")] Option<Spinner>);

#[derive(Debug)]
struct Spinner {
    /// Dropped first: that is the signal to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    fn start(message: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            if stopped.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(message);
            bar.enable_steady_tick(Duration::from_millis(100));
            // Nothing is ever sent; this ends when the other end is dropped.
            let _ended = stopped.recv();
            bar.finish_and_clear();
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A progress line that panicked has said so already.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_and_harmless() {
        let check = |text: &str, expect: &str| {
            let mut output = Vec::new();
            write_lines(&mut output, text).unwrap();
            assert_eq!(String::from_utf8(output).unwrap(), expect);
        };
        check("a", "a\n");
        check("a\nb\n", "a\nb\n");
        check("a:\n\t- b", "a:\n\t- b\n");
        check("\x1b[2J", "\\u{1b}[2J\n");
        check("\u{202e}gpj.exe\u{2028}", "\\u{202e}gpj.exe\\u{2028}\n");
        check("größe", "größe\n");
    }

    #[test]
    fn color_needs_a_terminal_and_consent() {
        for (no_color, is_terminal, expect) in
            [(false, true, true), (true, true, false), (false, false, false)]
        {
            assert_eq!(color_allowed(no_color, is_terminal), expect);
        }
    }

    #[test]
    fn a_short_task_draws_nothing_and_waits_for_nothing() {
        let start = std::time::Instant::now();
        drop(Spinner::start("work"));
        assert!(start.elapsed() < PATIENCE);
    }
}
