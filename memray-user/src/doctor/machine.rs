//! From what the kernel, the user and the machine are to what that means for a recording.

use super::finding::{Finding, State};
use crate::{
    bpf::{KernelFeatures, Privileges, Support, UprobeMulti},
    target::machine::{Machine, Nesting},
};

/// What was asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MachineFacts {
    pub(super) machine: Machine,
    pub(super) features: KernelFeatures,
    /// None if this process cannot even ask.
    pub(super) privileges: Option<Privileges>,
}

const SECCOMP: &str =
    "in a container, let its seccomp profile allow bpf(2) and perf_event_open(2), as `--privileged` does";
const OTHER_KERNEL: &str = "use Linux 6.1 or newer as distributions build it";

impl MachineFacts {
    /// Whether this user has all that trying takes; if not, what could not be tried has its reason there.
    fn may_try(&self) -> bool {
        let privileges = self.privileges.as_ref();
        privileges.is_none_or(|privileges| privileges.missing.is_empty())
            && self.machine.user_namespace != Nesting::Nested
    }

    /// What the kernel can do.
    pub(super) fn kernel_findings(&self) -> Vec<Finding> {
        let features = &self.features;
        vec![
            self.kernel(),
            self.type_information(),
            essential(
                "ring buffer",
                &features.ring_buffer,
                "events reach memray in the order in which they happened; no limit on locked memory applies",
            ),
            essential(
                "bounded loops",
                &features.bpf_loop,
                "stacks of any depth can be walked in the kernel (bpf_loop)",
            ),
            essential(
                "attach cookies",
                &features.attach_cookie,
                "one program serves all functions and is told which it is at",
            ),
            essential(
                "raw tracepoints",
                &features.raw_tracepoints,
                "the start and the end of threads and processes are seen",
            ),
            self.tracepoints(),
            self.uprobe_multi(),
            self.uprobe_events(),
            // The program at the end of allocator functions is one.
            essential(
                "sleepable uprobes",
                &features.sleepable_uprobes,
                "a program may wait for a page of memory, and for memray when it falls behind",
            ),
            self.namespace_ids(),
        ]
    }

    /// What this user may do, and where.
    pub(super) fn user_findings(&self) -> Vec<Finding> {
        let machine = &self.machine;
        let mut findings = vec![self.capabilities()];
        findings.extend(self.refused());
        findings.extend(user_namespace(machine.user_namespace));
        findings.extend(pid_namespace(machine.pid_namespace));
        if !machine.proc_is_ours {
            let finding = Finding::missing(
                "proc",
                "/proc shows the processes of another pid namespace, whose numbers are not ours",
            );
            findings.push(finding.hint("mount one of our own: `mount -t proc proc /proc`"));
        }
        findings.extend(machine.ptrace_scope.map(ptrace_scope));
        findings.extend(machine.lockdown.as_deref().map(lockdown));
        findings.extend(self.settings());
        findings
    }

    fn kernel(&self) -> Finding {
        let Machine {
            kernel_release,
            architecture,
            ..
        } = &self.machine;
        let text = format!("Linux {kernel_release} on {architecture}");
        if architecture == "x86_64" {
            return Finding::ok("kernel", text);
        }
        Finding::missing("kernel", format!("{text}, of which memray knows no registers"))
            .hint("record on x86-64")
    }

    fn type_information(&self) -> Finding {
        let name = "type information";
        match &self.features.type_information {
            Ok(()) => Finding::ok(
                name,
                "/sys/kernel/btf/vmlinux says where the kernel's structures have their fields",
            ),
            Err(cause) => Finding::missing(name, cause)
                .hint("use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions have it"),
        }
    }

    /// The kernel refuses what the capabilities allow; the first of the reasons that it gave.
    fn refused(&self) -> Option<Finding> {
        let features = &self.features;
        let causes = [
            &features.ring_buffer,
            &features.bpf_loop,
            &features.attach_cookie,
            &features.raw_tracepoints,
            &features.sleepable_uprobes,
            &features.namespace_ids,
        ];
        let causes = causes.into_iter().filter_map(|support| match support {
            Support::Unknown(cause) => Some(cause),
            Support::Yes | Support::No => None,
        });
        let of_links = match &features.uprobe_multi {
            UprobeMulti::Unknown(cause) => Some(cause),
            _ => None,
        };
        let cause = causes.chain(of_links).next().filter(|_| self.may_try())?;
        let text = format!("refused in spite of the capabilities: {cause}");
        Some(Finding::missing("bpf calls", text).hint(SECCOMP))
    }

    fn tracepoints(&self) -> Finding {
        let name = "tracepoints";
        match &self.features.tracepoints {
            Ok(()) => {
                let mounted = self.privileges.as_ref().is_some_and(|found| found.has_tracefs);
                let place = if mounted {
                    "which is mounted"
                } else {
                    "mounted for memray alone"
                };
                let text = "system calls that map memory are seen; their numbers are in tracefs, ";
                Finding::ok(name, format!("{text}{place}"))
            }
            Err(cause) if self.may_try() => Finding::missing(name, cause.as_str()).hint(
                "use a kernel built with CONFIG_FTRACE_SYSCALLS; in a container, mount tracefs into it",
            ),
            Err(_) => untried(name),
        }
    }

