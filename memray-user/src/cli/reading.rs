//! What every report asks of its command line: a capture, and which allocations of it.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::{
    analysis::OneProcess,
    error::{Blame, CommandError},
    model::{CaptureSource, View},
    printer::{Printer, stdout_has_color},
    report::{Color, Notices, ReportError},
    store::CaptureReader,
};

#[derive(Args)]
pub(super) struct CaptureArguments {
    /// Show only the processes that had this pid: every life of it, since exec begins a new one, and any process that was
    /// given the pid after it [default: all processes]
    #[arg(long, value_name = "PID")]
    process: Option<u32>,

    /// The capture, as `memray run` or `memray attach` wrote it
    #[arg(value_name = "RESULTS", value_hint = ValueHint::FilePath)]
    pub(super) results: PathBuf,
}

impl CaptureArguments {
    pub(super) fn open(&self) -> Result<Box<dyn CaptureSource>, CommandError> {
        let reader = CaptureReader::open(&self.results)?;
        Ok(match self.process {
            None => Box::new(reader),
            Some(pid) => Box::new(OneProcess::new(reader, pid)?),
        })
    }

    /// memray's: `memray-a.py.7.db` gives `memray-flamegraph-a.py.7.html` in the same folder; `...7.pid-8.html` for a
    /// process of it.
    pub(super) fn default_path(&self, report: &str, suffix: &str) -> PathBuf {
        let stem = self.results.file_stem().unwrap_or_default().to_string_lossy();
        let stem = stem.strip_prefix("memray-").unwrap_or(&stem);
        self.beside(&format!("memray-{report}-{stem}"), suffix)
    }

    /// The name in the folder of the capture, with the process that was asked for.
    pub(super) fn beside(&self, name: &str, suffix: &str) -> PathBuf {
        let process = self.process.map(|pid| format!(".pid-{pid}")).unwrap_or_default();
        self.results.with_file_name(format!("{name}{process}.{suffix}"))
    }
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

    #[derive(clap::Parser)]
    struct Capture {
        #[command(flatten)]
        capture: CaptureArguments,
    }

    #[test]
    fn default_names_are_those_of_memray() {
        let check = |line: &str, expect: &str| {
            let words = std::iter::once("memray").chain(line.split_whitespace());
            let Capture { capture } = Capture::try_parse_from(words).unwrap();
            assert_eq!(capture.default_path("flamegraph", "html"), PathBuf::from(expect));
        };
        check("memray-a.py.7.db", "memray-flamegraph-a.py.7.html");
        check("folder/memray-a.py.7.db", "folder/memray-flamegraph-a.py.7.html");
        check("/tmp/x", "/tmp/memray-flamegraph-x.html");
        check(
            "--process 8 memray-a.py.7.db",
            "memray-flamegraph-a.py.7.pid-8.html",
        );
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
