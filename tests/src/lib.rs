//! The harness of the end-to-end tests.

pub mod memray;

pub use memray::{memray, transcript};
