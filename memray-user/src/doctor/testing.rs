//! A machine and a process where all is well, for tests to change.

use memray_ebpf::config::TlsVariable;

use super::{
    Diagnosis,
    machine::MachineFacts,
    objects::{NotProbed, ObjectReport, ProbeReport},
    process::{InterpreterFacts, ProcessFacts, ProcessReport},
    verdict::Verdict,
};
use crate::{
    bpf::{KernelFeatures, Privileges, Support, UprobeMulti},
    cpython::{BoundState, CLibrary, OffsetsSource, Provenance, PyVersion},
    probes::Reason,
    target::{
        machine::{Machine, Nesting},
        process::Surroundings,
    },
};

pub(super) fn good_machine() -> MachineFacts {
    let needed = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];
    MachineFacts {
        machine: Machine {
            kernel_release: "6.12.0".to_owned(),
            architecture: "x86_64".to_owned(),
            user_id: 0,
            pid_namespace: Nesting::Initial,
            user_namespace: Nesting::Initial,
            proc_is_ours: true,
            ptrace_scope: Some(1),
            lockdown: Some("none".to_owned()),
            unprivileged_bpf_disabled: Some(2),
            perf_event_paranoid: Some(3),
        },
        features: KernelFeatures {
            type_information: Ok(()),
            ring_buffer: Support::Yes,
            bpf_loop: Support::Yes,
            attach_cookie: Support::Yes,
            namespace_ids: Support::Yes,
            raw_tracepoints: Support::Yes,
            tracepoints: Ok(()),
            sleepable_uprobes: Support::Yes,
            uprobe_multi: UprobeMulti::Yes,
            uprobe_events: Support::Yes,
        },
        privileges: Some(Privileges {
            missing: Vec::new(),
            needed: needed.map(str::to_owned).to_vec(),
            has_tracefs: true,
        }),
    }
}

/// What somebody sees who may not record.
pub(super) fn machine_of_nobody() -> MachineFacts {
    let good = good_machine();
    let unknown = || Support::Unknown("Operation not permitted (os error 1)".to_owned());
    MachineFacts {
        machine: Machine {
            user_id: 1000,
            ..good.machine
        },
        features: KernelFeatures {
            type_information: Ok(()),
            ring_buffer: unknown(),
            bpf_loop: unknown(),
            attach_cookie: unknown(),
            namespace_ids: unknown(),
            raw_tracepoints: unknown(),
            tracepoints: Err("Permission denied (os error 13)".to_owned()),
            sleepable_uprobes: unknown(),
            uprobe_multi: UprobeMulti::Unknown("Operation not permitted (os error 1)".to_owned()),
            uprobe_events: Support::Yes,
        },
        privileges: good.privileges.map(|privileges| Privileges {
            missing: privileges.needed.clone(),
            ..privileges
        }),
    }
}

fn probe(
    function: &str,
    file_offset: u64,
    function_offset: u64,
    has_return: bool,
    reason: Reason,
) -> ProbeReport {
    ProbeReport {
        function: function.to_owned(),
        file_offset,
        function_offset,
        has_return,
        is_emulated: matches!(reason, Reason::Entry | Reason::Shifted),
        reason: reason.description(),
    }
}

/// CPython 3.12 in a shared library on glibc.
pub(super) fn good_process() -> ProcessFacts {
    let variable = TlsVariable {
        mode: TlsVariable::STATIC,
        offset: -8,
        ..TlsVariable::default()
    };
    ProcessFacts {
        pid: 1234,
        executable: "/usr/bin/python3.12".into(),
        command_line: ["python3", "app.py"].map(str::to_owned).to_vec(),
        surroundings: Surroundings {
            state: Some('S'),
            parent_pid: Some(1),
            other_namespaces: Some(Vec::new()),
            has_other_root: Some(false),
            ..Surroundings::default()
        },
        program: Ok(()),
        interpreter: Ok(Some(InterpreterFacts {
            version: PyVersion::new(3, 12, 1),
            python_allocator: "pymalloc".to_owned(),
            has_code_dealloc: true,
            provenance: Some(Provenance {
                object_path: "/usr/lib/libpython3.12.so.1.0".into(),
                is_executable: false,
                is_stripped: true,
                offsets: OffsetsSource::Table,
                bound: BoundState::PthreadKey { offset: 1544 },
                bound_function: Some("PyGILState_GetThisThreadState"),
                attached: Some((variable, "_PyThreadState_UncheckedGet")),
            }),
        })),
        c_library: Some((
            "/usr/lib/libc.so.6".into(),
            CLibrary::Glibc {
                version: Some("2.36".to_owned()),
            },
        )),
        loader: Some(("/usr/lib/ld-linux-x86-64.so.2".into(), 0x1b00)),
        objects: vec![
            ObjectReport {
                path: "/usr/lib/libpython3.12.so.1.0".to_owned(),
                is_deleted: false,
                probes: vec![probe("code_dealloc", 0x0012_3450, 0, false, Reason::Entry)],
                not_probed: Vec::new(),
            },
            ObjectReport {
                path: "/usr/lib/libc.so.6".to_owned(),
                is_deleted: false,
                probes: vec![
                    probe("malloc", 0x0009_8690, 4, true, Reason::Shifted),
                    probe("free", 0x0009_8cb0, 0, false, Reason::Entry),
                ],
                not_probed: vec![NotProbed {
                    function: "cfree".to_owned(),
                    reason: "the same function as free".to_owned(),
                }],
            },
        ],
        n_other_objects: 3,
        unreadable: Vec::new(),
    }
}

pub(super) fn diagnosis(machine: &MachineFacts, process: Option<ProcessFacts>) -> Diagnosis {
    let (kernel, user) = (machine.kernel_findings(), machine.user_findings());
    let process = process.map(ProcessReport::from);
    let of_process = process.as_ref().map(|report| &report.findings[..]);
    let verdict = Verdict::new(&[&kernel, &user], of_process, &machine.features);
    Diagnosis {
        kernel,
        user,
        process,
        verdict,
    }
}
