//! What a command failed of, whose affair it is, and how it is told.
//!
//! Modules have errors of their own; a command turns each into one of these and adds what it knows. The text has one
//! form for all: `error: ...`, the causes, then what a person can do.

use std::fmt::Write as _;

use crate::model::CaptureError;

/// Who can do something about a failure; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The user can mend it: a file, a privilege, a program that is not there.
    User,
    /// The command line asks for something that makes no sense.
    Usage,
    /// A fault of memray or of the machine.
    Unexpected,
    /// It was recorded, and what is in the capture is less than that.
    NotWhole,
}

impl Blame {
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Usage => 2,
            Self::Unexpected => 3,
            Self::NotWhole => 4,
        }
    }
}

/// The end of a command that failed.
#[derive(Debug)]
pub struct CommandError {
    pub blame: Blame,
    pub error: anyhow::Error,
    /// What can be done, in the order in which to try.
    pub hints: Vec<String>,
}

impl CommandError {
    pub fn new(blame: Blame, error: impl Into<anyhow::Error>) -> Self {
        Self {
            blame,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    pub fn user(message: String) -> Self {
        Self::new(Blame::User, anyhow::Error::msg(message))
    }

    pub fn usage(message: String) -> Self {
        Self::new(Blame::Usage, anyhow::Error::msg(message))
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The reader of our output has gone, as `head` does when it has enough: nothing to complain about.
    pub fn is_broken_pipe(&self) -> bool {
        self.error.chain().any(|cause| {
            let kind = cause
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind)
                .or_else(|| {
                    cause
                        .downcast_ref::<serde_json::Error>()
                        .and_then(serde_json::Error::io_error_kind)
                });
            kind == Some(std::io::ErrorKind::BrokenPipe)
        })
    }

    /// Several lines with a newline after each. A cause that its parent has already told, or that only says the same
    /// again with a number before it, is left out.
    pub fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        let mut last = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            if !last.ends_with(&cause) && !cause.ends_with(&last) {
                writeln!(text, "  caused by: {cause}").expect("a string takes all");
            }
            last = cause;
        }
        for hint in &self.hints {
            writeln!(text, "hint: {hint}").expect("a string takes all");
        }
        text
    }
}

impl From<CaptureError> for CommandError {
    fn from(error: CaptureError) -> Self {
        let hints = error.hint.iter().cloned().collect();
        Self {
            blame: Blame::User,
            error: error.into(),
            hints,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to write `a.html`")]
    struct Write(#[source] io::Error);

    #[test]
    fn exit_codes_are_those_of_the_documentation() {
        let documentation = include_str!("../../docs/concepts/exit-codes.md");
        let blames = [Blame::User, Blame::Usage, Blame::Unexpected, Blame::NotWhole];
        let codes = blames.map(Blame::exit_code);
        assert_eq!(codes, [1, 2, 3, 4]);
        for code in codes {
            assert!(documentation.contains(&format!("\n| {code} | ")), "{code}");
        }
        assert!(!documentation.contains("\n| 5 | "));
    }

    #[test]
    fn causes_and_hints_follow_the_error() {
        let error = CommandError::new(Blame::User, Write(io::Error::other("the disk is full")));
        assert_eq!(
            error.hint("make room").hint("choose another disk").render(),
            "error: failed to write `a.html`\n  caused by: the disk is full\nhint: make room\nhint: choose another disk\n"
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::Error::msg("no such file").context("failed to open: no such file");
        assert_eq!(
            CommandError::new(Blame::User, error).render(),
            "error: failed to open: no such file\n"
        );
        let error = anyhow::Error::msg("code 13: full")
            .context("full")
            .context("cannot write");
        assert_eq!(
            CommandError::new(Blame::User, error).render(),
            "error: cannot write\n  caused by: full\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_found_at_any_depth() {
        let check = |kind: io::ErrorKind, expect: bool| {
            let error = CommandError::new(Blame::Unexpected, Write(io::Error::from(kind)));
            assert_eq!(error.is_broken_pipe(), expect);
        };
        check(io::ErrorKind::BrokenPipe, true);
        check(io::ErrorKind::StorageFull, false);
    }
}
