use super::*;
use crate::{
    bpf::Support,
    doctor::{
        State,
        testing::{good_machine, good_process},
    },
    probes::Reason,
};

/// The findings as lines: those of `names`, or all that are not ok.
fn check(names: &[&str], change: impl FnOnce(&mut ProcessFacts), expect: &[&str]) {
    let mut facts = good_process();
    change(&mut facts);
    let told: Vec<String> = ProcessReport::from(facts)
        .findings
        .iter()
        .filter(|finding| match names {
            [] => finding.state != State::Ok,
            names => names.contains(&finding.name),
        })
        .map(|finding| format!("{}: {}: {}", finding.name, finding.state.word(), finding.text))
        .collect();
    assert_eq!(told, expect);
}

fn refusal(text: &str) -> Refusal {
    Refusal {
        text: text.to_owned(),
        hint: Some("do something".to_owned()),
    }
}

fn interpreter(facts: &mut ProcessFacts) -> &mut InterpreterFacts {
    facts.interpreter.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn all_is_well() {
    check(&[], |_facts| {}, &[]);
}

#[test]
fn states() {
    check(
        &[],
        |facts| facts.surroundings.state = Some('T'),
        &["state: limited: it is stopped: probes go in, events come when it goes on"],
    );
    check(
        &["tracer"],
        |facts| facts.surroundings.tracer_pid = 77,
        &[
            "tracer: ok: process 77 traces it, as debuggers do; children and new libraries then wait for their probes in \
           the kernel",
        ],
    );
    check(
        &["first thread"],
        |facts| facts.surroundings.is_leaderless = true,
        &[
            "first thread: limited: has ended, others go on: while it is recorded every process that has the same files \
           mapped pays for the probes in them",
        ],
    );
}

#[test]
fn containers() {
    check(
        &["namespaces", "root"],
        |facts| {
            facts.surroundings.other_namespaces = Some(vec!["mnt", "pid"]);
            facts.surroundings.own_pid = Some(7);
            facts.surroundings.has_other_root = Some(true);
        },
        &[
            "namespaces: ok: others than ours: mnt, pid; its files are reached through /proc; it knows itself as \
             process 7",
            "root: ok: another folder than ours; its files are reached through /proc",
        ],
    );
}

/// Nothing in a program of another architecture is where it is looked for.
#[test]
fn programs_of_other_kinds() {
    check(
        &[],
        |facts| facts.program = Err(refusal("a 32-bit ELF file")),
        &["program: missing: `/usr/bin/python3.12`: a 32-bit ELF file"],
    );
    check(
        &[],
        |facts| facts.interpreter = Ok(None),
        &["interpreter: missing: no mapped file holds a CPython"],
    );
    check(
        &[],
        |facts| facts.interpreter = Err(refusal("`python` is CPython 3.7.1, which is not supported")),
        &["interpreter: missing: `python` is CPython 3.7.1, which is not supported"],
    );
    check(
        &[],
        |facts| {
            facts.objects.clear();
            facts.loader = None;
        },
        &[
            "dynamic loader: limited: none that says when it loads a library: allocators in those loaded later are \
             not seen",
            "allocators: missing: no mapped file has a function of an allocator that can be probed",
        ],
    );
}

#[test]
fn what_is_known_of_an_interpreter() {
    let names = ["interpreter", "offsets", "thread state", "attached state"];
    check(
        &names,
        |_facts| {},
        &[
            "interpreter: ok: CPython 3.12.1, a release build with the GIL, in a library, without debugging symbols: \
             `/usr/lib/libpython3.12.so.1.0`",
            "offsets: ok: from memray's table for 3.12; the sizes of its types agree",
            "thread state: ok: the value of the pthread key in `_PyRuntime` at +0x608, as the code of \
             `PyGILState_GetThisThreadState` says",
            "attached state: ok: the thread-local variable at fs:-0x8, as the code of \
             `_PyThreadState_UncheckedGet` says",
        ],
    );
    check(
        &names,
        |facts| {
            let interpreter = interpreter(facts);
            interpreter.version = PyVersion::new(3, 15, 0);
            let provenance = interpreter.provenance.as_mut().unwrap();
            provenance.is_executable = true;
            provenance.is_stripped = false;
            provenance.offsets = OffsetsSource::DebugOffsets;
            provenance.bound = BoundState::Variable(TlsVariable {
                mode: TlsVariable::DYNAMIC,
                slot_bytes: 16,
                module_id: 2,
                offset: 16,
            });
            provenance.attached = None;
        },
        &[
            "interpreter: ok: CPython 3.15.0, a release build with the GIL, in the program itself, with its symbols: \
             `/usr/lib/libpython3.12.so.1.0`",
            "offsets: ok: from `_Py_DebugOffsets` of the interpreter; the sizes of its types agree",
            "thread state: ok: the thread-local variable at 0x10 of module 2, as the code of \
             `PyGILState_GetThisThreadState` says",
        ],
    );
    check(
        &["thread state"],
        |facts| interpreter(facts).provenance.as_mut().unwrap().bound_function = None,
        &[
            "thread state: ok: the value of the pthread key in `_PyRuntime` at +0x608, as memray's table for 3.12 \
             says",
        ],
    );
    check(
        &["interpreter", "code objects"],
        |facts| {
            interpreter(facts).provenance = None;
            interpreter(facts).has_code_dealloc = false;
        },
        &[
            "interpreter: ok: CPython 3.12.1",
            "code objects: limited: the function that destroys code objects is not known: names are sent anew \
             with each event, which is slow, and long ones are cut",
        ],
    );
}

/// Scripts rely on the names.
#[test]
fn every_name_is_documented() {
    let documented = include_str!("../../../../docs/concepts/doctor.md");
    let mut stopped = good_process();
    stopped.surroundings.tracer_pid = 7;
    stopped.surroundings.has_other_root = Some(true);
    interpreter(&mut stopped).has_code_dealloc = false;
    stopped.unreadable.push(("/a".into(), String::new()));
    let mut machine = good_machine();
    machine.machine.proc_is_ours = false;
    machine.features.ring_buffer = Support::Unknown(String::new());
    let findings = [
        machine.kernel_findings(),
        machine.user_findings(),
        ProcessReport::from(stopped).findings,
    ];
    for finding in findings.concat() {
        let row = format!("\n| `{}` | ", finding.name);
        assert!(documented.contains(&row), "{}", finding.name);
    }
}

#[test]
fn functions() {
    check(
        &["allocators", "cost"],
        |_facts| {},
        &[
            "allocators: ok: 2 functions are probed in 1 file; 3 other files have none",
            "cost: ok: each probe is on an instruction that the kernel emulates, the cheap way",
        ],
    );
    check(
        &["cost"],
        |facts| {
            let probe = &mut facts.objects[1].probes[0];
            probe.is_emulated = false;
            probe.reason = Reason::Store.description();
        },
        &[
            "cost: limited: the kernel single-steps the probed instruction of malloc: a call costs ten times as much \
             and more",
        ],
    );
    check(
        &[],
        |facts| facts.unreadable = vec![("/a/b.so".into(), "not an ELF file".to_owned())],
        &["unread file: limited: `/a/b.so` cannot be read: not an ELF file"],
    );
}
