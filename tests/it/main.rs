//! Tests that need no privilege.
