//! Tests that need no privilege.

#![expect(
    clippy::unwrap_used,
    reason = "a test that fails says where; clippy excuses only the test functions themselves"
)]

mod cli;
mod line_tables;
