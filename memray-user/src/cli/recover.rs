//! `memray recover`: makes a capture that everybody can read of what a crash or a copy has left.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueHint};

use super::reading::say_notices;
use crate::{
    error::{Blame, CommandError},
    printer::{Printer, Talk},
    report::Notices,
    store::{self, Overwrite, RecoverError, Recovered},
};

/// Complete a capture whose recording was killed, or save what can be read of a damaged one
///
/// Reports read a killed capture as it is, from where it was recorded. This makes one file of it and of the log beside
/// it (`-wal`), to be copied or moved, or to be read by somebody who may not write to its directory. A damaged capture is
/// not changed: with `--output` what can be read of it goes into another file, which says what it lacks.
///
/// Ends with status 0 if the capture is complete up to the last commit of its recording, with 4 if something could not
/// be read, and with 1 if nothing was done.
#[derive(Args)]
pub(super) struct Arguments {
    /// Leave the capture as it is and write the recovered one to this file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Overwrite the output file
    #[arg(short, long, requires = "output")]
    force: bool,

    /// The capture; its log is looked for beside it
    #[arg(value_name = "RESULTS", value_hint = ValueHint::FilePath)]
    results: PathBuf,
}

pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        output,
        force,
        results,
    } = arguments;
    let printer = Printer::new(Talk::Normal);
    let overwrite = if *force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    };
    let recovered = {
        let _line = printer.progress("reading the capture");
        store::recover(results, output.as_deref().map(|output| (output, overwrite)))?
    };
    let written = output.as_deref().unwrap_or(results);
    match recovered {
        Recovered::AsItWas => {
            printer.say(&format!("`{}` is complete as it is", results.display()));
            Ok(ExitCode::SUCCESS)
        }
        Recovered::Completed => {
            tell_written(printer, written)?;
            Ok(ExitCode::SUCCESS)
        }
        Recovered::InPart { losses } => {
            tell_written(printer, written)?;
            say_notices(&Notices::of_losses(&losses), printer)?;
            Ok(ExitCode::from(Blame::NotWhole.exit_code()))
        }
    }
}

fn tell_written(printer: Printer, path: &Path) -> Result<(), CommandError> {
    let text = format!("Wrote {}", path.display());
    printer.result(&text).map_err(|error| {
        let context = "failed to write to standard output";
        CommandError::new(Blame::User, anyhow::Error::new(error).context(context))
    })
}

impl From<RecoverError> for CommandError {
    fn from(error: RecoverError) -> Self {
        let hints = error.hint().into_iter().collect();
        match error {
            // The capture's own error says it better than one around it.
            RecoverError::Unreadable(error) => error.into(),
            error => Self {
                blame: Blame::User,
                error: error.into(),
                hints,
            },
        }
    }
}
