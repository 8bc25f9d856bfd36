//! Tests that need no privilege.

mod line_tables;
