//! Tests that need root and real uprobes.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as the tests do"
)]

mod run_chains;
mod run_ending;
mod run_killed;
mod run_output;
mod run_refusals;
mod run_signals;
mod run_surroundings;
mod run_talk;
