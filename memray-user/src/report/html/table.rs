//! The table page: what each line of code allocated through each allocator.

use std::{collections::BTreeMap, io::Write};

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{
    meta::{Meta, thread_title},
    script,
    strings::StringTable,
    write_page,
};
use crate::{
    analysis::{
        Figures, Profile,
        processes::{PROCESS_UNKNOWN, process_of_thread, processes},
    },
    model::{Allocator, CaptureSource, ProcessId, ThreadId, View},
    report::ReportError,
};

/// Whether rows of different threads are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    #[default]
    Merged,
    Split,
}

#[derive(Clone, Copy, Debug)]
pub struct TableSettings {
    pub view: View,
    pub threads: Threads,
}

#[derive(Serialize)]
struct Payload<'data> {
    meta: Meta,
    strings: Vec<&'data str>,
    rows: Rows,
}

/// Columns, largest first; texts index the strings. `process` is left out where there is one, `thread` where threads
/// are merged.
#[derive(Default, Serialize)]
struct Rows {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Vec<usize>>,
    bytes: Vec<u64>,
    allocator: Vec<usize>,
    count: Vec<u64>,
    function: Vec<usize>,
    file: Vec<usize>,
    line: Vec<u32>,
}

/// Writes the page. A location is the innermost frame of a stack, as in memray.
pub fn write_table(
    source: &dyn CaptureSource,
    settings: TableSettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let metadata = source.metadata()?;
    let profile = Profile::load(source, settings.view)?;
    let titles: BTreeMap<ThreadId, String> = metadata
        .threads
        .iter()
        .map(|thread| (thread.thread_id, thread_title(thread)))
        .collect();
    let labels: BTreeMap<ProcessId, String> = processes(&metadata)
        .iter()
        .map(|process| (process.row.process_id, process.label()))
        .collect();
    let process_of_thread = match labels.len() {
        0 | 1 => FxHashMap::default(),
        _ => process_of_thread(&metadata),
    };
    let mut strings = StringTable::default();
    let mut rows = Rows::default();
    if labels.len() > 1 {
        rows.process = Some(Vec::new());
    }
    if settings.threads == Threads::Split {
        rows.thread = Some(Vec::new());
    }
    for ((process_id, thread_id, allocator, frame), figures) in
        aggregate(&profile, settings.threads, &process_of_thread)
    {
        if let Some(column) = &mut rows.process {
            column.push(strings.index(labels.get(&process_id).map_or(PROCESS_UNKNOWN, String::as_str)));
        }
        if let Some(column) = &mut rows.thread {
            column.push(strings.index(titles.get(&thread_id).map_or("", String::as_str)));
        }
        let frame = profile.frame(frame);
        rows.bytes.push(figures.bytes);
        rows.allocator.push(strings.index(allocator.name()));
        rows.count.push(figures.count);
        rows.function.push(strings.index(&frame.function));
        rows.file.push(strings.index(&frame.file));
        rows.line.push(frame.line);
    }
    let payload = Payload {
        meta: Meta::load(source, &profile)?,
        strings: strings.into_texts(),
        rows,
    };
    write_page(
        "memray table",
        include_str!("../../../web/table.html"),
        &MODULES,
        &payload,
        output,
    )
}

const MODULES: [&str; 6] = [
    script::UNITS,
    script::DOM,
    script::TIMELINE,
    script::PAGE,
    script::ROWS,
    script::TABLE,
];

type RowKey = (ProcessId, ThreadId, Allocator, u32);

/// Largest first, equals by key; with merged threads the key's thread is 0, and so is the process of a thread that is
/// not in `process_of_thread`.
fn aggregate(
    profile: &Profile,
    threads: Threads,
    process_of_thread: &FxHashMap<ThreadId, ProcessId>,
) -> Vec<(RowKey, Figures)> {
    let mut sums: BTreeMap<RowKey, Figures> = BTreeMap::new();
    for site in &profile.sites {
        let thread_id = match threads {
            Threads::Merged => 0,
            Threads::Split => site.thread_id,
        };
        let frame = profile.stacks[site.stack as usize].frame;
        let process_id = process_of_thread.get(&site.thread_id).copied().unwrap_or(0);
        sums.entry((process_id, thread_id, site.allocator, frame))
            .or_default()
            .add(site.figures);
    }
    let mut rows: Vec<(RowKey, Figures)> = sums
        .into_iter()
        .filter(|(_, figures)| !figures.is_zero())
        .collect();
    rows.sort_by_key(|(_, figures)| std::cmp::Reverse((figures.bytes, figures.count)));
    rows
}
