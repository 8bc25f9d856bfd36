//! `summary`: a table of functions, with what each allocated itself and with its callees, and one of processes.

use std::io::Write;

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets::UTF8_FULL_CONDENSED,
};

use super::{
    Color, Notices, ReportError,
    label::function_name,
    processes::{ProcessTable, are_worth_telling, write_processes},
    style::Style,
};
use crate::{
    analysis::{Figures, Profile, SummaryRow, summary},
    escape::printable,
    model::{CaptureSource, View},
    units::{count_text, percent_text, size_text},
};

/// What the table is sorted by; memray's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortColumn {
    #[default]
    TotalMemory = 1,
    TotalPercent = 2,
    OwnMemory = 3,
    OwnPercent = 4,
    AllocationCount = 5,
}

impl SortColumn {
    pub const ALL: [Self; 5] = [
        Self::TotalMemory,
        Self::TotalPercent,
        Self::OwnMemory,
        Self::OwnPercent,
        Self::AllocationCount,
    ];

    /// The column of a number from 1 to 5.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::TotalMemory => "Total Memory",
            Self::TotalPercent => "Total Memory %",
            Self::OwnMemory => "Own Memory",
            Self::OwnPercent => "Own Memory %",
            Self::AllocationCount => "Allocation Count",
        }
    }

    fn key(self, row: &SummaryRow) -> u64 {
        match self {
            Self::TotalMemory | Self::TotalPercent => row.total.bytes,
            Self::OwnMemory | Self::OwnPercent => row.own.bytes,
            Self::AllocationCount => row.total.count,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct SummarySettings {
    pub view: View,
    pub sort: SortColumn,
    /// None for all rows.
    pub max_rows: Option<usize>,
    pub color: Color,
    /// Columns of the terminal; longer locations are wrapped, never cut. None for lines as long as they need.
    pub width: Option<u16>,
}

impl Default for SummarySettings {
    fn default() -> Self {
        Self {
            view: View::HighWaterMark,
            sort: SortColumn::default(),
            max_rows: None,
            color: Color::Never,
            width: None,
        }
    }
}

/// From this width on, headings stand in one line and locations still have room.
const COMFORTABLE: u16 = 130;

/// Figures need this much, and locations some.
const NARROWEST: u16 = 80;

/// Widths of the columns of figures on narrow terminals, with a space on either side: every figure stays whole and
/// headings break between words.
const NARROW_COLUMNS: [u16; SortColumn::ALL.len()] = [11, 11, 11, 11, 13];

/// Writes the table, then what it leaves out, then the notices.
pub fn write_summary(
    source: &dyn CaptureSource,
    settings: SummarySettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let profile = Profile::load(source, settings.view)?;
    let notices = Notices::load(source, &profile)?;
    if profile.is_empty() {
        return notices.write_empty(settings.view, settings.color, output);
    }
    let mut rows = summary(&profile);
    // Equal rows stay in order of first sight: callers before those they called.
    rows.sort_by(|left, right| {
        (settings.sort.key(right).cmp(&settings.sort.key(left)))
            .then(right.total.bytes.cmp(&left.total.bytes))
    });
    let shown = settings.max_rows.unwrap_or(rows.len()).min(rows.len());
    let table = table(&rows[..shown], profile.total, settings);
    let mut in_header = true;
    for line in table.lines() {
        in_header &= !line.starts_with('╞');
        let line = if in_header {
            settings.color.paint(Style::Heading, &line)
        } else {
            line
        };
        writeln!(output, "{line}")?;
    }
    if shown < rows.len() {
        let more = count_text((rows.len() - shown) as u64);
        writeln!(
            output,
            "{more} more functions are not shown; -r sets how many are."
        )?;
    }
    let metadata = source.metadata()?;
    if are_worth_telling(&metadata) {
        writeln!(output)?;
        let table = ProcessTable {
            color: settings.color,
            width: settings.width,
            tabs: 0,
        };
        write_processes(&metadata, table, output)?;
        if !notices.is_empty() {
            writeln!(output)?;
        }
    }
    notices.write(settings.color, output)
}

fn table(rows: &[SummaryRow], whole: Figures, settings: SummarySettings) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    match settings.width {
        Some(width) => table
            .set_width(width.max(NARROWEST))
            .set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let mut header = vec!["Location".to_owned()];
    header.extend(SortColumn::ALL.map(|column| {
        if column == settings.sort {
            format!("<{}>", column.title())
        } else {
            column.title().to_owned()
        }
    }));
    table.set_header(header);
    for row in rows {
        table.add_row(cells(row, whole));
    }
    let is_narrow = settings.width.is_some_and(|width| width < COMFORTABLE);
    for (position, narrow) in (1..).zip(NARROW_COLUMNS) {
        if let Some(column) = table.column_mut(position) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(if is_narrow {
                ColumnConstraint::Absolute(Width::Fixed(narrow))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
    }
    table
}

fn cells(row: &SummaryRow, whole: Figures) -> Row {
    let function = function_name(&row.function);
    let location = match row.file.as_str() {
        "" => function,
        file => format!("{function} at {}", printable(file)),
    };
    Row::from([
        location,
        size_text(row.total.bytes),
        format!("{}%", percent_text(row.total.bytes, whole.bytes)),
        size_text(row.own.bytes),
        format!("{}%", percent_text(row.own.bytes, whole.bytes)),
        row.total.count.to_string(),
    ])
}
