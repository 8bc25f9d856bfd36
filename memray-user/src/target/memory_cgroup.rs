//! The memory cgroup of a process, which counts whom the kernel has killed there because memory ran out.
//!
//! The counter `oom_kill` is that of the victim's own cgroup, whichever limit was met, that of the whole machine included
//! (`oom_kill_process`, `mm/oom_kill.c`, Linux 4.13 and later). Input are `/proc/PID/cgroup` and our own mounts; where one of
//! them says nothing, nothing is known.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Where its counter is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    pub fn of(pid: u32) -> Option<Self> {
        let cgroups = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        find(&cgroups, &mounts).map(Self)
    }

    /// Whether the other lies below. A process that is about to end is shown at the top (`proc_cgroup_show`,
    /// `kernel/cgroup/cgroup.c`).
    pub fn is_above(&self, other: &Self) -> bool {
        let [folder, below] = [self.0.parent(), other.0.parent()];
        folder
            .zip(below)
            .is_some_and(|(folder, below)| below != folder && below.starts_with(folder))
    }

    /// Processes killed there so far.
    pub fn oom_kills(&self) -> Option<u64> {
        count(&fs::read(&self.0).ok()?)
    }
}

/// The file with the counter. The memory controller is either in a hierarchy of its own (version 1) or in the one that
/// has all (version 2, whose lines begin with `0::`).
fn find(cgroups: &[u8], mounts: &[u8]) -> Option<PathBuf> {
    let mut of_version_2 = None;
    for line in lines(cgroups) {
        let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
        let (Some(controllers), Some(cgroup)) = (fields.next(), fields.next()) else {
            continue;
        };
        if has(controllers, b"memory") {
            return below_mount(mounts, b"cgroup", cgroup).map(|folder| folder.join("memory.oom_control"));
        }
        if controllers.is_empty() {
            of_version_2 = Some(cgroup);
        }
    }
    below_mount(mounts, b"cgroup2", of_version_2?).map(|folder| folder.join("memory.events"))
}

/// Fields of a line: `32 31 0:35 ROOT MOUNT-POINT options [optional]... - TYPE SOURCE super-options`
/// (`show_mountinfo`, `fs/proc_namespace.c`).
fn below_mount(mounts: &[u8], kind: &[u8], cgroup: &[u8]) -> Option<PathBuf> {
    for line in lines(mounts) {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let Some(dash) = fields.iter().position(|field| *field == b"-") else {
            continue;
        };
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else {
            continue;
        };
        let is_kind = fields.get(dash + 1).is_some_and(|found| *found == kind);
        let has_memory = kind == b"cgroup2"
            || fields
                .get(dash + 3)
                .is_some_and(|options| has(options, b"memory"));
        if !is_kind || !has_memory {
            continue;
        }
        let [root, point, cgroup] = [root, point, cgroup].map(|bytes| Path::new(OsStr::from_bytes(bytes)));
        // Another part of the hierarchy may be mounted elsewhere.
        if let Ok(below) = cgroup.strip_prefix(root) {
            return Some(point.join(below));
        }
    }
    None
}

fn count(text: &[u8]) -> Option<u64> {
    let value = lines(text).find_map(|line| line.strip_prefix(b"oom_kill "))?;
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

fn has(list: &[u8], name: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                             32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                             35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const VERSION_2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,memory_recursiveprot\n";
    const OF_CONTAINER: &str = "35 31 0:32 /docker/7 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

    #[test]
    fn the_file_with_the_counter() {
        let check = |cgroups: &str, mounts: &str, expect: Option<&str>| {
            let found = find(cgroups.as_bytes(), mounts.as_bytes());
            assert_eq!(found, expect.map(PathBuf::from), "{cgroups}");
        };
        check(
            "9:name=systemd:/\n4:memory:/a/b:c\n1:cpu:/x\n0::/\n",
            VERSION_1,
            Some("/sys/fs/cgroup/memory/a/b:c/memory.oom_control"),
        );
        check(
            "0::/user.slice/x.scope\n",
            VERSION_2,
            Some("/sys/fs/cgroup/user.slice/x.scope/memory.events"),
        );
        check(
            "4:memory:/docker/7\n",
            OF_CONTAINER,
            Some("/sys/fs/cgroup/memory/memory.oom_control"),
        );
        check("4:memory:/docker/8\n", OF_CONTAINER, None);
        check("0::/x\n", "", None);
        check("", VERSION_2, None);
        check("junk\n:\n::\n", "- - - -\n", None);
    }

    #[test]
    fn counters_of_both_versions() {
        assert_eq!(count(b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(
            count(b"low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"),
            Some(1)
        );
        assert_eq!(count(b"oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(count(b"oom_kill x\n"), None);
    }
}
