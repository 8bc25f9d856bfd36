//! One recording: what is said before and after it, and how we end.

use std::{path::PathBuf, process::ExitCode};

use super::program::{Kind, Program};
use crate::{
    bpf::BpfError,
    cli::{delivery::DeliverySettings, ending::Talker, owner::behind_sudo},
    error::{Blame, CommandError},
    ingest::timeline::Interval,
    printer::{Printer, Talk},
    session::{self, CaptureSettings, Recorded, RunSettings, SessionError},
    store::{Overwrite, StoreError},
    target::launch::{ExitStatus, InheritedSignals, Launch},
};

/// A shell that starts Python and waits for it is the usual case.
const NO_PYTHON: &str = "No Python ran in this process, so there are no Python stacks. Programs that it started are \
                         recorded with `--follow-fork`.";

/// All that a recording needs to know.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) program: Program,
    pub(super) output: PathBuf,
    pub(super) force: bool,
    pub(super) include_startup: bool,
    pub(super) follow_fork: bool,
    pub(super) memory_interval: Interval,
    pub(super) delivery: DeliverySettings,
    pub(super) talk: Talk,
}

impl Recording {
    /// Runs the program to its end and, if all of it is in the capture, ends as the program did.
    pub(super) fn execute(self, signals: &InheritedSignals) -> Result<ExitCode, CommandError> {
        let printer = Printer::new(self.talk);
        let settings = self.settings();
        let output = settings.capture.output.clone();
        let follows = settings.capture.follow_children;
        let talker = Talker {
            printer,
            begun: format!("Writing profile results into {}", output.display()),
            output: &output,
        };
        let Recorded {
            status,
            has_python,
            losses,
            deaths,
            is_whole,
        } = match session::record(&settings, signals, &talker) {
            Err(SessionError::NothingRecorded { program, status }) => {
                let error = SessionError::NothingRecorded { program, status };
                printer.error(&CommandError::from(error).render());
                without_success(status).exit_alike()
            }
            recorded => recorded?,
        };
        talker.tell_the_end(&losses, &deaths)?;
        if !has_python && !follows {
            printer.say(NO_PYTHON);
        }
        if !is_whole {
            return Ok(talker.tell_not_whole(Some(status)));
        }
        talker.tell_whole();
        status.exit_alike()
    }

    fn settings(self) -> RunSettings {
        let Self {
            program,
            output,
            force,
            include_startup,
            follow_fork,
            memory_interval,
            delivery,
            talk: _,
        } = self;
        let must_be_python = program.kind != Kind::Command;
        let words = program.arguments.iter().map(|word| word.to_string_lossy());
        RunSettings {
            capture: CaptureSettings {
                output,
                overwrite: if force {
                    Overwrite::Replace
                } else {
                    Overwrite::Refuse
                },
                owner: behind_sudo(),
                command_line: words.collect::<Vec<_>>().join(" "),
                include_startup,
                delivery: delivery.delivery,
                bounds: delivery.bounds,
                ingest_bounds: delivery.ingest_bounds,
                follow_children: follow_fork,
                memory_interval,
            },
            launch: Launch {
                program: program.executable,
                arguments: program.arguments,
            },
            must_be_python,
        }
    }
}

/// The program's own status, but never one that says that all is well.
fn without_success(status: ExitStatus) -> ExitStatus {
    match status {
        ExitStatus::Exited(0) => ExitStatus::Exited(i32::from(Blame::User.exit_code())),
        status => status,
    }
}

impl From<SessionError> for CommandError {
    fn from(error: SessionError) -> Self {
        let hints = error.hint().into_iter().collect();
        let blame = match error {
            // A program of ours that a kernel refuses, a map that it does not make: not for the user to mend.
            SessionError::Bpf(
                BpfError::Parse(_)
                | BpfError::Wait(_)
                | BpfError::Maps(_)
                | BpfError::Missing { .. }
                | BpfError::Map { .. },
            ) => Blame::Unexpected,
            _ => Blame::User,
        };
        Self {
            blame,
            error: error.into(),
            hints,
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hints = error.hint().map(str::to_owned).into_iter().collect();
        Self {
            blame: Blame::User,
            error: error.into(),
            hints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_affair_a_failure_is() {
        let check = |error: SessionError, expect: Blame| assert_eq!(CommandError::from(error).blame, expect);
        check(
            SessionError::Bpf(BpfError::Privilege {
                missing: "CAP_BPF".to_owned(),
                needed: "CAP_BPF".to_owned(),
            }),
            Blame::User,
        );
        check(
            SessionError::Bpf(BpfError::Missing { name: "free" }),
            Blame::Unexpected,
        );
        check(
            SessionError::NotPython {
                executable: "/bin/true".into(),
            },
            Blame::User,
        );
    }
}
