//! The programs and what they share.

mod allocators;
mod codes;
mod floor;
mod holds;
mod lifecycle;
mod log;
mod lost_frees;
mod maps;
mod ring;
mod stacks;
mod system_calls;
mod task;
