//! CPython's thread state and frames, read from outside.
//!
//! Written for two readers: the BPF verifier, which wants every loop bounded, every offset masked and as little
//! state as possible, and the host tests, which run the same source on memory of their own.

pub mod names;
pub mod thread_state;
pub mod walk;
