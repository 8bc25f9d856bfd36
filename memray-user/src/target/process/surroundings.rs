//! What surrounds a process: its state, who traces it, and in which namespaces it lives.
//!
//! Read from `/proc/PID/status` and the links beside it. What we may not read is unknown and no error, for the process
//! itself may well be within reach.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use super::{Process, ProcessError};

/// Kinds of namespaces that change what a path or a number of a process means (namespaces(7)).
const NAMESPACES: [&str; 4] = ["mnt", "pid", "user", "net"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Of the main thread, as in [`Process::state`].
    pub state: Option<char>,
    /// Its first thread has ended, and others have not.
    pub is_leaderless: bool,
    /// A thread of the kernel, which has no memory of its own.
    pub is_kernel_thread: bool,
    /// Threads beside the main one that have not ended.
    pub n_other_threads: usize,
    pub parent_pid: Option<u32>,
    /// 0 if nobody traces it.
    pub tracer_pid: u32,
    /// Its number in its own pid namespace, where that is another one.
    pub own_pid: Option<u32>,
    /// The namespaces that are not ours; none if we may not know.
    pub other_namespaces: Option<Vec<&'static str>>,
    /// Its root is another folder than ours; none if we may not know.
    pub has_other_root: Option<bool>,
}

impl Process {
    /// Looks around.
    pub fn surroundings(&self) -> Result<Surroundings, ProcessError> {
        let status = self.read("status")?;
        let number = |name| field(&status, name).and_then(|value| value.parse::<u32>().ok());
        let namespace_pids = field(&status, "NSpid").unwrap_or_default();
        let own_pid = namespace_pids.split_ascii_whitespace().skip(1).last();
        let others = self.threads()?.into_iter().filter(|&tid| tid != self.pid);
        let is_running = |tid: &u32| {
            let stat = self.read(&format!("task/{tid}/stat")).unwrap_or_default();
            !matches!(state_in(&stat), None | Some('Z' | 'X'))
        };
        Ok(Surroundings {
            is_leaderless: self.is_leaderless(),
            state: field(&status, "State").and_then(|value| value.chars().next()),
            // Kernels before 6.8 have no such line, but no thread of theirs has an address space, and
            // all come from the second process.
            is_kernel_thread: match number("Kthread") {
                Some(kernel_thread) => kernel_thread == 1,
                None => {
                    field(&status, "VmSize").is_none()
                        && matches!((self.pid, number("PPid")), (2, Some(0)) | (_, Some(2)))
                }
            },
            n_other_threads: others.filter(is_running).count(),
            parent_pid: number("PPid"),
            tracer_pid: number("TracerPid").unwrap_or(0),
            own_pid: own_pid.and_then(|pid| pid.parse().ok()),
            other_namespaces: self.other_namespaces(),
            has_other_root: self.has_other_root(),
        })
    }

    fn other_namespaces(&self) -> Option<Vec<&'static str>> {
        let mut others = Vec::new();
        for kind in NAMESPACES {
            let ours = Path::new("/proc/self/ns").join(kind).metadata().ok()?;
            let theirs = self.path(&format!("ns/{kind}")).metadata().ok()?;
            if ours.ino() != theirs.ino() {
                others.push(kind);
            }
        }
        Some(others)
    }

    fn has_other_root(&self) -> Option<bool> {
        let ours = Path::new("/").metadata().ok()?;
        let theirs = self.path("root/").metadata().ok()?;
        Some((ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()))
    }
}

/// The value of a line of `/proc/PID/status`.
fn field<'text>(status: &'text [u8], name: &str) -> Option<&'text str> {
    let mut lines = status.split(|&byte| byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    Some(std::str::from_utf8(value).ok()?.trim())
}

/// The state in `/proc/PID/stat`, behind a name that can hold any byte.
fn state_in(stat: &[u8]) -> Option<char> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(name_end + 2).map(|&state| char::from(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_status() {
        let status = b"Name:\tTracerPid:\t7\nState:\tS (sleeping)\nTracerPid:\t9\nNSpid:\t31\t4\n";
        assert_eq!(field(status, "TracerPid"), Some("9"));
        assert_eq!(field(status, "State"), Some("S (sleeping)"));
        assert_eq!(field(status, "NSpid"), Some("31\t4"));
        assert_eq!(field(status, "PPid"), None);
    }

    #[test]
    fn a_name_cannot_pass_for_a_state() {
        assert_eq!(state_in(b"7 (a) Z (b) S 1 7"), Some('S'));
        assert_eq!(state_in(b"7 (a)"), None);
        assert_eq!(state_in(b""), None);
    }

    #[test]
    fn this_process() {
        let surroundings = Process::open(std::process::id()).unwrap().surroundings().unwrap();
        let expect = Surroundings {
            parent_pid: Some(std::os::unix::process::parent_id()),
            other_namespaces: Some(Vec::new()),
            has_other_root: Some(false),
            // What the machine of the tests is does not matter here.
            n_other_threads: surroundings.n_other_threads,
            state: surroundings.state,
            tracer_pid: surroundings.tracer_pid,
            own_pid: surroundings.own_pid,
            is_kernel_thread: false,
            is_leaderless: false,
        };
        assert_eq!(surroundings, expect);
        assert!(matches!(surroundings.state, Some('R' | 'S')));
    }
}
