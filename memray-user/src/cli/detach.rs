//! `memray detach`: ends the recording of a process from another shell.

use std::process::ExitCode;

use clap::Args;

use crate::{
    error::{Blame, CommandError},
    session,
};

/// End the recording of a process that `memray attach` or `memray run` records
///
/// Returns when the process has no probes any more and its capture is whole. The process goes on.
#[derive(Args)]
pub(super) struct Arguments {
    /// Number of the process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
}

pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { pid } = *arguments;
    let detached = session::detach(pid).map_err(|error| {
        let text = "cannot look for recordings in `/proc/net/unix`";
        CommandError::new(Blame::User, anyhow::Error::new(error).context(text))
    })?;
    if detached.recordings == 0 {
        let error = CommandError::user(format!("nobody records process {pid}"));
        return Err(
            error.hint("a recording is found by its own user and by root, in its own network namespace")
        );
    }
    Ok(ExitCode::SUCCESS)
}
