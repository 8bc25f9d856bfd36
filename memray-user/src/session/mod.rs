//! A recording from beginning to end: the only place where target, probes, ring, ingest and store meet.
//!
//! Three threads. The caller's starts the program, holds it at its loaded point while probes go in, and waits for
//! its end, because ptrace ties a process to a thread. The collector's reads the ring and keeps the figures. The
//! writer's turns a batch each half second into a transaction, so that the disk never delays the collector.
//!
//! Order at the end: the program is gone, so all of its events are in the ring; the ring is drained; the last batch
//! is written and the capture finished; the probes are detached; and only then the caller ends as the program did.

mod clock;
mod collector;
mod error;
mod prepare;
mod python;
mod script;
mod writer;

use std::{path::PathBuf, time::Duration};

use self::{
    clock::Clock,
    collector::Collector,
    prepare::{Prepared, prepare},
    script::script_start,
    writer::WriterThread,
};
pub use self::{error::SessionError, prepare::prepare_process};
use crate::{
    bpf::{Delivery, Recorder},
    model::{Batch, LossRow},
    store::{CaptureWriter, Overwrite, StoreError, meta_key},
    target::launch::{
        Child, Decision, ExitStatus, InheritedSignals, Launch, LaunchError, Outcome, SignalRelay,
    },
};

/// What to record, and where to.
#[derive(Debug)]
pub struct Settings {
    pub launch: Launch,
    pub output: PathBuf,
    pub overwrite: Overwrite,
    /// Who is to own the capture, if not we.
    pub owner: Option<(u32, u32)>,
    /// Count what the interpreter allocates before the program's own code.
    pub include_startup: bool,
    pub delivery: Delivery,
    /// The program must be a Python; else any program is recorded, and the Python that it may become.
    pub must_be_python: bool,
}

/// How a recording went.
#[derive(Debug)]
pub struct Recorded {
    pub status: ExitStatus,
    /// Counters that are not zero.
    pub losses: Vec<LossRow>,
    /// Why the capture is not whole, if it is not.
    pub problem: Option<StoreError>,
}

/// How long a batch collects.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the program to its end and records it. An error means that nothing was recorded: the program was not run,
/// or it was killed before its first instruction, and no file is left.
pub fn record(settings: &Settings, signals: &InheritedSignals) -> Result<Recorded, SessionError> {
    let clock = Clock::start();
    let writer = CaptureWriter::create(&settings.output, settings.overwrite, settings.owner)?;
    let relay = SignalRelay::start();
    match start(settings, signals, &relay) {
        Ok((recorder, child)) => run(settings, recorder, child, writer, clock),
        Err(error) => {
            writer.discard()?;
            Err(error)
        }
    }
}

fn start<'relay>(
    settings: &Settings,
    signals: &InheritedSignals,
    relay: &'relay SignalRelay,
) -> Result<(Recorder, Child<'relay>), SessionError> {
    let recorder = Recorder::load(settings.delivery)?;
    let child = settings.launch.spawn(signals, relay)?;
    Ok((recorder, child))
}

fn run(
    settings: &Settings,
    mut recorder: Recorder,
    mut child: Child<'_>,
    writer: CaptureWriter,
    clock: Clock,
) -> Result<Recorded, SessionError> {
    let writer = WriterThread::start(writer);
    writer.send(first_batch(settings, &clock));
    let collector = Collector::start(recorder.take_ring()?, recorder.take_counters()?, writer, clock);
    let mut is_recorded = false;
    let released = child.run_until_released(|loaded| match prepare(loaded.pid, settings.must_be_python)? {
        Some(prepared) => {
            is_recorded = true;
            attach(settings, &mut recorder, &collector, prepared)
        }
        None => Ok(Decision::WatchForExec),
    });
    let status = match released {
        Ok(Outcome::Ended(_)) if !is_recorded => Err(SessionError::NotPython {
            executable: settings.launch.program.clone(),
        }),
        Ok(Outcome::Ended(status)) => Ok(status),
        Ok(Outcome::Released) => child.wait().map_err(SessionError::from),
        Err(error) => Err(error),
    };
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            // The child is killed first, so that nothing is left that could fill the ring.
            drop(child);
            collector.abandon()?;
            return Err(error);
        }
    };
    let recorded = collector.finish(status);
    drop(recorder);
    Ok(recorded)
}

/// Puts the probes in, after the collector knows whose events will come.
fn attach(
    settings: &Settings,
    recorder: &mut Recorder,
    collector: &Collector,
    prepared: Prepared,
) -> Result<Decision, SessionError> {
    let Prepared {
        pid,
        row,
        reader,
        config,
        sites,
        arguments,
    } = prepared;
    let is_python = !row.python_version.is_empty();
    let script = script_start(is_python && !settings.include_startup, &arguments);
    collector.add_process(row, Box::new(reader), script);
    recorder.set_target(pid, &config)?;
    recorder.attach(pid, &sites)?;
    Ok(if is_python {
        Decision::Release
    } else {
        Decision::WatchForExec
    })
}

fn first_batch(settings: &Settings, clock: &Clock) -> Batch {
    let words = settings
        .launch
        .arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    let entry = |key: &str, value: String| (key.to_owned(), value);
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    Batch {
        meta: vec![
            entry(meta_key::COMMAND_LINE, words.collect::<Vec<_>>().join(" ")),
            entry(meta_key::STARTED_AT_MS, clock.started_at_ms().to_string()),
            entry(meta_key::MEMRAY_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            entry(meta_key::KERNEL_RELEASE, release.unwrap_or_default()),
            entry("clock_base_ns", clock.base_ns().to_string()),
            entry("include_startup", u8::from(settings.include_startup).to_string()),
            entry("delivery", format!("{:?}", settings.delivery).to_lowercase()),
        ],
        ..Batch::default()
    }
}

impl From<LaunchError> for SessionError {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}
