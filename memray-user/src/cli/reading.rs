//! What every report asks of its command line: a capture, and which allocations of it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::{
    error::{Blame, CommandError},
    model::View,
    printer::{Printer, stdout_has_color},
    report::{Color, Notices, ReportError},
    store::CaptureReader,
};

#[derive(Args)]
pub(super) struct CaptureArgument {
    /// The capture that `memray run` wrote
    #[arg(value_name = "RESULTS", value_hint = ValueHint::FilePath)]
    pub(super) results: PathBuf,
}

#[derive(Clone, Copy, Args)]
#[group(multiple = false)]
pub(super) struct ViewArguments {
    /// Show what was never freed, instead of what made up the peak
    #[arg(long)]
    leaks: bool,

    /// Show what was freed while at most N other allocations of its thread lay between
    #[arg(long, value_name = "N")]
    temporary_allocation_threshold: Option<u64>,

    /// Show what was freed soon: the same as --temporary-allocation-threshold=1
    #[arg(long)]
    temporary_allocations: bool,
}

impl ViewArguments {
    /// `otherwise` is what the report is about if nothing was asked for.
    pub(super) fn view(self, otherwise: View) -> View {
        let Self {
            leaks,
            temporary_allocation_threshold,
            temporary_allocations,
        } = self;
        match temporary_allocation_threshold {
            Some(threshold) => View::Temporary { threshold },
            None if temporary_allocations => View::Temporary { threshold: 1 },
            None if leaks => View::Leaks,
            None => otherwise,
        }
    }
}

pub(super) fn open(path: &Path) -> Result<CaptureReader, CommandError> {
    Ok(CaptureReader::open(path)?)
}

pub(super) fn color() -> Color {
    if stdout_has_color() {
        Color::Always
    } else {
        Color::Never
    }
}

/// Tells on standard error what the format of the report has no place for.
pub(super) fn say_notices(notices: &Notices, printer: Printer) -> Result<(), CommandError> {
    let mut text = Vec::new();
    notices.write(Color::Never, &mut text)?;
    if !text.is_empty() {
        printer.say(&String::from_utf8_lossy(&text));
    }
    Ok(())
}

impl From<ReportError> for CommandError {
    fn from(error: ReportError) -> Self {
        let hints = error.hint().map(str::to_owned).into_iter().collect();
        match error {
            // The capture's own error says it better than one around it.
            ReportError::Capture(error) => error.into(),
            error => Self {
                blame: Blame::User,
                error: error.into(),
                hints,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        view: ViewArguments,
    }

    #[test]
    fn views() {
        let check = |line: &str, expect: Option<View>| {
            let words = std::iter::once("memray").chain(line.split_whitespace());
            let view = Line::try_parse_from(words)
                .ok()
                .map(|line| line.view.view(View::HighWaterMark));
            assert_eq!(view, expect, "{line}");
        };
        check("", Some(View::HighWaterMark));
        check("--leaks", Some(View::Leaks));
        check("--temporary-allocations", Some(View::Temporary { threshold: 1 }));
        check(
            "--temporary-allocation-threshold 0",
            Some(View::Temporary { threshold: 0 }),
        );
        check(
            "--temporary-allocation-threshold=7",
            Some(View::Temporary { threshold: 7 }),
        );
        check("--temporary-allocation-threshold=-1", None);
        check("--leaks --temporary-allocations", None);
    }
}
