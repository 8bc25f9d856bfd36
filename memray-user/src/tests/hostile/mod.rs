//! Hostile input: what the fuzz tests of all modules share.
//!
//! A target under test is a function from generated input to nothing; it panics on a fault. [`fuzz`] feeds it until its
//! time is over, and holds it to bounds of memory and time for each input. The tests lie beside what they test, those
//! that need more than one module lie here. Inputs are mutations of valid ones ([`bytes`]), memory of a made-up process
//! ([`memory`]), or names ([`names`]).
//!
//! Each test has a `_long` sibling, run by `cargo xtask test --long`. `MEMRAY_FUZZ_SECONDS` is the time of each test,
//! whichever, and `MEMRAY_FUZZ_SEED` the beginning of its sequence, as a failure prints it.

pub(crate) mod allocations;
pub(crate) mod bytes;
mod files;
mod machine_code;
pub(crate) mod memory;
pub(crate) mod names;
mod objects;
mod reports;
mod runner;
pub(crate) mod walkers;

pub(crate) use runner::{Bounds, fuzz, fuzz_test};
