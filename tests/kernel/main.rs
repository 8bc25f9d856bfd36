//! Tests that need root and real uprobes: what is recorded of programs whose every allocation is known, and how
//! `memray run` (`run_*`) and `memray attach` (`attach_*`) behave, also with the children of a program (`follow_*`).
//!
//! The programs allocate sizes that nothing else uses. Rows are compared as text, with the whole stack, and in order.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as the tests do"
)]

mod allocators;
mod attach;
mod attach_allocators;
mod attach_busy;
mod attach_containers;
mod attach_ending;
mod attach_programs;
mod attach_refusals;
mod attach_waiting;
mod beside;
mod code_objects;
mod conformance;
mod crash_copied;
mod crash_disk;
mod crash_displaced;
mod crash_killed;
mod crash_target;
mod doctor;
mod families;
mod follow_attached;
mod follow_ending;
mod follow_exec;
mod follow_fork;
mod follow_many;
mod follow_spawn;
mod hostile;
mod left_behind;
mod mappings;
mod musl;
mod parity;
mod peaks;
mod run_chains;
mod run_ending;
mod run_killed;
mod run_output;
mod run_refusals;
mod run_signals;
mod run_surroundings;
mod run_talk;
mod short_lived;
mod stacks;
mod start_up;
mod stress_blocks;
mod stress_stacks;
mod thread_names;
mod threads;
mod times;
mod verifier;
