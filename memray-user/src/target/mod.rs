//! The traced process from outside: its files, its memory, its mappings, and its start.
//!
//! Nothing here knows Python or BPF. What is read from the process or from its files is untrusted: lengths are
//! checked before memory is reserved, and damage is an error of the module that met it.

pub mod elf;
pub mod launch;
pub mod loader;
pub mod machine;
pub mod memory_cgroup;
pub mod park;
pub mod process;
pub mod root;
pub mod scheduling;

#[cfg(test)]
pub(crate) mod testing;
