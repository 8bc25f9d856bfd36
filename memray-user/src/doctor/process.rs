//! From what was found in a process to what that means for a recording of it.

use std::path::PathBuf;

use memray_ebpf::config::TlsVariable;
use serde::Serialize;

use super::{finding::Finding, objects::ObjectReport};
use crate::{
    cpython::{BoundState, CLibrary, OffsetsSource, Provenance, PyVersion},
    target::process::Surroundings,
    units::count_text,
};

/// Something that cannot be used: why, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// What was asked of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessFacts {
    pub(super) pid: u32,
    pub(super) executable: PathBuf,
    pub(super) command_line: Vec<String>,
    pub(super) surroundings: Surroundings,
    /// The program is of a kind that can be traced at all.
    pub(super) program: Result<(), Refusal>,
    /// None if no mapped file holds a CPython.
    pub(super) interpreter: Result<Option<InterpreterFacts>, Refusal>,
    pub(super) c_library: Option<(PathBuf, CLibrary)>,
    /// The file with the dynamic loader's `_dl_debug_state`, and where in it.
    pub(super) loader: Option<(PathBuf, u64)>,
    /// Those with functions of interest.
    pub(super) objects: Vec<ObjectReport>,
    /// How many others are mapped.
    pub(super) n_other_objects: usize,
    /// Mapped files that could not be read, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterpreterFacts {
    pub(super) version: PyVersion,
    pub(super) python_allocator: String,
    pub(super) has_code_dealloc: bool,
    /// None if its file cannot be read a second time.
    pub(super) provenance: Option<Provenance>,
}

/// All that is said of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProcessReport {
    pub(super) pid: u32,
    pub(super) executable: String,
    pub(super) command_line: Vec<String>,
    /// `3.12.1`; none if there is no interpreter that can be followed.
    pub(super) python_version: Option<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) objects: Vec<ObjectReport>,
}

impl From<ProcessFacts> for ProcessReport {
    fn from(facts: ProcessFacts) -> Self {
        let found = facts.interpreter.as_ref().ok().and_then(Option::as_ref);
        let python_version = found.map(|interpreter| interpreter.version.to_string());
        let findings = facts.findings();
        Self {
            pid: facts.pid,
            executable: facts.executable.to_string_lossy().into_owned(),
            command_line: facts.command_line,
            python_version,
            findings,
            objects: facts.objects,
        }
    }
}

impl ProcessFacts {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.program();
        if self.program.is_err() {
            return findings;
        }
        findings.extend(self.interpreter());
        findings.push(self.c_library());
        findings.push(self.loader());
        findings.extend(self.allocators());
        findings.extend(self.unreadable.iter().map(|(path, reason)| {
            let text = format!("`{}` cannot be read: {reason}", path.display());
            Finding::limited("unread file", text).hint("allocations by functions in it are not seen")
        }));
        findings
    }

    /// The process as the kernel sees it.
    fn program(&self) -> Vec<Finding> {
        let surroundings = &self.surroundings;
        let executable = self.executable.display();
        let mut findings = vec![match &self.program {
            Ok(()) => Finding::ok("program", format!("`{executable}`, a program for x86-64")),
            Err(refusal) => refused("program", &format!("`{executable}`: "), refusal),
        }];
        findings.extend(surroundings.state.map(state));
        if surroundings.is_leaderless {
            let text = "has ended, others go on: while it is recorded every process that has the same files mapped pays \
                        for the probes in them";
            findings.push(Finding::limited("first thread", text));
        }
        if surroundings.tracer_pid != 0 {
            let text = format!(
                "process {} traces it, as debuggers do; children and new libraries then wait for their probes in the kernel",
                surroundings.tracer_pid
            );
            findings.push(Finding::ok("tracer", text));
        }
        findings.extend(namespaces(surroundings));
        findings
    }

    fn interpreter(&self) -> Vec<Finding> {
        let name = "interpreter";
        let interpreter = match &self.interpreter {
            Ok(Some(interpreter)) => interpreter,
            Ok(None) => {
                let finding = Finding::missing(name, "no mapped file holds a CPython");
                let hint = "attach with `--any-program` to record its allocations without Python stacks";
                return vec![finding.hint(hint)];
            }
            Err(refusal) => return vec![refused(name, "", refusal)],
        };
        let version = interpreter.version;
        let mut findings = Vec::new();
        match &interpreter.provenance {
            Some(provenance) => findings.extend(known_interpreter(version, provenance)),
            None => findings.push(Finding::ok(name, format!("CPython {version}"))),
        }
        findings.push(python_allocator(&interpreter.python_allocator));
        if !interpreter.has_code_dealloc {
            let text = "the function that destroys code objects is not known: names are sent anew with each event, which \
                        is slow, and long ones are cut";
            findings.push(Finding::limited("code objects", text));
        }
        findings
    }

    fn c_library(&self) -> Finding {
        let name = "c library";
        match &self.c_library {
            Some((path, CLibrary::Glibc { version })) => {
                let version = version.as_deref().unwrap_or("of an unknown version");
                Finding::ok(name, format!("glibc {version}, `{}`", path.display()))
            }
            Some((path, CLibrary::Musl)) => Finding::ok(name, format!("musl, `{}`", path.display())),
            None => Finding::ok(name, "none that is known by its name"),
        }
    }

    fn loader(&self) -> Finding {
        let name = "dynamic loader";
        match &self.loader {
            Some((path, file_offset)) => Finding::ok(
                name,
                format!(
                    "`{}` calls `_dl_debug_state` (at {file_offset:#x}) for each library: those loaded later are seen",
                    path.display()
                ),
            ),
            None => Finding::limited(
                name,
                "none that says when it loads a library: allocators in those loaded later are not seen",
            ),
        }
    }

    fn allocators(&self) -> Vec<Finding> {
        let name = "allocators";
        let n_probes: usize = self.objects.iter().map(ObjectReport::n_allocator_probes).sum();
        let with_probes = self
            .objects
            .iter()
            .filter(|object| object.n_allocator_probes() > 0);
        let n_files = with_probes.count();
        if n_probes == 0 {
            let text = "no mapped file has a function of an allocator that can be probed";
            let hint = "the program is linked statically and has no symbols; use one that is not stripped";
            return vec![Finding::missing(name, text).hint(hint)];
        }
        let probes = self.objects.iter().flat_map(|object| &object.probes);
        let stepped = probes.filter(|probe| !probe.is_emulated);
        let stepped: Vec<&str> = stepped.map(|probe| probe.function.as_str()).collect();
        let cost = if stepped.is_empty() {
            Finding::ok(
                "cost",
                "each probe is on an instruction that the kernel emulates, the cheap way",
            )
        } else {
            let text = format!(
                "the kernel single-steps the probed instruction of {}: a call costs ten times as much and more",
                stepped.join(", ")
            );
            Finding::limited("cost", text)
        };
        let others = counted(
            self.n_other_objects,
            "other file has none",
            "other files have none",
        );
        let text = format!(
            "{} in {}; {others}",
            counted(n_probes, "function is probed", "functions are probed"),
            counted(n_files, "file", "files")
        );
        vec![Finding::ok(name, text), cost]
    }
}

