//! How the programs follow a process into its children and into other programs.
//!
//! Nothing may be missed of a child or of a new program, but probes take user space some milliseconds. So a thread is
//! *held* where its process is about to do something that probes must precede: it waits, inside a probe, until user
//! space has looked and lets it go. It is not stopped: no signal, no tracer, and if we die it goes on.

/// Where a thread is held.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldPlace {
    /// Behind the system call of `fork`: the first instruction of a child.
    Birth = 1,
    /// The entry of `execve`: the operand is the path of the program that is to come.
    Exec = 2,
    /// The dynamic loader has changed its list of libraries (`_dl_debug_state`): the end of the start of a program,
    /// before any of its code, and each `dlopen`.
    Loader = 3,
    /// An interpreter in a library that was loaded late is about to begin.
    Interpreter = 4,
}

impl HoldPlace {
    pub const ALL: [Self; 4] = [Self::Birth, Self::Exec, Self::Loader, Self::Interpreter];

    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw).checked_sub(1)?).copied()
    }
}

/// Bits of the entry of a followed process.
pub mod followed {
    /// The process was born by a fork and has not come to [`HoldPlace::Birth`](super::HoldPlace::Birth) yet.
    pub const UNBORN: u32 = 1;
    /// The process runs while it gets its probes. What it maps says nothing yet: it can be part of an allocator's call
    /// whose entry nobody has seen.
    pub const UNPROBED: u32 = 2;
}

/// What the programs must know of the kernel's structures to follow a fork, or a brk(2): offsets in bytes, from the kernel's own
/// type information.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffsets {
    /// In `task_struct`.
    pub pid: u32,
    pub tgid: u32,
    pub mm: u32,
    pub exit_code: u32,
    pub signal: u32,
    /// In `signal_struct`: whether the whole process ends.
    pub signal_flags: u32,
    /// In `mm_struct`: the end of the program's data.
    pub brk: u32,
    pub thread_pid: u32,
    /// In `struct pid`.
    pub level: u32,
    pub numbers: u32,
    /// In `struct pid_namespace`: `ns.inum`.
    pub namespace_inode: u32,
}

/// The pid namespace whose numbers user space knows; all zero for the initial one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidNamespace {
    pub device: u64,
    pub inode: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_round_trip() {
        for place in HoldPlace::ALL {
            assert_eq!(HoldPlace::from_raw(place as u8), Some(place));
        }
        assert_eq!(HoldPlace::from_raw(0), None);
        assert_eq!(HoldPlace::from_raw(5), None);
    }
}
