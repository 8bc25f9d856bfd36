//! Tests that need root and real uprobes: what is recorded of programs whose every allocation is known, and how
//! `memray run` behaves.
//!
//! The programs allocate sizes that nothing else uses. Rows are compared as text, with the whole stack, and in order.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as the tests do"
)]

mod allocators;
mod mappings;
mod run_ending;
mod run_signals;
mod run_surroundings;
mod stacks;
mod verifier;
