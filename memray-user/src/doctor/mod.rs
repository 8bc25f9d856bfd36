//! What would come of a recording, said before one is tried: what this kernel, this user and this machine can do, and
//! what is found in a process.
//!
//! [`gather`] asks the kernel and the process; everything else is pure: facts to [`Finding`]s ([`machine`],
//! [`process`]), findings to a [`Verdict`], and both to text or JSON. Nothing is attached, written or stopped.

mod finding;
mod gather;
mod json;
mod machine;
mod objects;
mod process;
mod text;
mod verdict;

#[cfg(test)]
mod testing;

use self::process::ProcessReport;
pub use self::{
    finding::{Finding, State},
    gather::{DoctorError, examine},
    json::write_json,
    text::{TextSettings, write_text},
    verdict::Verdict,
};

/// All that there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    kernel: Vec<Finding>,
    user: Vec<Finding>,
    process: Option<ProcessReport>,
    verdict: Verdict,
}

impl Diagnosis {
    /// A recording would come about: of the process that was asked for, else of any.
    pub fn works(&self) -> bool {
        let verdict = match self.process {
            Some(_) => &self.verdict.attach,
            None => &self.verdict.run,
        };
        !verdict.state.is_blocking()
    }
}
