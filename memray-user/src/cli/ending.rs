//! The end of a recording, as it is told: who was killed, what is not whole, and what to do next.

use std::{path::Path, process::ExitCode};

use nix::sys::signal::Signal;

use super::{capture_file::next_steps, reading::say_notices};
use crate::{
    error::{Blame, CommandError},
    model::LossRow,
    printer::Printer,
    report::Notices,
    session::{Death, Listener},
    store::StoreError,
    target::launch::ExitStatus,
};

/// Processes that are named one by one.
const NAMED_DEATHS: usize = 5;

/// Says how a recording goes.
pub(super) struct Talker<'session> {
    pub(super) printer: Printer,
    pub(super) begun: String,
    pub(super) output: &'session Path,
}

impl Listener for Talker<'_> {
    fn begun(&self) {
        self.printer.say(&self.begun);
    }

    fn waits_for_children(&self) {
        self.printer.say(
            "The program has ended; processes that it started are still recorded. Ctrl-C ends the recording.",
        );
    }

    fn has_trouble(&self, error: StoreError) {
        self.printer.error(&CommandError::from(error).render());
    }
}

impl Talker<'_> {
    /// What was lost, and who was killed.
    pub(super) fn tell_the_end(&self, losses: &[LossRow], deaths: &[Death]) -> Result<(), CommandError> {
        say_notices(&Notices::of_losses(losses), self.printer)?;
        if let Some(text) = deaths_text(deaths) {
            self.printer.say(&text);
        }
        Ok(())
    }

    /// A capture that can be worked with as it is.
    pub(super) fn tell_whole(&self) {
        self.printer.say(&next_steps(self.output));
    }

    /// A capture that lacks something, as has been told. `program` is the one that we ran, if we ran one, whose status
    /// would otherwise be nowhere.
    pub(super) fn tell_not_whole(&self, program: Option<ExitStatus>) -> ExitCode {
        let output = self.output.display();
        let program = program.map_or_else(String::new, |status| format!("; the program ended, {status}"));
        self.printer
            .error(&format!("The capture `{output}` is not whole{program}.\n"));
        ExitCode::from(Blame::NotWhole.exit_code())
    }
}

fn deaths_text(deaths: &[Death]) -> Option<String> {
    let mut lines: Vec<String> = deaths.iter().take(NAMED_DEATHS).map(death_text).collect();
    if let Some(more) = deaths.len().checked_sub(NAMED_DEATHS).filter(|&more| more > 0) {
        lines.push(format!("Signals ended {more} more processes."));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn death_text(death: &Death) -> String {
    let Death {
        pid,
        signal,
        is_out_of_memory,
    } = *death;
    if is_out_of_memory {
        return format!("Process {pid} was killed (out of memory).");
    }
    let name = Signal::try_from(signal).map_or_else(|_unnamed| String::new(), |name| format!(" ({name})"));
    format!("Process {pid} was ended by signal {signal}{name}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(pid: u32, signal: i32, is_out_of_memory: bool) -> Death {
        Death {
            pid,
            signal,
            is_out_of_memory,
        }
    }

    #[test]
    fn who_was_killed() {
        let check = |deaths: &[Death], expect: Option<&str>| {
            assert_eq!(deaths_text(deaths).as_deref(), expect);
        };
        check(&[], None);
        check(
            &[death(7, 11, false), death(8, 9, true), death(9, 9, false)],
            Some(
                "Process 7 was ended by signal 11 (SIGSEGV).\nProcess 8 was killed (out of memory).\n\
                 Process 9 was ended by signal 9 (SIGKILL).",
            ),
        );
        check(&[death(7, 34, false)], Some("Process 7 was ended by signal 34."));
        let many: Vec<Death> = (1..=7).map(|pid| death(pid, 15, false)).collect();
        let text = deaths_text(&many).unwrap();
        assert_eq!(text.lines().count(), 6);
        assert!(text.ends_with("\nSignals ended 2 more processes."), "{text}");
    }
}
