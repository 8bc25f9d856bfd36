//! `stats`: the whole recording in numbers, in memray's order and words.

use std::io::Write;

use super::{
    Color, Notices, ReportError, label,
    processes::{ProcessTable, are_worth_telling, write_processes},
    style::Style,
    view_title,
};
use crate::{
    analysis::{
        AllocatorShare, Histogram, LocationFigures, MappedFigures, ModuleFigures, PeakResident, Profile,
        Rank, TimelinePoint, Totals, allocator_shares,
        allocators::recorded_allocator_shares,
        locations, mapped, modules, peak_resident,
        timeline::{highest, timeline},
    },
    escape::printable,
    model::{CaptureMetadata, CaptureSource, LossRow, MappingKind, View},
    units::{count_text, duration_text, size_text, time_text},
};

/// Width of the longest bar of the histogram.
const BAR_WIDTH: u64 = 25;

#[derive(Clone, Copy, Debug)]
pub struct StatsSettings {
    /// What locations, modules and allocators are about; totals and histogram are about the whole recording.
    pub view: View,
    /// Rows in each ranking.
    pub largest: usize,
    pub color: Color,
    /// Columns of the terminal, into which the processes are fitted. None for lines as long as they need.
    pub width: Option<u16>,
}

impl Default for StatsSettings {
    /// memray's: the whole recording, five rows.
    fn default() -> Self {
        Self {
            view: View::All,
            largest: 5,
            color: Color::Never,
            width: None,
        }
    }
}

/// All that both forms of the report show.
pub(super) struct Statistics {
    pub(super) metadata: CaptureMetadata,
    pub(super) losses: Vec<LossRow>,
    pub(super) totals: Totals,
    /// What several processes held together at one time, and when.
    pub(super) together: Option<TimelinePoint>,
    pub(super) peak_resident: Option<PeakResident>,
    /// What was mapped beside the heap.
    pub(super) mapped: Vec<MappedFigures>,
    pub(super) histogram: Histogram,
    pub(super) allocators: Vec<AllocatorShare>,
    pub(super) locations_by_size: Vec<LocationFigures>,
    pub(super) locations_by_count: Vec<LocationFigures>,
    pub(super) modules_by_size: Vec<ModuleFigures>,
    pub(super) modules_by_count: Vec<ModuleFigures>,
    pub(super) profile: Profile,
}

impl Statistics {
    pub(super) fn load(source: &dyn CaptureSource, view: View, largest: usize) -> Result<Self, ReportError> {
        let metadata = source.metadata()?;
        let totals = Totals::new(&metadata);
        let sizes = source.size_histogram()?;
        let profile = Profile::load(source, view)?;
        let allocators = match view {
            View::All => recorded_allocator_shares(&sizes),
            _ => allocator_shares(&profile),
        };
        let top_locations = |rank| {
            let mut rows = locations(&profile, rank);
            rows.truncate(largest);
            rows
        };
        let top_modules = |rank| {
            let mut rows = modules(&profile, rank);
            rows.truncate(largest);
            rows
        };
        let curve = source.timeline()?;
        let together = match metadata.processes.len() {
            0 | 1 => None,
            _ => highest(&timeline(&curve, &metadata.processes, usize::MAX)),
        };
        Ok(Self {
            totals,
            together,
            peak_resident: peak_resident(&curve),
            mapped: mapped(&source.mapping_totals()?),
            histogram: Histogram::new(&sizes, totals.min_size, totals.max_size),
            allocators,
            locations_by_size: top_locations(Rank::Size),
            locations_by_count: top_locations(Rank::Count),
            modules_by_size: top_modules(Rank::Size),
            modules_by_count: top_modules(Rank::Count),
            losses: source.losses()?,
            metadata,
            profile,
        })
    }
}

/// Writes the report as text.
pub fn write_stats(
    source: &dyn CaptureSource,
    settings: StatsSettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let statistics = Statistics::load(source, settings.view, settings.largest)?;
    let mut report = Report {
        color: settings.color,
        output,
    };
    report.totals(&statistics)?;
    if are_worth_telling(&statistics.metadata) {
        writeln!(report.output)?;
        let table = ProcessTable {
            color: settings.color,
            width: settings.width,
            tabs: 1,
        };
        write_processes(&statistics.metadata, table, report.output)?;
    }
    if statistics.totals.alloc_count == 0 {
        writeln!(report.output, "\nNo allocations were recorded.")?;
    } else {
        report.histogram(&statistics)?;
        report.rankings(&statistics, settings)?;
    }
    report.beside(&statistics)?;
    report.startup(&statistics.totals)?;
    report.held_back(&statistics.losses)?;
    let notices = Notices::new(&statistics.metadata, &statistics.losses, &statistics.profile);
    if !notices.is_empty() {
        writeln!(report.output)?;
    }
    notices.write(settings.color, report.output)
}

