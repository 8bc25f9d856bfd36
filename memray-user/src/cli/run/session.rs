//! Hands a recording over to `ingest`.

use super::{ending::Ending, recording::Recording};
use crate::error::{Blame, CommandError};

impl Recording {
    /// Records until the program has ended.
    pub(super) fn record(self) -> Result<Ending, CommandError> {
        let Self {
            program,
            output,
            force,
            include_startup,
            talk,
        } = self;
        let message = format!(
            "this build cannot record: {program:?} {} {force} {include_startup} {talk:?}",
            output.display()
        );
        Err(CommandError::new(Blame::Unexpected, anyhow::Error::msg(message)))
    }
}
