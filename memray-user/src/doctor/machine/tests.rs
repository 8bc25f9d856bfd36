use super::*;
use crate::doctor::testing::good_machine;

/// The findings that are not ok, as lines.
fn check(change: impl FnOnce(&mut MachineFacts), expect: &[&str]) {
    let mut facts = good_machine();
    change(&mut facts);
    let findings = [facts.kernel_findings(), facts.user_findings()].concat();
    let told: Vec<String> = findings
        .iter()
        .filter(|finding| finding.state != State::Ok)
        .map(|finding| format!("{}: {}: {}", finding.name, finding.state.word(), finding.text))
        .collect();
    assert_eq!(told, expect);
}

#[test]
fn all_is_well() {
    check(|_facts| {}, &[]);
}

#[test]
fn kernels() {
    check(
        |facts| facts.features.ring_buffer = Support::No,
        &["ring buffer: missing: this kernel has none"],
    );
    check(
        |facts| facts.features.bpf_loop = Support::Unknown("Operation not permitted".to_owned()),
        &[
            "bounded loops: unknown: cannot be tried, see below",
            "bpf calls: missing: refused in spite of the capabilities: Operation not permitted",
        ],
    );
    check(
        |facts| facts.machine.architecture = "aarch64".to_owned(),
        &["kernel: missing: Linux 6.12.0 on aarch64, of which memray knows no registers"],
    );
    check(
        |facts| facts.features.type_information = Err("no such file".to_owned()),
        &["type information: missing: no such file"],
    );
    check(
        |facts| facts.features.tracepoints = Err("syscalls/sys_exit_mmap: no such file".to_owned()),
        &["tracepoints: missing: syscalls/sys_exit_mmap: no such file"],
    );
    check(
        |facts| facts.features.sleepable_uprobes = Support::No,
        &["sleepable uprobes: missing: this kernel has none"],
    );
}

#[test]
fn kernels_without_multi_links_have_events() {
    let slow = "each probe is a perf event";
    check(
        |facts| facts.features.uprobe_multi = UprobeMulti::No,
        &[&format!(
            "multi-uprobe links: limited: this kernel has none: {slow}, which takes a tenth of a second to go"
        )],
    );
    check(
        |facts| facts.features.uprobe_multi = UprobeMulti::OneThread,
        &[&format!(
            "multi-uprobe links: limited: those of this kernel see one thread of a process only: {slow} instead, \
             which takes a tenth of a second to go"
        )],
    );
    check(
        |facts| {
            facts.features.uprobe_multi = UprobeMulti::No;
            facts.features.uprobe_events = Support::No;
        },
        &[
            "multi-uprobe links: missing: this kernel has none, and no probes as perf events either",
            "uprobe events: limited: this kernel has none",
        ],
    );
}

#[test]
fn namespaces() {
    check(
        |facts| facts.machine.user_namespace = Nesting::Nested,
        &[
            "user namespace: missing: a nested one, whose capabilities the kernel does not take for BPF programs",
        ],
    );
    check(
        |facts| {
            facts.machine.user_namespace = Nesting::Nested;
            facts.features.ring_buffer = Support::Unknown("Operation not permitted".to_owned());
        },
        &[
            "ring buffer: unknown: cannot be tried, see below",
            "user namespace: missing: a nested one, whose capabilities the kernel does not take for BPF programs",
        ],
    );
    check(|facts| facts.machine.pid_namespace = Nesting::Nested, &[]);
    check(
        |facts| {
            facts.machine.pid_namespace = Nesting::Nested;
            facts.features.namespace_ids = Support::No;
        },
        &["namespace ids: missing: this kernel does not tell the numbers that processes have here"],
    );
    check(
        |facts| facts.machine.proc_is_ours = false,
        &["proc: missing: /proc shows the processes of another pid namespace, whose numbers are not ours"],
    );
}

#[test]
fn settings_of_the_machine() {
    check(|facts| facts.machine.ptrace_scope = Some(2), &[]);
    check(
        |facts| facts.machine.ptrace_scope = Some(3),
        &["ptrace scope: missing: kernel.yama.ptrace_scope is 3: nobody may look into another process"],
    );
    check(|facts| facts.machine.lockdown = Some("integrity".to_owned()), &[]);
    check(
        |facts| facts.machine.lockdown = Some("confidentiality".to_owned()),
        &["lockdown: missing: the kernel is locked down for confidentiality: no program may read memory"],
    );
}

#[test]
fn nobody_may_record() {
    let unknown = || Support::Unknown("Operation not permitted (os error 1)".to_owned());
    check(
        |facts| {
            facts.machine.user_id = 1000;
            facts.features.ring_buffer = unknown();
            facts.features.uprobe_multi = UprobeMulti::Unknown("Operation not permitted".to_owned());
            facts.features.tracepoints = Err("Permission denied (os error 13)".to_owned());
            if let Some(privileges) = &mut facts.privileges {
                privileges.missing = vec!["CAP_BPF".to_owned(), "CAP_PERFMON".to_owned()];
            }
        },
        &[
            "ring buffer: unknown: cannot be tried, see below",
            "tracepoints: unknown: cannot be tried, see below",
            "multi-uprobe links: unknown: cannot be tried, see below",
            "capabilities: missing: user 1000 has no CAP_BPF, CAP_PERFMON",
        ],
    );
}

/// What is missing comes with something to do about it.
#[test]
fn hints() {
    let mut facts = good_machine();
    facts.features.ring_buffer = Support::No;
    facts.features.uprobe_multi = UprobeMulti::OneThread;
    facts.machine.ptrace_scope = Some(3);
    facts.machine.user_namespace = Nesting::Nested;
    facts.privileges = Some(Privileges {
        missing: vec!["CAP_BPF".to_owned()],
        needed: vec!["CAP_BPF".to_owned(), "CAP_PERFMON".to_owned()],
        has_tracefs: true,
    });
    let findings = [facts.kernel_findings(), facts.user_findings()].concat();
    let without: Vec<_> = findings
        .iter()
        .filter(|finding| finding.state != State::Ok && finding.hint.is_none())
        .collect();
    assert!(without.is_empty(), "{without:?}");
    let capabilities = findings
        .iter()
        .find(|finding| finding.name == "capabilities")
        .unwrap();
    let hint = capabilities.hint.as_deref().unwrap();
    assert!(hint.contains("sudo setcap cap_bpf,cap_perfmon+ep"), "{hint}");
}
