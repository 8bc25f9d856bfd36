//! A program that is started to be recorded.

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
    bpf::{Recorder, RecorderOptions},
    model::{LossRow, ProcessOrigin},
    target::launch::{
        Child, Decision, ExitStatus, InheritedSignals, Launch, LaunchError, Outcome, SignalRelay, is_script,
    },
};

/// What to run, and how to record it.
#[derive(Debug)]
pub struct RunSettings {
    pub launch: Launch,
    pub capture: CaptureSettings,
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
    /// Of the program and of all that was recorded beside it, those by signals.
    pub deaths: Vec<Death>,
    /// Why not has been told.
    pub is_whole: bool,
}

/// How soon it is noticed that nothing is recorded any more.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// After that it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the program to its end and records it. An error means that nothing was recorded and that no file is left: the
/// program was not run, or was killed before its first instruction, or has ended before there was anything to record.
pub fn record(
    settings: &RunSettings,
    signals: &InheritedSignals,
    listener: &impl Listener,
) -> Result<Recorded, SessionError> {
    let options = RecorderOptions {
        delivery: settings.capture.delivery,
        bounds: settings.capture.bounds,
        follow_children: settings.capture.follow_children,
        may_start_threads: false,
    };
    let recorder = Recorder::load(options)?;
    // The time of the recording is the program's: loading is over when it begins.
    let clock = Clock::start();
    let relay = SignalRelay::start();
    let mut child = settings.launch.spawn(signals, &relay)?;
    raise_file_limit();
    let (supervisor, notices) = SupervisorThread::start(recorder, settings.capture.clone(), clock)?;
    let told = Told { notices, listener };
    let rendezvous = Rendezvous::open(supervisor.handle());
    let mut launched = Launched::default();
    let ended = launched.run(settings, &mut child, &supervisor, &told);
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            // The child is killed first, so that nothing is left that could fill the ring.
            drop(child);
            supervisor.abandon()?;
            return Err(error);
        }
    };
    if let Some(status) = ended {
        supervisor.child_ended(child.pid(), status);
        if launched.has_begun {
            wait_for_children(&told, &relay);
        }
    }
    let finished = supervisor.finish();
    drop(rendezvous);
    let status = ended.map_or_else(|| child.wait(), Ok)?;
    told.tell_the_rest();
    let Some(Captured { losses, is_whole }) = finished.capture else {
        let program = settings.launch.program.clone();
        return Err(SessionError::NothingRecorded { program, status });
    };
    Ok(Recorded {
        status,
        has_python: launched.has_python,
        losses,
        deaths: finished.deaths,
        is_whole,
    })
}

/// What is known of the launched program.
#[derive(Debug, Default)]
struct Launched {
    has_begun: bool,
    has_python: bool,
}

impl Launched {
    /// To the end of the program, or until it is recorded no longer.
    fn run(
        &mut self,
        settings: &RunSettings,
        child: &mut Child<'_>,
        supervisor: &SupervisorThread,
        told: &Told<'_, impl Listener>,
    ) -> Result<Option<ExitStatus>, SessionError> {
        let is_script = is_script(&settings.launch.program).unwrap_or(false);
        let outcome = child.run_until_released(|loaded| {
            let adopted = supervisor.adopt(Adoption {
                pid: loaded.pid,
                origin: ProcessOrigin::Launched,
                must_be_python: settings.must_be_python,
                is_launching: true,
            })?;
            if adopted == Adopted::Refused {
                if is_script {
                    return Ok(Decision::WatchForExec);
                }
                let executable = settings.launch.program.clone();
                return Err(SessionError::NotPython { executable });
            }
            if !self.has_begun {
                self.has_begun = true;
                told.listener.begun();
                supervisor.tell_the_end();
            }
            self.has_python |= adopted == Adopted::Python;
            Ok(match adopted {
                Adopted::Python => Decision::Release,
                Adopted::Other | Adopted::Refused => Decision::WatchForExec,
            })
        })?;
        if let Outcome::Ended(status) = outcome {
            return Ok(Some(status));
        }
        loop {
            if let Some(status) = child.wait_for(LOOK_INTERVAL)? {
                return Ok(Some(status));
            }
            if told.all_ended() {
                return Ok(None);
            }
        }
    }
}

/// Until the last of them has ended, or somebody has had enough.
fn wait_for_children(told: &Told<'_, impl Listener>, relay: &SignalRelay) {
    // Most have none, or none that outlives it by much.
    let (since, mut has_said) = (Instant::now(), false);
    loop {
        if told.all_end_within(LOOK_INTERVAL) {
            return;
        }
        if relay.is_interrupted(Duration::ZERO) {
            return;
        }
        if since.elapsed() > PATIENCE && !std::mem::replace(&mut has_said, true) {
            told.listener.waits_for_children();
        }
    }
}

impl From<LaunchError> for SessionError {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}
