//! `memray doctor`: what would come of a recording here, or of a process.

use std::process::ExitCode;

use clap::Args;

use super::{output::to_stdout, reading::color, terminal};
use crate::{
    doctor::{DoctorError, TextSettings, examine, write_json, write_text},
    error::{Blame, CommandError},
};

/// Where standard output is no terminal.
const USUAL_WIDTH: usize = 80;

/// Tell what can be recorded here, and what of a process
///
/// Looks at the kernel, the privileges and the machine, and at a process if one is named: its interpreter, the
/// functions that would be probed, and where. Nothing is attached and nothing is changed. Ends with status 0 if a
/// recording would work and with 1 if not.
#[derive(Args)]
pub(super) struct Arguments {
    /// Look at this process too
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { pid, json } = *arguments;
    let diagnosis = examine(pid)?;
    if json {
        to_stdout(Box::new(|output| write_json(&diagnosis, output)))?;
    } else {
        let settings = TextSettings {
            width: terminal::size().map_or(USUAL_WIDTH, |size| size.columns.into()),
            color: color(),
        };
        to_stdout(Box::new(|output| Ok(write_text(&diagnosis, settings, output)?)))?;
    }
    Ok(if diagnosis.works() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Blame::User.exit_code())
    })
}

impl From<DoctorError> for CommandError {
    fn from(error: DoctorError) -> Self {
        let hints = error.hint().into_iter().collect();
        Self {
            blame: Blame::User,
            error: error.into(),
            hints,
        }
    }
}
