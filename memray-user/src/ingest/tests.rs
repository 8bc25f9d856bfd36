//! Tests of the whole: records in, batches out, kept by a store that checks every promise of [`Batch`].
//!
//! [`Batch`]: crate::model::Batch

mod codes;
mod conformance;
mod harness;
mod hostile;
mod lost;
mod naive;
mod names;
mod pages;
mod speed;
mod startup;
mod store;
mod timelines;
