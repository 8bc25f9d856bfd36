//! Reports: what a capture holds, as text, JSON, SVG or a page of HTML.
//!
//! Input is a [`CaptureSource`](crate::model::CaptureSource) and plain settings, output bytes. Nothing here reads a
//! clock, the environment, a file or a terminal: whether there is color and how wide a line is, the caller says.
//! Names in a capture come from the traced program and can hold anything; each format escapes them in one place
//! ([`escape`](crate::escape) for text, the JSON writer of [`html`] for pages, inferno for SVG).
//!
//! Every report names what the recording lost and says when it was not finished ([`Notices`]).

pub mod folded;
pub mod html;
mod json;
pub mod label;
pub mod notices;
mod processes;
pub mod stats;
mod stats_json;
pub mod style;
pub mod summary;
pub mod svg;
pub mod tree;

#[cfg(test)]
mod tests;

use std::io;

pub use folded::write_folded;
pub use html::{FlamegraphSettings, TableSettings, Threads, write_flamegraph, write_table};
pub(crate) use json::{EscapedJson, JsonPlace};
pub use notices::{Notice, NoticeKind, Notices};
pub use stats::{StatsSettings, write_stats};
pub use stats_json::write_stats_json;
pub use style::Color;
pub use summary::{SortColumn, SummarySettings, write_summary};
pub use svg::write_svg;
pub use tree::{TreeSettings, write_tree};

use crate::model::{CaptureError, View};

/// A report that could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("failed to read the capture")]
    Capture(#[from] CaptureError),
    #[error("failed to write the report")]
    Write(#[from] io::Error),
    #[error("failed to write the report's data")]
    Data(#[from] serde_json::Error),
}

impl ReportError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Capture(error) => error.hint.as_deref(),
            Self::Write(_) | Self::Data(_) => None,
        }
    }

    /// The reader of the output has gone, as `head` does: no error worth telling.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Capture(_) => false,
            Self::Write(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Data(error) => error.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
        }
    }
}

/// The words for a view in titles.
pub fn view_title(view: View) -> String {
    match view {
        View::HighWaterMark => "high water mark".to_owned(),
        View::Leaks => "memory leaks".to_owned(),
        View::Temporary { threshold: 1 } => "temporary allocations".to_owned(),
        View::Temporary { threshold } => format!("temporary allocations (threshold {threshold})"),
        View::All => "all allocations".to_owned(),
    }
}
