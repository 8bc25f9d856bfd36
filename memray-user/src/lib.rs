//! The user-space side of memray: from a command line to a capture, and from a capture to a report.
//!
//! Data flows one way: target → probes → ingest → store → analysis → report. `ARCHITECTURE.md` has the map; the
//! table of allowed imports is in `xtask`, which checks it.

pub mod cpython;
pub mod model;
pub mod probes;
pub mod target;
pub mod units;