    fn uprobe_multi(&self) -> Finding {
        let name = "multi-uprobe links";
        match &self.features.uprobe_multi {
            UprobeMulti::Yes => Finding::ok(name, "all probes of a file come and go in one step"),
            UprobeMulti::No | UprobeMulti::OneThread
                if self.features.uprobe_events == Support::No =>
            {
                Finding::missing(name, "this kernel has none, and no probes as perf events either")
                    .hint("use a kernel built with CONFIG_UPROBE_EVENTS")
            }
            UprobeMulti::No => Finding::limited(
                name,
                "this kernel has none: each probe is a perf event, which takes a tenth of a second to go",
            )
            .hint("Linux 6.6 and newer have them"),
            UprobeMulti::OneThread => Finding::limited(
                name,
                "those of this kernel see one thread of a process only: each probe is a perf event instead, which \
                 takes a tenth of a second to go",
            )
            .hint("install the newest update of this kernel, which mends it"),
            UprobeMulti::Unknown(_) => untried(name),
        }
    }

    fn uprobe_events(&self) -> Finding {
        let name = "uprobe events";
        match (&self.features.uprobe_events, &self.features.uprobe_multi) {
            (Support::Yes, UprobeMulti::Yes) => {
                Finding::ok(name, "the way of older kernels is there too; not used")
            }
            (Support::Yes, _) => Finding::ok(name, "probes can be placed one by one"),
            (_, UprobeMulti::Yes) => Finding::ok(name, "this kernel has none, and none are needed"),
            _ => Finding::limited(name, "this kernel has none"),
        }
    }

    fn namespace_ids(&self) -> Finding {
        let name = "namespace ids";
        match (&self.features.namespace_ids, self.machine.pid_namespace) {
            (Support::Yes, _) => Finding::ok(name, "processes are known by the numbers that they have here"),
            (Support::No, Nesting::Initial) => Finding::limited(
                name,
                "this kernel has none; here, in the first pid namespace, none are needed",
            ),
            (Support::No, _) => Finding::missing(
                name,
                "this kernel does not tell the numbers that processes have here",
            )
            .hint("run memray on the host, outside of the container"),
            (Support::Unknown(_), _) => untried(name),
        }
    }

    fn capabilities(&self) -> Finding {
        let name = "capabilities";
        let Some(Privileges { missing, needed, .. }) = &self.privileges else {
            return Finding::limited(
                name,
                "this process cannot ask which it has; the kernel will say what is missing",
            );
        };
        let who = if self.machine.user_id == 0 {
            "root".to_owned()
        } else {
            format!("user {}", self.machine.user_id)
        };
        if missing.is_empty() {
            return Finding::ok(name, format!("{who} has {}", needed.join(", ")));
        }
        let setcap = needed.join(",").to_lowercase();
        Finding::missing(name, format!("{who} has no {}", missing.join(", "))).hint(format!(
            "run it with `sudo`, or grant the capabilities to the binary: `sudo setcap {setcap}+ep $(command -v memray)`"
        ))
    }

    /// Settings that bind those without capabilities; said so that nobody lowers them in vain.
    fn settings(&self) -> Option<Finding> {
        let settings = [
            (
                "kernel.unprivileged_bpf_disabled",
                self.machine.unprivileged_bpf_disabled,
            ),
            ("kernel.perf_event_paranoid", self.machine.perf_event_paranoid),
        ];
        let told: Vec<String> = settings
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} is {}", value?)))
            .collect();
        (!told.is_empty()).then(|| {
            let text = format!("{}: this binds nobody who has the capabilities", told.join(", "));
            Finding::ok("settings", text)
        })
    }
}

fn essential(name: &'static str, support: &Support, text: &str) -> Finding {
    match support {
        Support::Yes => Finding::ok(name, text),
        Support::No => Finding::missing(name, "this kernel has none").hint(OTHER_KERNEL),
        Support::Unknown(_) => untried(name),
    }
}

/// The reason is among what this user may do.
fn untried(name: &'static str) -> Finding {
    Finding::new(State::Unknown, name, "cannot be tried, see below")
}

fn user_namespace(nesting: Nesting) -> Option<Finding> {
    let name = "user namespace";
    match nesting {
        Nesting::Initial => Some(Finding::ok(
            name,
            "the first one, whose capabilities are those of the machine",
        )),
        Nesting::Nested => Some(
            Finding::missing(
                name,
                "a nested one, whose capabilities the kernel does not take for BPF programs",
            )
            .hint("run memray on the host, or in a container without a user namespace of its own"),
        ),
        Nesting::Unknown => None,
    }
}

fn pid_namespace(nesting: Nesting) -> Option<Finding> {
    let name = "pid namespace";
    match nesting {
        Nesting::Initial => Some(Finding::ok(
            name,
            "the first one: every process of the machine is within reach",
        )),
        Nesting::Nested => Some(Finding::ok(
            name,
            "a nested one: processes outside of it are out of reach, and numbers are those that they have here",
        )),
        Nesting::Unknown => None,
    }
}

/// `ptrace_scope` also rules the reading of another process's memory (`ptrace(2)`).
fn ptrace_scope(scope: i32) -> Finding {
    let name = "ptrace scope";
    match scope {
        ..=2 => Finding::ok(
            name,
            format!("kernel.yama.ptrace_scope is {scope}, which does not bind who has CAP_SYS_PTRACE"),
        ),
        _ => Finding::missing(
            name,
            format!("kernel.yama.ptrace_scope is {scope}: nobody may look into another process"),
        )
        .hint("it can be lowered only by a restart: set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d"),
    }
}

/// Confidentiality forbids what shows kernel memory: probes, tracefs, and reading by programs (`kernel_lockdown(7)`).
fn lockdown(mode: &str) -> Finding {
    let name = "lockdown";
    match mode {
        "confidentiality" => Finding::missing(
            name,
            "the kernel is locked down for confidentiality: no program may read memory",
        )
        .hint("start the kernel with `lockdown=integrity` or without"),
        mode => Finding::ok(name, format!("`{mode}`, which allows what memray does")),
    }
}

#[cfg(test)]
mod tests;
