//! Processes that run already.

use std::time::{Duration, Instant};

use super::{
    CaptureSettings,
    clock::Clock,
    collector::Captured,
    deaths::Death,
    error::SessionError,
    raise_file_limit,
    rendezvous::Rendezvous,
    supervisor::{Adopted, Adoption, SupervisorThread},
    told::{Listener, Told},
};
use crate::{
    bpf::{self, Recorder, RecorderOptions},
    model::{LossRow, ProcessOrigin},
    target::{
        launch::SignalRelay,
        process::{Process, ProcessError},
        scheduling,
    },
};

/// What to attach to, and how to record it.
#[derive(Debug)]
pub struct AttachSettings {
    pub pids: Vec<u32>,
    pub capture: CaptureSettings,
    /// None without a bound.
    pub duration: Option<Duration>,
    /// Any program will do, not only a Python.
    pub any_program: bool,
}

/// How the recording of running processes went.
#[derive(Debug)]
pub struct RecordedAttached {
    /// Counters that are not zero.
    pub losses: Vec<LossRow>,
    pub deaths: Vec<Death>,
    /// Why not has been told.
    pub is_whole: bool,
}

/// How soon the end of everything is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Records until the processes have ended, or the time is over, or somebody has had enough. An error means that nothing
/// was recorded and that no file is left.
pub fn record_attached(
    settings: &AttachSettings,
    listener: &impl Listener,
) -> Result<RecordedAttached, SessionError> {
    let mut command_lines = Vec::new();
    for &pid in &settings.pids {
        command_lines.push(look_at(pid)?);
    }
    let capture = CaptureSettings {
        command_line: command_lines.join("; "),
        ..settings.capture.clone()
    };
    raise_file_limit();
    // A busy target would take half of the CPU from the verifier. Nothing is launched from here that would inherit it.
    scheduling::raise_priority();
    let recorder = Recorder::load(RecorderOptions {
        delivery: capture.delivery,
        bounds: capture.bounds,
        follow_children: capture.follow_children,
        may_start_threads: true,
    })?;
    let clock = Clock::start();
    let relay = SignalRelay::start();
    let (supervisor, notices) = SupervisorThread::start(recorder, capture, clock)?;
    let told = Told { notices, listener };
    let rendezvous = Rendezvous::open(supervisor.handle());
    if let Err(error) = adopt_all(settings, &supervisor) {
        supervisor.abandon()?;
        return Err(error);
    }
    listener.begun();
    supervisor.tell_the_end();
    wait(settings.duration, &told, &relay);
    let finished = supervisor.finish();
    drop(rendezvous);
    told.tell_the_rest();
    let Captured { losses, is_whole } = finished.capture.unwrap_or_default();
    Ok(RecordedAttached {
        losses,
        deaths: finished.deaths,
        is_whole,
    })
}

fn adopt_all(settings: &AttachSettings, supervisor: &SupervisorThread) -> Result<(), SessionError> {
    for &pid in &settings.pids {
        let adopted = supervisor.adopt(Adoption {
            pid,
            origin: ProcessOrigin::Attached,
            must_be_python: !settings.any_program,
            is_launching: false,
        })?;
        if adopted == Adopted::Refused {
            let executable = Process::open(pid)?.executable()?;
            return Err(SessionError::AttachNotPython { pid, executable });
        }
    }
    Ok(())
}

/// What can be told before anything is loaded: that there is no such process. Returns its command line.
fn look_at(pid: u32) -> Result<String, SessionError> {
    if std::fs::read_link("/proc/self")
        .is_ok_and(|own| own.as_os_str() != std::process::id().to_string().as_str())
    {
        return Err(SessionError::OtherProc);
    }
    let process = Process::open(pid)?;
    if pid == std::process::id() {
        return Err(SessionError::Ourselves);
    }
    let words = process.command_line()?;
    if !process.is_running() {
        return Err(ProcessError::NoExecutable { pid }.into());
    }
    process.executable()?;
    if is_below_our_namespace(&process) {
        return Err(SessionError::BelowOurNamespace { pid });
    }
    let words = words.iter().map(|word| word.to_string_lossy().into_owned());
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// In the initial pid namespace the kernel tells of all processes, in any other of those that are in the very same.
fn is_below_our_namespace(process: &Process) -> bool {
    let surroundings = process.surroundings();
    let is_elsewhere =
        surroundings.is_ok_and(|found| found.other_namespaces.is_some_and(|kinds| kinds.contains(&"pid")));
    is_elsewhere && !bpf::is_in_initial_pid_namespace()
}

fn wait(duration: Option<Duration>, told: &Told<'_, impl Listener>, relay: &SignalRelay) {
    let end = duration.and_then(|duration| Instant::now().checked_add(duration));
    loop {
        if told.all_ended() {
            return;
        }
        let left = end.map_or(LOOK_INTERVAL, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() || relay.is_interrupted(left.min(LOOK_INTERVAL)) {
            return;
        }
    }
}
