//! Tests that need no privilege.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as the tests do"
)]

mod bad_captures;
mod build_musl_python;
mod cli;
mod doctor;
mod fetch_extensions;
mod fetch_pythons;
mod interpreters;
mod line_tables;
mod musl;
mod processes;
mod recover;
