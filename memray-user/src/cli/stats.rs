//! `memray stats`: totals, sizes, allocators, largest locations and modules of the whole recording.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::Args;

use super::{
    output::{OutputArguments, to_stdout},
    reading::{CaptureArguments, ViewArguments, color},
    terminal,
};
use crate::{
    error::CommandError,
    model::View,
    report::{Color, StatsSettings, write_stats, write_stats_json},
};

/// Print figures about a whole recording
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    view: ViewArguments,

    /// How many of the largest locations and modules are listed
    #[arg(short, long, value_name = "N", default_value = "5")]
    num_largest: NonZeroUsize,

    /// Write JSON to a file
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    capture: CaptureArguments,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        view,
        num_largest,
        json,
        output,
        capture,
    } = arguments;
    let settings = StatsSettings {
        view: view.view(View::All),
        largest: num_largest.get(),
        color: color(),
        width: terminal::size().map(|size| size.columns),
    };
    let source = capture.open()?;
    if json {
        // memray's name: that of the capture as a whole, suffix included.
        let name = capture.results.file_name().unwrap_or_default().to_string_lossy();
        let default = capture.beside(&format!("memray-stats-{name}"), "json");
        output.write(
            default,
            Box::new(|output| write_stats_json(&*source, settings, output)),
        )?;
    } else if output.is_given() {
        let settings = StatsSettings {
            color: Color::Never,
            width: None,
            ..settings
        };
        output.write(
            capture.results,
            Box::new(|output| write_stats(&*source, settings, output)),
        )?;
    } else {
        to_stdout(Box::new(|output| write_stats(&*source, settings, output)))?;
    }
    Ok(ExitCode::SUCCESS)
}
