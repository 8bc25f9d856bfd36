//! One recording: what is said before and after it, and how we end.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::program::Program;
use crate::{
    error::CommandError,
    printer::{Printer, Talk},
};

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
    /// Runs the program to its end and ends as it did.
    pub(super) fn execute(self) -> Result<ExitCode, CommandError> {
        let printer = Printer::new(self.talk);
        let output = self.output.clone();
        printer.say(&format!("Writing profile results into {}", output.display()));
        let ending = self.record()?;
        printer.say(&next_steps(&output));
        Ok(ending.follow())
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
}
