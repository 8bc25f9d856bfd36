//! Tests that need no privilege.

mod interpreters;
mod line_tables;
