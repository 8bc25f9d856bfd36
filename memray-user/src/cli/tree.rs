//! `memray tree`: the call tree as text.

use std::process::ExitCode;

use clap::Args;

use super::{
    output::to_stdout,
    reading::{CaptureArguments, ViewArguments, color},
};
use crate::{
    analysis::FrameFilter,
    error::CommandError,
    model::View,
    report::{TreeSettings, write_tree},
};

/// Print the call tree of a capture
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    view: ViewArguments,

    /// How many of the largest allocating locations are shown
    #[arg(short, long, value_name = "N", default_value_t = 200)]
    biggest_allocs: usize,

    #[command(flatten)]
    capture: CaptureArguments,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        view,
        biggest_allocs,
        capture,
    } = arguments;
    let settings = TreeSettings {
        view: view.view(View::HighWaterMark),
        filter: FrameFilter::default(),
        biggest: biggest_allocs,
        color: color(),
    };
    let source = capture.open()?;
    to_stdout(Box::new(|output| write_tree(&*source, settings, output)))?;
    Ok(ExitCode::SUCCESS)
}
