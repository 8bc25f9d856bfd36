//! What every page says about its recording: view, command, totals, memory over time, notices.

use serde::Serialize;

use crate::{
    analysis::{Profile, TimelinePoint, Totals, timeline, timeline::highest},
    model::{CaptureMetadata, CaptureSource, ThreadRow},
    report::{
        Notices, ReportError,
        processes::{ProcessColumns, columns},
        view_title,
    },
};

/// Points that a page's plot has at most; screens have fewer columns.
const TIMELINE_POINTS: usize = 4000;

#[derive(Serialize)]
pub(super) struct Meta {
    view: String,
    headline: Option<&'static str>,
    notices: Vec<String>,
    /// Name and value, both texts or numbers with a unit; in the order in which the page lists them.
    facts: Vec<Fact>,
    timeline: Timeline,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<ProcessColumns>,
}

/// A row of the panel of statistics; `kind` says how the page formats the value.
#[derive(Serialize)]
struct Fact {
    name: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Columns of the memory plot; times are milliseconds since the clock base.
#[derive(Serialize)]
struct Timeline {
    time_ms: Vec<u64>,
    live_bytes: Vec<u64>,
    max_bytes: Vec<u64>,
    rss_bytes: Vec<Option<u64>>,
    peak_ms: Option<u64>,
    peak_bytes: u64,
}

impl Meta {
    pub(super) fn load(source: &dyn CaptureSource, profile: &Profile) -> Result<Self, ReportError> {
        let metadata = source.metadata()?;
        let totals = Totals::new(&metadata);
        let notices = Notices::new(&metadata, &source.losses()?, profile);
        let points = timeline(&source.timeline()?, &metadata.processes, TIMELINE_POINTS);
        Ok(Self {
            view: view_title(profile.view),
            headline: notices.headline(),
            notices: notices.0.into_iter().map(|notice| notice.text).collect(),
            facts: facts(&metadata, &totals, highest(&points), profile),
            timeline: Timeline::new(&points, &totals),
            processes: columns(&metadata),
        })
    }
}

impl Timeline {
    fn new(points: &[TimelinePoint], totals: &Totals) -> Self {
        let highest = highest(points);
        let (peak_ms, peak_bytes) = match totals.peak_ts {
            Some(peak_ts) => (Some(peak_ts / 1_000_000), totals.peak_bytes),
            None => (
                highest.map(|point| point.ts / 1_000_000),
                highest.map_or(0, |point| point.max_bytes),
            ),
        };
        Self {
            time_ms: points.iter().map(|point| point.ts / 1_000_000).collect(),
            live_bytes: points.iter().map(|point| point.live_bytes).collect(),
            max_bytes: points.iter().map(|point| point.max_bytes).collect(),
            rss_bytes: points.iter().map(|point| point.rss_bytes).collect(),
            peak_ms,
            peak_bytes,
        }
    }
}

fn facts(
    metadata: &CaptureMetadata,
    totals: &Totals,
    highest: Option<TimelinePoint>,
    profile: &Profile,
) -> Vec<Fact> {
    let number = |name, kind, number| Fact {
        name,
        kind,
        number: Some(number),
        text: None,
    };
    let text = |name, text: &str| Fact {
        name,
        kind: "text",
        number: None,
        text: Some(text.to_owned()),
    };
    let peaks = match (metadata.processes.len(), highest) {
        (0 | 1, _) => vec![number("Peak memory", "bytes", totals.peak_bytes)],
        (_, highest) => vec![
            number("Peaks of the processes, added up", "bytes", totals.peak_bytes),
            number(
                "Together at one time, about",
                "bytes",
                highest.map_or(0, |point| point.max_bytes),
            ),
        ],
    };
    let mut facts = vec![
        text("Command", &metadata.command_line),
        number("Start (UTC)", "time", metadata.started_at_ms),
        number("Duration", "duration", totals.duration_ms(metadata)),
    ];
    facts.extend(peaks);
    facts.extend([
        number("Allocations", "count", totals.alloc_count),
        number("Allocated in all", "bytes", totals.alloc_bytes),
        number("Alive at the end", "bytes", totals.live_bytes),
        number("In this view", "bytes", profile.total.bytes),
        number("Allocations in this view", "count", profile.total.count),
    ]);
    if totals.startup_count > 0 {
        facts.push(number(
            "Left out before the program's own code",
            "count",
            totals.startup_count,
        ));
    }
    if let [process] = metadata.processes.as_slice() {
        facts.push(text("Process", &process.pid.to_string()));
        facts.push(text("Executable", &process.executable));
        facts.push(text("Python", &process.python_version));
        facts.push(text("Python allocator", &process.python_allocator));
    }
    if metadata.processes.len() > 1 {
        facts.push(number("Processes", "count", metadata.processes.len() as u64));
    }
    if !metadata.other_processes.is_empty() {
        let others = metadata.other_processes.len() as u64;
        facts.push(number("Other processes of the capture", "count", others));
    }
    facts.push(number("Threads", "count", metadata.threads.len() as u64));
    facts.push(text("Kernel", &metadata.kernel_release));
    facts.push(text("memray", &metadata.memray_version));
    facts.retain(|fact| fact.text.as_deref() != Some(""));
    facts
}

/// A thread as people tell it from others: its name and the kernel's number.
pub(super) fn thread_title(thread: &ThreadRow) -> String {
    match thread.name.as_str() {
        "" => thread.tid.to_string(),
        name => format!("{name} ({})", thread.tid),
    }
}
