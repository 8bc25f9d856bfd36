//! The user-space side of memray: from a command line to a capture, and from a capture to a report.
//!
//! Data flows one way: target → probes → ingest → store → analysis → report. `ARCHITECTURE.md` has the map; the
//! table of allowed imports is in `xtask`, which checks it.

pub mod analysis;
pub mod bpf;
pub mod cli;
pub mod cpython;
pub mod doctor;
pub mod error;
pub mod escape;
pub mod ingest;
pub mod model;
pub mod printer;
pub mod probes;
pub mod report;
pub mod session;
pub mod store;
pub mod target;
pub mod units;

#[cfg(test)]
mod tests;
