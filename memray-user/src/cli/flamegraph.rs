//! `memray flamegraph`: where the memory came from, as a page or as data for other tools.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{
    output::OutputArguments,
    reading::{CaptureArguments, ViewArguments, say_notices},
};
use crate::{
    analysis::FrameFilter,
    error::CommandError,
    model::View,
    printer::{Printer, Talk},
    report::{self, FlamegraphSettings},
};

/// Write a flame graph of a capture
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    view: ViewArguments,

    /// `html` is a page that needs nothing else, `svg` a picture, `folded` one line for each stack with its bytes
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,

    #[command(flatten)]
    capture: CaptureArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Html,
    Svg,
    Folded,
}

impl Format {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Svg => "svg",
            Self::Folded => "folded",
        }
    }
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        output,
        view,
        format,
        capture,
    } = arguments;
    let view = view.view(View::HighWaterMark);
    let source = capture.open()?;
    let filter = FrameFilter::default();
    let mut notices = None;
    output.write(
        capture.default_path("flamegraph", format.suffix()),
        Box::new(|output| match format {
            Format::Html => report::write_flamegraph(&*source, FlamegraphSettings { view }, output),
            Format::Svg => report::write_svg(&*source, view, filter, output),
            Format::Folded => {
                notices = Some(report::write_folded(&*source, view, filter, output)?);
                Ok(())
            }
        }),
    )?;
    // The lines of `folded` have no place for them.
    notices.map_or(Ok(()), |notices| {
        say_notices(&notices, Printer::new(Talk::Normal))
    })?;
    Ok(ExitCode::SUCCESS)
}
