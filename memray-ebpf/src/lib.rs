//! All that the BPF programs and user space share: the records of the ring, what the programs are told, what
//! they count, every bound, and the walk of Python frames.
//!
//! `no_std`, without allocation, and built for both sides: the walker that runs in the kernel is the walker
//! that the unit tests run. What changes here changes the interface between the two halves of one build, so
//! nothing needs to stay compatible; [`ABI_VERSION`] only catches an object that was not rebuilt.
#![cfg_attr(not(test), no_std)]

pub mod allocator;
pub mod config;
pub mod cookie;
pub mod event;
pub mod limits;
pub mod memory;
pub mod python;
pub mod stat;

/// Compared with the constant in the BPF object before anything is attached.
pub const ABI_VERSION: u32 = 1;
