//! All that the BPF programs and user space share: the records of the ring, what the programs are told, what
//! they count, every bound, and the walk of Python frames.
//!
//! `no_std`, without allocation, and built for both sides: the walker that runs in the kernel is the walker
//! that the unit tests run. The object is built into the command, so the two halves are always of one build and
//! nothing here needs to stay compatible.
#![cfg_attr(not(test), no_std)]
#![expect(
    clippy::inline_always,
    reason = "a call is dear to the verifier, which follows it anew each time"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "64-bit targets only, and narrow fields of packed words; a checked conversion is a branch in each program"
)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod allocator;
pub mod config;
pub mod cookie;
pub mod event;
pub mod follow;
pub mod limits;
pub mod lost_free;
pub mod memory;
pub mod pending;
pub mod python;
pub mod stat;
pub mod verifier;
