//! `memray summary`: a line for each function, with what it and its callees hold.

use std::process::ExitCode;

use clap::{Args, builder::TypedValueParser as _, value_parser};

use super::{
    output::to_stdout,
    reading::{CaptureArguments, ViewArguments, color},
    terminal::{self, Size},
};
use crate::{
    error::CommandError,
    model::View,
    report::{SortColumn, SummarySettings, write_summary},
};

/// Print the functions of a capture with the memory that they hold
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    view: ViewArguments,

    /// Sort by this column, from 1
    #[arg(short, long, value_name = "1..5", default_value = "1", value_parser = value_parser!(u8).range(1..=5)
        .map(|number| SortColumn::from_number(number).expect("the range is that of the columns")))]
    sort_column: SortColumn,

    /// Print at most this many rows [default: as many as fit on the terminal]
    #[arg(short = 'r', long, value_name = "N")]
    max_rows: Option<usize>,

    #[command(flatten)]
    capture: CaptureArguments,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        view,
        sort_column,
        max_rows,
        capture,
    } = arguments;
    let size = terminal::size();
    let settings = SummarySettings {
        view: view.view(View::HighWaterMark),
        sort: sort_column,
        max_rows: Some(max_rows.unwrap_or_else(|| rows_that_fit(size))),
        color: color(),
        width: size.map(|size| size.columns),
    };
    let source = capture.open()?;
    to_stdout(Box::new(|output| write_summary(&*source, settings, output)))?;
    Ok(ExitCode::SUCCESS)
}

/// memray's: five lines are left for the prompt and the head of the table, and a screen of 24 lines is assumed where
/// there is none.
fn rows_that_fit(size: Option<Size>) -> usize {
    let rows = size.map_or(24, |size| size.rows);
    usize::from(rows.saturating_sub(5).max(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let check = |rows: Option<u16>, expect: usize| {
            assert_eq!(rows_that_fit(rows.map(|rows| Size { rows, columns: 80 })), expect);
        };
        check(None, 19);
        check(Some(50), 45);
        check(Some(4), 10);
    }
}
