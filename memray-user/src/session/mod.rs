//! A recording from beginning to end: the only place where target, probes, ring, ingest and store meet.
//!
//! Threads. The caller's starts the program ([`record`]) or waits for somebody to end the recording
//! ([`record_attached`]). The *supervisor* knows which processes are recorded and puts probes in and takes them out. The
//! *collector* reads the ring and keeps the figures. The *writer* turns a batch each half second into a transaction, so
//! that the disk never delays the collector. Beside them, threads that only wait: for the ends of processes, for the
//! kernel to make or to close links, for whoever runs `memray detach`.
//!
//! Order at the end: each process is ended in the capture, at a moment or by itself; probes go; the ring is drained; the
//! last batch is written and the capture finished.

mod attach;
mod carried;
mod clock;
mod closer;
mod collector;
mod control;
mod deaths;
mod ends;
mod error;
mod lost_frees;
mod plans;
mod prepare;
mod python;
mod remembered;
mod rendezvous;
mod run;
mod script;
mod supervisor;
mod told;
mod workers;
mod writer;

use std::{path::PathBuf, sync::mpsc::Sender, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use self::{
    attach::{AttachSettings, RecordedAttached, record_attached},
    deaths::Death,
    error::SessionError,
    prepare::prepare_process,
    rendezvous::{Detached, detach},
    run::{Recorded, RunSettings, record},
    told::Listener,
};
use self::{
    clock::Clock,
    collector::Collector,
    supervisor::{Message, Notice},
    writer::WriterThread,
};
use crate::{
    bpf::{Bounds, Delivery, Recorder},
    ingest::{IngestOptions, bounds::IngestBounds, timeline::Interval},
    model::Batch,
    store::{CaptureWriter, Overwrite, meta_key},
};

/// How long a batch collects.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);

/// What to record into, and what of.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    pub output: PathBuf,
    pub overwrite: Overwrite,
    /// Who is to own the capture, if not we.
    pub owner: Option<(u32, u32)>,
    /// The command line of the recorded program, for reports.
    pub command_line: String,
    /// Count what the interpreter allocates before the program's own code.
    pub include_startup: bool,
    pub delivery: Delivery,
    pub bounds: Bounds,
    pub ingest_bounds: IngestBounds,
    /// Record children, and theirs.
    pub follow_children: bool,
    /// Of the memory curve.
    pub memory_interval: Interval,
}

/// Creates the capture and starts to read the ring.
fn start_collector(
    settings: &CaptureSettings,
    recorder: &Recorder,
    clock: Clock,
    messages: Sender<Message>,
    notices: Sender<Notice>,
) -> Result<Collector, SessionError> {
    let writer = CaptureWriter::create(&settings.output, settings.overwrite, settings.owner)?;
    let writer = WriterThread::start(writer, notices);
    writer.send(first_batch(settings, &clock));
    let options = IngestOptions {
        clock_base_ns: clock.base_ns(),
        interval: settings.memory_interval,
        bounds: settings.ingest_bounds,
        ..IngestOptions::default()
    };
    let bounds = settings.bounds;
    Ok(Collector::start(
        recorder,
        writer,
        (clock, options),
        bounds,
        messages,
    )?)
}

fn first_batch(settings: &CaptureSettings, clock: &Clock) -> Batch {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    let flag = |value: bool| u8::from(value).to_string();
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    Batch {
        meta: vec![
            entry(meta_key::COMMAND_LINE, settings.command_line.clone()),
            entry(meta_key::STARTED_AT_MS, clock.started_at_ms().to_string()),
            entry(meta_key::MEMRAY_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            entry(meta_key::KERNEL_RELEASE, release.unwrap_or_default()),
            entry("clock_base_ns", clock.base_ns().to_string()),
            entry("include_startup", flag(settings.include_startup)),
            entry("follow_fork", flag(settings.follow_children)),
            entry(
                "memory_interval_ms",
                (settings.memory_interval.ns() / 1_000_000).to_string(),
            ),
            entry("delivery", format!("{:?}", settings.delivery).to_lowercase()),
            entry("ring_bytes", settings.bounds.ring_bytes.to_string()),
        ],
        ..Batch::default()
    }
}

/// Lets this process have as many descriptors as it may: each process that is recorded takes some. Not before a program
/// is launched, which would inherit it.
fn raise_file_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What the kernel refuses is missed only with hundreds of processes, and told then.
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
