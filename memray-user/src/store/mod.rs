//! The capture file: one SQLite database, written while the target runs and read by every report.
//!
//! Input is a [`Batch`](crate::model::Batch) each half second, output are the rows of
//! [`CaptureSource`](crate::model::CaptureSource). This is the only module that knows SQLite. Invariants:
//!
//! - The tables have the names and columns of the row structs in `model`, in the same order; `schema.sql` is their
//!   reference, `views.sql` what users build on.
//! - A batch is one transaction: the file always shows the recording as it was at the end of some batch, also
//!   while it is written, after SIGKILL, and after a full disk.
//! - What a file holds is checked when it is read. A damaged or hostile file gives an error, never a panic, and
//!   each of its cells is visited at most once.

mod error;
mod reader;
mod recover;
mod tables;
mod writer;

pub use error::StoreError;
pub use reader::CaptureReader;
pub use recover::{RecoverError, Recovered, recover};
pub use writer::{CaptureWriter, Overwrite};

/// `PRAGMA application_id` of a capture: "Mmry" in ASCII. SQLite keeps it at byte 68 of the file
/// (<https://www.sqlite.org/fileformat2.html>, section 1.3), where `file(1)` reads it.
pub const APPLICATION_ID: u32 = 0x4d6d_7279;

/// `PRAGMA user_version` of the captures that this program writes, and the newest that it reads.
///
/// 2 added `processes.origin`; 3 the tables of mappings beside the heap, and to `timeline` them and the parts of the resident
/// set. What older captures lack is in `LaterColumn`s beside the columns and `Table::SINCE_VERSION`.
pub const SCHEMA_VERSION: u32 = 3;

/// Keys of the table `meta` that the reader gives a meaning to; any others are stored and listed as they are.
pub mod meta_key {
    /// Written by the store: `SCHEMA_VERSION` in decimal.
    pub const SCHEMA_VERSION: &str = "schema_version";
    /// Written by the store at the orderly end of a recording: `1`.
    pub const FINISHED: &str = "finished";
    /// Command line of the traced program; without it that of the first process counts.
    pub const COMMAND_LINE: &str = "command_line";
    /// Start of the recording in milliseconds since the epoch, in decimal.
    pub const STARTED_AT_MS: &str = "started_at_ms";
    /// End of the recording in milliseconds since the epoch, in decimal.
    pub const ENDED_AT_MS: &str = "ended_at_ms";
    pub const MEMRAY_VERSION: &str = "memray_version";
    pub const KERNEL_RELEASE: &str = "kernel_release";
    /// Written by the store into a capture that was put together from what could be read of a damaged one: `1`.
    pub const RECOVERED: &str = "recovered";
}

#[cfg(test)]
pub(crate) mod tests;
