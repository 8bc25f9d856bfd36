//! One thing that was looked at.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// A recording works, but something about it is worse than it could be.
    Limited,
    /// Without this there is no recording.
    Missing,
    /// We were not let to look; until then there is no recording either.
    Unknown,
}

impl State {
    pub(super) const fn is_blocking(self) -> bool {
        matches!(self, Self::Missing | Self::Unknown)
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// Names are part of the JSON's form and never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub state: State,
    /// What it means for a recording, in one sentence. Can hold text of the process.
    pub text: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl Finding {
    pub(super) fn new(state: State, name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            state,
            text: text.into(),
            hint: None,
        }
    }

    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(State::Ok, name, text)
    }

    pub(super) fn limited(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(State::Limited, name, text)
    }

    pub(super) fn missing(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(State::Missing, name, text)
    }

    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// An error with its causes in one line, each said once.
pub(super) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
