//! The table page: what each line of code allocated through each allocator.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;

use super::{
    meta::{Meta, thread_title},
    script,
    strings::StringTable,
    write_page,
};
use crate::{
    analysis::{Figures, Profile},
    model::{Allocator, CaptureSource, ThreadId, View},
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

/// Columns, largest first; texts index the strings. `thread` is left out where threads are merged.
#[derive(Default, Serialize)]
struct Rows {
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
    let mut strings = StringTable::default();
    let mut rows = Rows::default();
    if settings.threads == Threads::Split {
        rows.thread = Some(Vec::new());
    }
    for ((thread_id, allocator, frame), figures) in aggregate(&profile, settings.threads) {
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

type RowKey = (ThreadId, Allocator, u32);

/// Largest first, equals by key; with merged threads the key's thread is 0.
fn aggregate(profile: &Profile, threads: Threads) -> Vec<(RowKey, Figures)> {
    let mut sums: BTreeMap<RowKey, Figures> = BTreeMap::new();
    for site in &profile.sites {
        let thread_id = match threads {
            Threads::Merged => 0,
            Threads::Split => site.thread_id,
        };
        let frame = profile.stacks[site.stack as usize].frame;
        sums.entry((thread_id, site.allocator, frame))
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
