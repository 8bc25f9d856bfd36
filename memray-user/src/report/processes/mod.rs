//! The processes of a capture as a table: in text for `stats` and `summary`, as rows for JSON and for pages.

mod text;

use std::cmp::Reverse;

use serde::Serialize;

pub(super) use self::text::{ProcessTable, write_processes};
use super::stats::json_time;
use crate::{
    analysis::{
        ProcessEnd, ProcessFigures,
        processes::{processes, wall_clock_ms},
    },
    model::{CaptureMetadata, ProcessOrigin},
};

/// Letters of a Python version: `3.15.0a7` has eight.
const VERSION_LETTERS: usize = 12;

/// Whether there is something to tell of processes: not for one that the recording ran itself.
pub(super) fn are_worth_telling(metadata: &CaptureMetadata) -> bool {
    match metadata.processes.as_slice() {
        [] => false,
        [only] => only.origin != ProcessOrigin::Launched,
        _ => true,
    }
}

/// The processes with the highest peaks first, equals in the order in which they came.
fn ranked(metadata: &CaptureMetadata) -> Vec<ProcessFigures> {
    let mut rows = processes(metadata);
    rows.sort_by_key(|process| Reverse(process.peak.bytes));
    rows
}

fn version(process: &ProcessFigures) -> String {
    process.row.python_version.chars().take(VERSION_LETTERS).collect()
}

fn end_text(end: ProcessEnd, metadata: &CaptureMetadata) -> String {
    match end {
        ProcessEnd::Exited(Some(status)) => format!("exit {status}"),
        ProcessEnd::Exited(None) => "ended".to_owned(),
        ProcessEnd::Executed => "exec".to_owned(),
        ProcessEnd::Running if metadata.finished => "ran on".to_owned(),
        ProcessEnd::Running => "running".to_owned(),
    }
}

/// A process in `stats --json`.
#[derive(Serialize)]
pub(super) struct ProcessDocument {
    process_id: u32,
    pid: u32,
    parent_process_id: Option<u32>,
    parent_pid: Option<u32>,
    origin: &'static str,
    command_line: String,
    executable: String,
    python_version: String,
    python_allocator: String,
    /// Where its figures begin.
    counted_since: Option<String>,
    ended_at: Option<String>,
    /// `exited`, `executed` (it became another program) or `running`.
    end: &'static str,
    exit_status: Option<i32>,
    total_num_allocations: u64,
    total_bytes_allocated: u64,
    /// Its own; the peak of the capture is the sum of these.
    peak_memory: u64,
    live_num_allocations: u64,
    live_bytes: u64,
}

/// All processes in the order in which they came; none if there is nothing to tell.
pub(super) fn documents(metadata: &CaptureMetadata) -> Vec<ProcessDocument> {
    if !are_worth_telling(metadata) {
        return Vec::new();
    }
    let time = |time_ns| wall_clock_ms(metadata, time_ns).map(json_time);
    let document = |process: ProcessFigures| ProcessDocument {
        counted_since: time(process.counted_from_ns()),
        ended_at: process.row.ended_ns.and_then(time),
        process_id: process.row.process_id,
        pid: process.row.pid,
        parent_process_id: process.row.parent_process_id,
        parent_pid: process.parent_pid,
        origin: process.row.origin.name(),
        command_line: process.row.command_line,
        executable: process.row.executable,
        python_version: process.row.python_version,
        python_allocator: process.row.python_allocator,
        end: match process.end {
            ProcessEnd::Exited(_) => "exited",
            ProcessEnd::Executed => "executed",
            ProcessEnd::Running => "running",
        },
        exit_status: process.row.exit_status,
        total_num_allocations: process.allocated.count,
        total_bytes_allocated: process.allocated.bytes,
        peak_memory: process.peak.bytes,
        live_num_allocations: process.live.count,
        live_bytes: process.live.bytes,
    };
    processes(metadata).into_iter().map(document).collect()
}

/// Rows that a page is given.
const MOST_PAGE_ROWS: usize = 200;

/// The table of processes in a page: columns, highest peak first.
#[derive(Default, Serialize)]
pub(super) struct ProcessColumns {
    pid: Vec<u32>,
    parent_pid: Vec<Option<u32>>,
    origin: Vec<&'static str>,
    python: Vec<String>,
    peak_bytes: Vec<u64>,
    count: Vec<u64>,
    live_bytes: Vec<u64>,
    since_ms: Vec<Option<u64>>,
    end: Vec<String>,
    command: Vec<String>,
    /// With smaller peaks.
    left_out: usize,
}

/// None if there is nothing to tell.
pub(super) fn columns(metadata: &CaptureMetadata) -> Option<ProcessColumns> {
    if !are_worth_telling(metadata) {
        return None;
    }
    let rows = ranked(metadata);
    let mut columns = ProcessColumns {
        left_out: rows.len().saturating_sub(MOST_PAGE_ROWS),
        ..ProcessColumns::default()
    };
    for process in rows.iter().take(MOST_PAGE_ROWS) {
        columns.pid.push(process.row.pid);
        columns.parent_pid.push(process.parent_pid);
        columns.origin.push(process.row.origin.name());
        columns.python.push(version(process));
        columns.peak_bytes.push(process.peak.bytes);
        columns.count.push(process.allocated.count);
        columns.live_bytes.push(process.live.bytes);
        columns
            .since_ms
            .push(wall_clock_ms(metadata, process.counted_from_ns()));
        columns.end.push(end_text(process.end, metadata));
        columns.command.push(process.short_command());
    }
    Some(columns)
}
