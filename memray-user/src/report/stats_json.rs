//! `stats --json`: memray's keys, then our own (`startup`, `peak_resident`, `mapped_memory`, `losses`, `finished`, and `processes` unless there is one and
//! the recording ran it).
//!
//! Differences to memray, where its figures are wrong or its form is: `total_allocations` counts allocations and not
//! frees as well, `total_frames` is counted, times are UTC, and a capture without allocations gives a document with
//! empty lists.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;

use super::{
    ReportError, StatsSettings,
    json::{EscapedJson, JsonPlace},
    label,
    notices::has_option,
    processes::{ProcessDocument, documents},
    stats::{Statistics, json_time},
};
use crate::{
    analysis::{LocationFigures, ModuleFigures},
    model::CaptureSource,
};

#[derive(Serialize)]
struct Document<'data> {
    total_num_allocations: u64,
    total_bytes_allocated: u64,
    allocation_size_histogram: Vec<Bin>,
    allocator_type_distribution: BTreeMap<String, u64>,
    top_allocations_by_size: Vec<TopSize>,
    top_allocations_by_count: Vec<TopCount>,
    top_modules_by_allocation_size: Vec<TopModule<'data>>,
    top_modules_by_allocation_count: Vec<TopModule<'data>>,
    metadata: Metadata<'data>,
    startup: Startup,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_resident: Option<PeakResidentDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mapped_memory: Vec<MappedMemory>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<ProcessDocument>,
    losses: Vec<Loss<'data>>,
}

/// Both bounds are in the bin.
#[derive(Serialize)]
struct Bin {
    min_bytes: u64,
    max_bytes: u64,
    count: u64,
}

#[derive(Serialize)]
struct TopSize {
    location: String,
    size: u64,
}

#[derive(Serialize)]
struct TopCount {
    location: String,
    count: u64,
}

#[derive(Serialize)]
struct TopModule<'data> {
    module: &'data str,
    num_allocations: u64,
    total_bytes: u64,
}

#[derive(Serialize)]
struct Metadata<'data> {
    start_time: String,
    end_time: Option<String>,
    total_allocations: u64,
    total_frames: usize,
    /// Of several processes the sum of each one's own.
    peak_memory: u64,
    /// What several processes held together at one time, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_together: Option<u64>,
    command_line: &'data str,
    pid: Option<u32>,
    main_thread_id: Option<u32>,
    python_allocator: &'data str,
    has_native_traces: bool,
    trace_python_allocators: bool,
    file_format: &'static str,
    finished: bool,
    python_version: &'data str,
    memray_version: &'data str,
    kernel_release: &'data str,
}

/// Made before the program's own code began and not in the figures.
#[derive(Serialize)]
struct Startup {
    num_allocations: u64,
    total_bytes: u64,
}

/// Of several processes each one's own, added up. The parts are not known of older captures.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the keys of the document")]
struct PeakResidentDocument {
    rss_bytes: u64,
    anon_bytes: Option<u64>,
    file_bytes: Option<u64>,
    shmem_bytes: Option<u64>,
}

/// What was mapped beside the heap, of one kind.
#[derive(Serialize)]
struct MappedMemory {
    kind: &'static str,
    highest_bytes: u64,
    live_bytes: u64,
}

/// One counter, also those that are no loss (`kind` says which).
#[derive(Serialize)]
struct Loss<'data> {
    process_id: Option<u32>,
    reason: &'data str,
    kind: &'data str,
    events: u64,
    bytes: u64,
    description: &'data str,
}

/// Writes the report as one JSON document; `settings.color` has no meaning here.
pub fn write_stats_json(
    source: &dyn CaptureSource,
    settings: StatsSettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let statistics = Statistics::load(source, settings.view, settings.largest)?;
    serde_json::to_writer_pretty(EscapedJson::new(JsonPlace::File, output), &document(&statistics))?;
    writeln!(output)?;
    Ok(())
}

fn document(statistics: &Statistics) -> Document<'_> {
    let totals = &statistics.totals;
    let location = |row: &LocationFigures| label::exact_location(statistics.profile.frame(row.frame));
    let bins = statistics.histogram.bins.iter();
    Document {
        total_num_allocations: totals.alloc_count,
        total_bytes_allocated: totals.alloc_bytes,
        allocation_size_histogram: bins
            .map(|bin| Bin {
                min_bytes: bin.min_bytes,
                max_bytes: bin.max_bytes,
                count: bin.count,
            })
            .collect(),
        allocator_type_distribution: statistics
            .allocators
            .iter()
            .map(|share| (share.allocator.name().to_uppercase(), share.figures.count))
            .collect(),
        top_allocations_by_size: statistics
            .locations_by_size
            .iter()
            .map(|row| TopSize {
                location: location(row),
                size: row.figures.bytes,
            })
            .collect(),
        top_allocations_by_count: statistics
            .locations_by_count
            .iter()
            .map(|row| TopCount {
                location: location(row),
                count: row.figures.count,
            })
            .collect(),
        top_modules_by_allocation_size: top_modules(&statistics.modules_by_size),
        top_modules_by_allocation_count: top_modules(&statistics.modules_by_count),
        metadata: metadata(statistics),
        startup: Startup {
            num_allocations: totals.startup_count,
            total_bytes: totals.startup_bytes,
        },
        peak_resident: statistics.peak_resident.map(|peak| PeakResidentDocument {
            rss_bytes: peak.rss_bytes,
            anon_bytes: peak.parts.map(|parts| parts.anon_bytes),
            file_bytes: peak.parts.map(|parts| parts.file_bytes),
            shmem_bytes: peak.parts.map(|parts| parts.shmem_bytes),
        }),
        mapped_memory: statistics
            .mapped
            .iter()
            .map(|figures| MappedMemory {
                kind: figures.kind.name(),
                highest_bytes: figures.highest_bytes,
                live_bytes: figures.live_bytes,
            })
            .collect(),
        processes: documents(&statistics.metadata),
        losses: statistics
            .losses
            .iter()
            .map(|loss| Loss {
                process_id: loss.process_id,
                reason: &loss.reason,
                kind: &loss.kind,
                events: loss.events,
                bytes: loss.bytes,
                description: &loss.description,
            })
            .collect(),
    }
}

fn top_modules(rows: &[ModuleFigures]) -> Vec<TopModule<'_>> {
    rows.iter()
        .map(|row| TopModule {
            module: &row.module,
            num_allocations: row.figures.count,
            total_bytes: row.figures.bytes,
        })
        .collect()
}

fn metadata(statistics: &Statistics) -> Metadata<'_> {
    let metadata = &statistics.metadata;
    let process = metadata.processes.first();
    Metadata {
        start_time: json_time(metadata.started_at_ms),
        end_time: metadata.ended_at_ms.map(json_time),
        total_allocations: statistics.totals.alloc_count,
        total_frames: statistics.profile.frames.len(),
        peak_memory: statistics.totals.peak_bytes,
        peak_memory_together: statistics.together.map(|point| point.max_bytes),
        command_line: &metadata.command_line,
        pid: process.map(|process| process.pid),
        main_thread_id: metadata.threads.first().map(|thread| thread.tid),
        python_allocator: process.map_or("", |process| process.python_allocator.as_str()),
        has_native_traces: has_option(metadata, "native"),
        trace_python_allocators: has_option(metadata, "trace_python_allocators"),
        file_format: "sqlite",
        finished: metadata.finished,
        python_version: process.map_or("", |process| process.python_version.as_str()),
        memray_version: &metadata.memray_version,
        kernel_release: &metadata.kernel_release,
    }
}
