//! `memray table`: the allocating locations as a page with a table.

use std::process::ExitCode;

use clap::Args;

use super::{
    output::OutputArguments,
    reading::{CaptureArguments, ViewArguments},
};
use crate::{
    error::CommandError,
    model::View,
    report::{TableSettings, Threads, write_table},
};

/// Write a table of the allocating locations of a capture
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    view: ViewArguments,

    /// Keep the figures of each thread apart
    #[arg(long)]
    split_threads: bool,

    #[command(flatten)]
    capture: CaptureArguments,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        output,
        view,
        split_threads,
        capture,
    } = arguments;
    let threads = if split_threads {
        Threads::Split
    } else {
        Threads::Merged
    };
    let settings = TableSettings {
        view: view.view(View::HighWaterMark),
        threads,
    };
    let source = capture.open()?;
    output.write(
        capture.default_path("table", "html"),
        Box::new(|output| write_table(&*source, settings, output)),
    )?;
    Ok(ExitCode::SUCCESS)
}
