//! What this process may do, asked before the kernel is: its own answer is an EPERM that does not say which of many
//! rights is missing.

use std::{fs, io};

use caps::{CapSet, Capability};

use super::BpfError;

/// What a recording needs, with what includes it (capabilities(7)).
const NEEDED: [(Capability, Option<Capability>); 4] = [
    // Programs, maps and links.
    (Capability::CAP_BPF, Some(Capability::CAP_SYS_ADMIN)),
    // Probes, tracepoints, and programs that read memory.
    (Capability::CAP_PERFMON, Some(Capability::CAP_SYS_ADMIN)),
    // Maps and memory of the target.
    (Capability::CAP_SYS_PTRACE, None),
    // The numbers of tracepoints are in files that only root may read.
    (
        Capability::CAP_DAC_READ_SEARCH,
        Some(Capability::CAP_DAC_OVERRIDE),
    ),
];

/// What a recording needs on this machine, and what of it this process has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    pub missing: Vec<String>,
    /// All that it takes, the missing ones among them.
    pub needed: Vec<String>,
    /// A tracefs is mounted.
    pub has_tracefs: bool,
}

impl Privileges {
    /// None for a process that cannot even ask.
    pub fn read() -> Option<Self> {
        let effective = caps::read(None, CapSet::Effective).ok()?;
        let has_tracefs = has_tracefs();
        Some(Self {
            missing: missing(|capability| effective.contains(&capability), has_tracefs),
            needed: missing(|_capability| false, has_tracefs),
            has_tracefs,
        })
    }
}

pub(super) fn require() -> Result<(), BpfError> {
    // A process that cannot even ask is told so by the kernel at the next step.
    match Privileges::read() {
        Some(Privileges { missing, needed, .. }) if !missing.is_empty() => Err(BpfError::Privilege {
            missing: missing.join(", "),
            // setcap(8) replaces what a file has.
            needed: needed.join(", "),
        }),
        _ => Ok(()),
    }
}

/// Where none is mounted, one is made for us alone, which is as privileged as to mount one.
fn has_tracefs() -> bool {
    ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
        .into_iter()
        .any(|path| {
            // A folder that we may not look into is there.
            fs::symlink_metadata(path).map_or_else(
                |error| error.kind() == io::ErrorKind::PermissionDenied,
                |_found| true,
            )
        })
}

fn missing(has: impl Fn(Capability) -> bool, has_tracefs: bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (needed, includes) in NEEDED {
        if !has(needed) && !includes.is_some_and(&has) {
            missing.push(needed.to_string());
        }
    }
    if !has_tracefs && !has(Capability::CAP_SYS_ADMIN) {
        missing.push(Capability::CAP_SYS_ADMIN.to_string());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        use Capability::{CAP_BPF, CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE};
        let check = |held: &[Capability], has_tracefs: bool, expect: &[&str]| {
            let missing = missing(|capability| held.contains(&capability), has_tracefs);
            assert_eq!(missing, expect, "{held:?}");
        };
        check(
            &[],
            true,
            &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"],
        );
        check(
            &[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH],
            true,
            &[],
        );
        check(
            &[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH],
            false,
            &["CAP_SYS_ADMIN"],
        );
        check(
            &[CAP_SYS_ADMIN],
            false,
            &["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"],
        );
        check(&[CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH], false, &[]);
    }
}
