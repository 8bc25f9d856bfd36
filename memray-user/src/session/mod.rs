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
        Decision, ExitStatus, InheritedSignals, Launch, LaunchError, Outcome, SignalRelay, is_script,
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
    /// The program must be a Python, or a script that becomes one by exec, as pyenv's `python3` is; else any program is
    /// recorded, and the Python that it may become.
    pub must_be_python: bool,
}

/// How a recording went.
#[derive(Debug)]
pub struct Recorded {
    pub status: ExitStatus,
    /// A Python is among the programs that the process has been.
    pub has_python: bool,
    /// Counters that are not zero.
    pub losses: Vec<LossRow>,
    /// Why the capture is not whole, if it is not.
    pub problem: Option<StoreError>,
}

/// How long a batch collects.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the program to its end and records it. An error means that nothing was recorded and that no file is left: the
/// program was not run, or was killed before its first instruction, or has ended before there was anything to record.
///
/// `begun` is called once, when the capture is there and before the recorded program's first instruction.
pub fn record(
    settings: &Settings,
    signals: &InheritedSignals,
    begun: impl Fn(),
) -> Result<Recorded, SessionError> {
    let mut recorder = Recorder::load(settings.delivery)?;
    // The time of the recording is the program's: loading is over when it begins.
    let clock = Clock::start();
    let is_script = is_script(&settings.launch.program).unwrap_or(false);
    let relay = SignalRelay::start();
    let mut child = settings.launch.spawn(signals, &relay)?;
    // Made when all that can be wrong with the program is known: a failure leaves what was there before.
    let mut collector = None;
    let mut has_python = false;
    let released = child.run_until_released(|loaded| {
        let Some(prepared) = prepare(loaded.pid, settings.must_be_python, settings.delivery)? else {
            if is_script {
                return Ok(Decision::WatchForExec);
            }
            let executable = settings.launch.program.clone();
            return Err(SessionError::NotPython { executable });
        };
        if collector.is_none() {
            collector = Some(start_collector(settings, &mut recorder, clock)?);
            begun();
        }
        let collector = collector.as_ref().expect("was made just now or before");
        let decision = attach(settings, &mut recorder, collector, prepared)?;
        has_python = decision == Decision::Release;
        Ok(decision)
    });
    let status = match released {
        Ok(Outcome::Ended(status)) => Ok(status),
        Ok(Outcome::Released) => child.wait().map_err(SessionError::from),
        Err(error) => Err(error),
    };
    match (status, collector) {
        (Ok(status), Some(collector)) => {
            let (losses, problem) = collector.finish(status);
            Ok(Recorded {
                status,
                has_python,
                losses,
                problem,
            })
        }
        (Ok(status), None) => {
            let program = settings.launch.program.clone();
            Err(SessionError::NothingRecorded { program, status })
        }
        (Err(error), collector) => {
            // The child is killed first, so that nothing is left that could fill the ring.
            drop(child);
            collector.map_or(Ok(()), Collector::abandon)?;
            Err(error)
        }
    }
}

fn start_collector(
    settings: &Settings,
    recorder: &mut Recorder,
    clock: Clock,
) -> Result<Collector, SessionError> {
    let ring = recorder.take_ring()?;
    let counters = recorder.take_counters()?;
    let writer = CaptureWriter::create(&settings.output, settings.overwrite, settings.owner)?;
    let writer = WriterThread::start(writer);
    writer.send(first_batch(settings, &clock));
    Ok(Collector::start(ring, counters, writer, clock))
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