fn refused(name: &'static str, prefix: &str, refusal: &Refusal) -> Finding {
    Finding {
        hint: refusal.hint.clone(),
        ..Finding::missing(name, format!("{prefix}{}", refusal.text))
    }
}

/// The letters of `proc_pid_stat(5)`.
fn state(letter: char) -> Finding {
    let name = "state";
    match letter {
        'R' | 'S' | 'I' => Finding::ok(name, "it runs"),
        'D' => Finding::ok(name, "it waits for a device; probes go in all the same"),
        'T' | 't' => Finding::limited(name, "it is stopped: probes go in, events come when it goes on")
            .hint("`kill -CONT` continues it, unless a debugger holds it"),
        letter => Finding::limited(name, format!("its state is `{letter}`")),
    }
}

fn namespaces(surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(others) = &surroundings.other_namespaces {
        let name = "namespaces";
        let mut text = match others[..] {
            [] => "those of memray".to_owned(),
            _ => format!("others than ours: {}", others.join(", ")),
        };
        if others.contains(&"mnt") {
            text += "; its files are reached through /proc";
        }
        if let Some(own_pid) = surroundings.own_pid {
            let number = own_pid.to_string();
            text.extend(["; it knows itself as process ", &number]);
        }
        findings.push(Finding::ok(name, text));
    }
    if surroundings.has_other_root == Some(true) {
        findings.push(Finding::ok(
            "root",
            "another folder than ours; its files are reached through /proc",
        ));
    }
    findings
}

fn known_interpreter(version: PyVersion, provenance: &Provenance) -> Vec<Finding> {
    let Provenance {
        object_path,
        is_executable,
        is_stripped,
        offsets,
        bound,
        bound_function,
        attached,
    } = provenance;
    let place = if *is_executable {
        "the program itself"
    } else {
        "a library"
    };
    let symbols = if *is_stripped {
        "without debugging symbols"
    } else {
        "with its symbols"
    };
    let (major, minor) = version.minor_version();
    let mut findings = vec![
        Finding::ok(
            "interpreter",
            format!(
                "CPython {version}, a release build with the GIL, in {place}, {symbols}: `{}`",
                object_path.display()
            ),
        ),
        Finding::ok(
            "offsets",
            match offsets {
                OffsetsSource::Table => {
                    format!("from memray's table for {major}.{minor}; the sizes of its types agree")
                }
                OffsetsSource::DebugOffsets => {
                    "from `_Py_DebugOffsets` of the interpreter; the sizes of its types agree".to_owned()
                }
            },
        ),
    ];
    let bound = match bound {
        BoundState::PthreadKey { offset } => {
            format!("the value of the pthread key in `_PyRuntime` at +{offset:#x}")
        }
        BoundState::Variable(variable) => variable_text(*variable),
    };
    let evidence = match bound_function {
        Some(function) => format!("as the code of `{function}` says"),
        None => format!("as memray's table for {major}.{minor} says"),
    };
    findings.push(Finding::ok("thread state", format!("{bound}, {evidence}")));
    findings.extend(attached.map(|(variable, function)| {
        let text = format!("{}, as the code of `{function}` says", variable_text(variable));
        Finding::ok("attached state", text)
    }));
    findings
}

fn variable_text(variable: TlsVariable) -> String {
    match variable.mode {
        TlsVariable::STATIC if variable.offset < 0 => {
            format!(
                "the thread-local variable at fs:-{:#x}",
                variable.offset.unsigned_abs()
            )
        }
        TlsVariable::STATIC => format!("the thread-local variable at fs:{:#x}", variable.offset),
        _ => format!(
            "the thread-local variable at {:#x} of module {}",
            variable.offset, variable.module_id
        ),
    }
}

fn python_allocator(allocator: &str) -> Finding {
    let name = "python allocator";
    if allocator.starts_with("pymalloc") || allocator.starts_with("mimalloc") {
        let text = format!("`{allocator}`: small objects share arenas, which are what is seen of them");
        return Finding::ok(name, text);
    }
    Finding::ok(
        name,
        format!("`{allocator}`: each object is an allocation of its own"),
    )
}

fn counted(count: usize, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{} {noun}", count_text(u64::try_from(count).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