struct Report<'output> {
    color: Color,
    output: &'output mut dyn Write,
}

impl Report<'_> {
    fn heading(&mut self, text: &str) -> Result<(), ReportError> {
        writeln!(self.output, "{}", self.color.paint(Style::Heading, text))?;
        Ok(())
    }

    fn totals(&mut self, statistics: &Statistics) -> Result<(), ReportError> {
        let totals = &statistics.totals;
        self.heading("📏 Total allocations:")?;
        writeln!(self.output, "\t{}\n", totals.alloc_count)?;
        self.heading("📦 Total memory allocated:")?;
        writeln!(self.output, "\t{}\n", size_text(totals.alloc_bytes))?;
        self.heading("📈 Peak memory usage:")?;
        let peak = size_text(totals.peak_bytes);
        match (totals.peak_ts, statistics.metadata.processes.len()) {
            (Some(peak_ts), _) => writeln!(
                self.output,
                "\t{peak} ({}.{:03} s after the start)",
                peak_ts / 1_000_000_000,
                peak_ts / 1_000_000 % 1000
            )?,
            (None, 0 | 1) => writeln!(self.output, "\t{peak}")?,
            (None, count) => writeln!(
                self.output,
                "\t{peak} (the peaks of {} processes added up, each at its own time)",
                count_text(count as u64)
            )?,
        }
        if let Some(point) = statistics.together {
            writeln!(
                self.output,
                "\tabout {} together at one time ({} after the start)",
                size_text(point.max_bytes),
                duration_text(point.ts / 1_000_000)
            )?;
        }
        Ok(())
    }

    fn histogram(&mut self, statistics: &Statistics) -> Result<(), ReportError> {
        let bins = &statistics.histogram.bins;
        writeln!(self.output)?;
        self.heading("📊 Histogram of allocation size:")?;
        writeln!(self.output, "\tmin: {}", size_text(statistics.totals.min_size))?;
        let bounds: Vec<String> = (1..=bins.len())
            .zip(bins)
            .map(|(number, bin)| {
                if number == bins.len() {
                    format!("<={}", size_text(bin.max_bytes))
                } else {
                    format!("< {}", size_text(bin.max_bytes.saturating_add(1)))
                }
            })
            .collect();
        let bound_width = bounds.iter().map(String::len).max().unwrap_or(0);
        let largest = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
        let count_width = largest.to_string().len();
        let rule = "-".repeat(bound_width + count_width + 29);
        writeln!(self.output, "\t{rule}")?;
        for (bound, bin) in bounds.iter().zip(bins) {
            let width = u128::from(bin.count) * u128::from(BAR_WIDTH);
            let width = usize::try_from(width.div_ceil(u128::from(largest))).unwrap_or(0);
            let line = format!(
                "\t{bound:<bound_width$}: {:>count_width$} {}",
                bin.count,
                "▇".repeat(width)
            );
            writeln!(self.output, "{}", line.trim_end())?;
        }
        writeln!(self.output, "\t{rule}")?;
        writeln!(self.output, "\tmax: {}", size_text(statistics.totals.max_size))?;
        Ok(())
    }

    fn rankings(&mut self, statistics: &Statistics, settings: StatsSettings) -> Result<(), ReportError> {
        let largest = settings.largest;
        let (of_view, scope) = match settings.view {
            View::All => (String::new(), String::new()),
            view => (
                format!(" ({})", view_title(view)),
                format!(", {}", view_title(view)),
            ),
        };
        writeln!(self.output)?;
        self.heading(&format!("📂 Allocator type distribution{of_view}:"))?;
        for share in &statistics.allocators {
            writeln!(
                self.output,
                "\t {}: {}",
                share.allocator.name().to_uppercase(),
                share.figures.count
            )?;
        }
        if statistics.profile.is_empty() {
            writeln!(
                self.output,
                "\nNo allocations in this view ({}).",
                view_title(settings.view)
            )?;
            return Ok(());
        }
        writeln!(self.output)?;
        self.heading(&format!(
            "🥇 Top {largest} largest allocating locations (by size{scope}):"
        ))?;
        for row in &statistics.locations_by_size {
            let location = label::colon_location(statistics.profile.frame(row.frame));
            writeln!(self.output, "\t- {location} -> {}", size_text(row.figures.bytes))?;
        }
        writeln!(self.output)?;
        self.heading(&format!(
            "🥇 Top {largest} largest allocating locations (by number of allocations{scope}):"
        ))?;
        for row in &statistics.locations_by_count {
            let location = label::colon_location(statistics.profile.frame(row.frame));
            writeln!(self.output, "\t- {location} -> {}", row.figures.count)?;
        }
        writeln!(self.output)?;
        self.heading(&format!("🥇 Top {largest} allocating modules (by size{scope}):"))?;
        self.modules(&statistics.modules_by_size)?;
        writeln!(self.output)?;
        self.heading(&format!(
            "🥇 Top {largest} allocating modules (by number of allocations{scope}):"
        ))?;
        self.modules(&statistics.modules_by_count)
    }

    fn modules(&mut self, rows: &[ModuleFigures]) -> Result<(), ReportError> {
        for row in rows {
            let (module, size) = (printable(&row.module), size_text(row.figures.bytes));
            writeln!(
                self.output,
                "\t- {module}: {size} total | {} allocations",
                row.figures.count
            )?;
        }
        Ok(())
    }

    /// What is no heap: pages in memory, of whatever they are, and what was mapped and does not count.
    fn beside(&mut self, statistics: &Statistics) -> Result<(), ReportError> {
        let of_each = match statistics.metadata.processes.len() {
            0 | 1 => "",
            _ => ", the peaks of all processes added up",
        };
        if let Some(PeakResident { rss_bytes, parts }) = statistics.peak_resident {
            writeln!(self.output)?;
            self.heading(&format!("🧮 Peak resident memory{of_each}:"))?;
            let parts = parts.map_or_else(String::new, |parts| {
                format!(
                    " (anonymous {}, files {}, shared {})",
                    size_text(parts.anon_bytes),
                    size_text(parts.file_bytes),
                    size_text(parts.shmem_bytes)
                )
            });
            writeln!(self.output, "\t{}{parts}", size_text(rss_bytes))?;
        }
        if !statistics.mapped.is_empty() {
            writeln!(self.output)?;
            self.heading(&format!("📐 Mapped beside the heap{of_each}:"))?;
            for figures in &statistics.mapped {
                writeln!(
                    self.output,
                    "\t {}: at most {}, at the end {}",
                    kind_text(figures.kind),
                    size_text(figures.highest_bytes),
                    size_text(figures.live_bytes)
                )?;
            }
        }
        Ok(())
    }

    fn startup(&mut self, totals: &Totals) -> Result<(), ReportError> {
        if totals.startup_count == 0 {
            return Ok(());
        }
        writeln!(self.output)?;
        self.heading("🚀 Left out, because made before the program's own code began:")?;
        let size = size_text(totals.startup_bytes);
        writeln!(self.output, "\t{} allocations, {size}", totals.startup_count)?;
        Ok(())
    }

    /// The price of losing nothing.
    fn held_back(&mut self, losses: &[LossRow]) -> Result<(), ReportError> {
        let sum = |reason: &str| -> u64 {
            let rows = losses.iter().filter(|row| row.reason == reason);
            rows.fold(0, |sum, row| sum.saturating_add(row.events))
        };
        let (waits, waited_ns) = (sum("throttle_waits"), sum("throttle_wait_ns"));
        if waits == 0 {
            return Ok(());
        }
        writeln!(self.output)?;
        self.heading("⏳ Held back so that nothing was lost, all threads together:")?;
        let times = count_text(waits);
        writeln!(
            self.output,
            "\t{}.{:03} s in {times} waits",
            waited_ns / 1_000_000_000,
            waited_ns / 1_000_000 % 1000
        )?;
        Ok(())
    }
}

const fn kind_text(kind: MappingKind) -> &'static str {
    match kind {
        MappingKind::Reserved => "reserved, without access",
        MappingKind::File => "files",
        MappingKind::SharedFile => "shared files",
        MappingKind::Stack => "stacks",
    }
}

/// Milliseconds since the epoch as memray writes times in JSON, always in UTC.
pub(super) fn json_time(milliseconds: u64) -> String {
    format!("{}+00:00", time_text(milliseconds))
}
