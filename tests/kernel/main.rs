//! Tests that need root and real uprobes.
