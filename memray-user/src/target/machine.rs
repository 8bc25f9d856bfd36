//! What the machine says of itself and allows, from /proc, /sys and uname(2). Absent files are absent settings.

use std::{fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

/// A setting is a word or a number.
const SETTING_BYTES: u64 = 4096;
/// `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the namespaces that the kernel began with.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Where in the tree of namespaces of one kind we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    Initial,
    Nested,
    /// /proc does not say.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub kernel_release: String,
    pub architecture: String,
    /// The effective one.
    pub user_id: u32,
    pub pid_namespace: Nesting,
    pub user_namespace: Nesting,
    /// The numbers in /proc are those of our own pid namespace.
    pub proc_is_ours: bool,
    /// Yama's, where it is built in (Documentation/admin-guide/LSM/Yama.rst).
    pub ptrace_scope: Option<i32>,
    /// The mode in force: `none`, `integrity` or `confidentiality` (`kernel_lockdown(7)`).
    pub lockdown: Option<String>,
    pub unprivileged_bpf_disabled: Option<i32>,
    pub perf_event_paranoid: Option<i32>,
}

impl Machine {
    /// Asks the machine that we run on.
    pub fn read() -> Self {
        let names = nix::sys::utsname::uname();
        let name = |name: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            names
                .as_ref()
                .map(|names| name(names).to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let proc_self = fs::read_link("/proc/self").unwrap_or_default();
        Self {
            kernel_release: name(nix::sys::utsname::UtsName::release),
            architecture: name(nix::sys::utsname::UtsName::machine),
            user_id: nix::unistd::geteuid().as_raw(),
            pid_namespace: nesting("pid", INITIAL_PID_NAMESPACE),
            user_namespace: nesting("user", INITIAL_USER_NAMESPACE),
            proc_is_ours: proc_self.as_os_str() == std::process::id().to_string().as_str(),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            lockdown: setting("/sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        }
    }
}

fn nesting(kind: &str, initial: u64) -> Nesting {
    match Path::new("/proc/self/ns").join(kind).metadata() {
        Ok(namespace) if namespace.ino() == initial => Nesting::Initial,
        Ok(_) => Nesting::Nested,
        Err(_) => Nesting::Unknown,
    }
}

fn number(path: &str) -> Option<i32> {
    setting(path)?.trim().parse().ok()
}

fn setting(path: &str) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(SETTING_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The word in brackets of `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_in_brackets() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(chosen(text).as_deref(), expect);
        check("[none] integrity confidentiality\n", Some("none"));
        check("none integrity [confidentiality]\n", Some("confidentiality"));
        check("none", None);
        check("[none", None);
    }

    #[test]
    fn this_machine() {
        let machine = Machine::read();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(machine.kernel_release, release.trim());
        assert_eq!(machine.architecture, std::env::consts::ARCH);
        assert!(machine.proc_is_ours);
    }
}
