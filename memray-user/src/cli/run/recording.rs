//! One recording: what is said before and after it, and how we end.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    owner::behind_sudo,
    program::{Kind, Program},
};
use crate::{
    bpf::{BpfError, Delivery},
    cli::reading::say_notices,
    error::{Blame, CommandError},
    printer::{Printer, Talk},
    report::Notices,
    session::{self, Recorded, SessionError, Settings},
    store::{Overwrite, StoreError},
    target::launch::{ExitStatus, InheritedSignals, Launch},
};

/// A shell that starts Python and waits for it is the usual case.
const NO_PYTHON: &str = "No Python ran in this process, so there are no Python stacks. Programs that it started are not \
                         recorded: with `sh -c`, write `exec python3 ...`.";

/// All that a recording needs to know.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) program: Program,
    pub(super) output: PathBuf,
    pub(super) force: bool,
    pub(super) include_startup: bool,
    pub(super) talk: Talk,
}

impl Recording {
    /// Runs the program to its end and, if all of it is in the capture, ends as the program did.
    pub(super) fn execute(self, signals: &InheritedSignals) -> Result<ExitCode, CommandError> {
        let printer = Printer::new(self.talk);
        let settings = self.settings();
        let begun = || {
            printer.say(&format!(
                "Writing profile results into {}",
                settings.output.display()
            ));
        };
        let Recorded {
            status,
            has_python,
            losses,
            problem,
        } = match session::record(&settings, signals, begun) {
            Err(SessionError::NothingRecorded { program, status }) => {
                let error = SessionError::NothingRecorded { program, status };
                printer.error(&CommandError::from(error).render());
                without_success(status).exit_alike()
            }
            recorded => recorded?,
        };
        say_notices(&Notices::of_losses(&losses), printer)?;
        if !has_python {
            printer.say(NO_PYTHON);
        }
        if let Some(problem) = problem {
            return Err(problem.into());
        }
        printer.say(&next_steps(&settings.output));
        status.exit_alike()
    }

    fn settings(self) -> Settings {
        let Self {
            program,
            output,
            force,
            include_startup,
            talk: _,
        } = self;
        let must_be_python = program.kind != Kind::Command;
        Settings {
            launch: Launch {
                program: program.executable,
                arguments: program.arguments,
            },
            output,
            overwrite: if force {
                Overwrite::Replace
            } else {
                Overwrite::Refuse
            },
            owner: behind_sudo(),
            include_startup,
            delivery: Delivery::Lossless,
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

fn next_steps(output: &Path) -> String {
    let output = output.display();
    format!(
        "\nWrote {output}\n\n\
         See where the memory of its peak came from:\n\
         \x20 memray flamegraph {output}\n\
         or here in the terminal:\n\
         \x20 memray summary {output}\n\
         \x20 memray tree {output}"
    )
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
    fn the_end_of_a_recording_says_what_to_run_next() {
        let text = next_steps(Path::new("a.db"));
        assert!(
            text.contains("\nWrote a.db\n") && text.contains("\n  memray flamegraph a.db\n"),
            "{text}"
        );
    }

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
