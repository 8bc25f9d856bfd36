//! The table of processes on a terminal: a line for each, or two where a line is too narrow.

use std::io::Write;

use super::{are_worth_telling, end_text, ranked, version};
use crate::{
    analysis::{ProcessFigures, processes::wall_clock_ms},
    escape::printable,
    model::CaptureMetadata,
    report::{Color, ReportError, style::Style},
    units::{count_text, duration_text, moment_text, size_text},
};

/// Rows that are shown; `stats --json` has all.
const MOST_ROWS: usize = 20;

type Cells = [String; HEADINGS.len()];

const HEADINGS: [&str; 10] = [
    "pid",
    "parent",
    "origin",
    "python",
    "peak",
    "allocations",
    "at the end",
    "end",
    "counted since (UTC)",
    "command",
];

/// Columns of numbers, which end at one place.
const RIGHT_ALIGNED: [bool; HEADINGS.len()] =
    [true, true, false, false, true, true, true, false, false, false];

/// Columns that stand in the first of two lines.
const FIRST_LINE: usize = 7;

/// Room for the first of two lines, and for something of the command in the second.
const NARROWEST: usize = 72;

/// What the second of two lines begins with.
const SECOND_INDENT: &str = "    ";

/// How the table is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct ProcessTable {
    pub(in crate::report) color: Color,
    /// Columns of the terminal; None for lines as long as they need.
    pub(in crate::report) width: Option<u16>,
    /// Tabs before each line.
    pub(in crate::report) tabs: usize,
}

/// Writes heading and table, if there is something to tell.
pub(in crate::report) fn write_processes(
    metadata: &CaptureMetadata,
    settings: ProcessTable,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    if !are_worth_telling(metadata) {
        return Ok(());
    }
    let ProcessTable { color, width, tabs } = settings;
    let rows = ranked(metadata);
    let shown = rows.iter().take(MOST_ROWS);
    let mut lines: Vec<Cells> = vec![HEADINGS.map(str::to_owned)];
    lines.extend(shown.map(|process| cells(process, metadata)));
    let widths = widths(&lines);
    let needed = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    let room = width.map_or(usize::MAX, |width| {
        usize::from(width).saturating_sub(8 * tabs).max(NARROWEST)
    });
    let is_narrow = room < needed;
    let indent = "\t".repeat(tabs);
    writeln!(output, "{}", color.paint(Style::Heading, "🧮 Processes:"))?;
    for (number, line) in lines.iter().enumerate() {
        let parts = if is_narrow {
            let second = aligned(line, &widths, FIRST_LINE..HEADINGS.len());
            let second = format!("{SECOND_INDENT}{}", second.trim_end());
            vec![aligned(line, &widths, 0..FIRST_LINE), cut(&second, room)]
        } else {
            vec![aligned(line, &widths, 0..HEADINGS.len())]
        };
        for part in parts {
            let part = part.trim_end();
            let part = if number == 0 {
                color.paint(Style::Faint, part)
            } else {
                part.to_owned()
            };
            writeln!(output, "{indent}{part}")?;
        }
    }
    if let Some(more) = rows.len().checked_sub(MOST_ROWS).filter(|&more| more > 0) {
        let more = count_text(more as u64);
        writeln!(
            output,
            "{indent}and {more} more with smaller peaks; `memray stats --json` has all"
        )?;
    }
    Ok(())
}

/// The line itself, or as much of it as there is room for: it ends with the command.
fn cut(line: &str, room: usize) -> String {
    if line.chars().count() <= room {
        return line.to_owned();
    }
    let mut text: String = line.chars().take(room - 1).collect();
    text.push('…');
    text
}

fn widths(lines: &[Cells]) -> [usize; HEADINGS.len()] {
    let mut widths = [0; HEADINGS.len()];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

fn aligned(line: &Cells, widths: &[usize], columns: std::ops::Range<usize>) -> String {
    let cells = columns.map(|column| {
        let (cell, width) = (&line[column], widths[column]);
        if RIGHT_ALIGNED[column] {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    });
    cells.collect::<Vec<_>>().join("  ")
}

fn cells(process: &ProcessFigures, metadata: &CaptureMetadata) -> Cells {
    let row = &process.row;
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let since_ns = process.counted_from_ns();
    [
        row.pid.to_string(),
        or_dash(process.parent_pid.map(|pid| pid.to_string()).unwrap_or_default()),
        row.origin.name().to_owned(),
        or_dash(printable(&version(process)).into_owned()),
        size_text(process.peak.bytes),
        process.allocated.count.to_string(),
        size_text(process.live.bytes),
        end_text(process.end, metadata),
        wall_clock_ms(metadata, since_ns).map_or_else(
            || format!("+{}", duration_text(since_ns / 1_000_000)),
            moment_text,
        ),
        printable(&process.short_command()).into_owned(),
    ]
}
