//! Asks the kernel, the machine and a process. Each mapped file is opened, looked at and closed before the next: a
//! process can have mapped more files than we may have open.

use std::path::{Path, PathBuf};

use super::{
    Diagnosis, Verdict,
    finding::in_one_line,
    machine::MachineFacts,
    objects::ObjectReport,
    process::{InterpreterFacts, ProcessFacts, ProcessReport, Refusal},
};
use crate::{
    bpf::{KernelFeatures, Privileges},
    cpython::{Interpreter, c_library, detect, provenance},
    probes::{ExtraProbe, ProbePlan},
    target::{
        elf::{ElfError, ElfFile},
        machine::Machine,
        process::{MappedObject, Process, ProcessError, Surroundings},
    },
};

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("process {pid} is a thread of the kernel, which has no memory of its own")]
    KernelThread { pid: u32 },
    #[error("process {pid} has ended and is only waited for by its parent")]
    Zombie { pid: u32 },
}

impl DoctorError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Process(error) => error.hint(),
            Self::KernelThread { .. } | Self::Zombie { .. } => {
                Some("name a process that runs a program; `pgrep -a python` lists those of Python".to_owned())
            }
        }
    }
}

/// Looks at the machine, and at a process if one is named.
pub fn examine(pid: Option<u32>) -> Result<Diagnosis, DoctorError> {
    // First: that there is no such process is quickly said.
    let process = pid.map(process_facts).transpose()?.map(ProcessReport::from);
    let facts = MachineFacts {
        machine: Machine::read(),
        features: KernelFeatures::probe(),
        privileges: Privileges::read(),
    };
    let (kernel, user) = (facts.kernel_findings(), facts.user_findings());
    let of_process = process.as_ref().map(|report| &report.findings[..]);
    let verdict = Verdict::new(&[&kernel, &user], of_process, &facts.features);
    Ok(Diagnosis {
        kernel,
        user,
        process,
        verdict,
    })
}

fn process_facts(pid: u32) -> Result<ProcessFacts, DoctorError> {
    let process = Process::open(pid)?;
    let surroundings = process.surroundings()?;
    must_be_alive(pid, &surroundings)?;
    let executable = process.executable()?;
    let command_line = process.command_line()?;
    let words = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    let mut facts = ProcessFacts {
        pid,
        executable,
        command_line: words.collect(),
        surroundings,
        program: Ok(()),
        interpreter: Ok(None),
        c_library: None,
        loader: None,
        objects: Vec::new(),
        n_other_objects: 0,
        unreadable: Vec::new(),
    };
    // Asked first: nothing in a process of another architecture lies where it is looked for below.
    if let Err(error) = ElfFile::open(&process.proc_directory().join("exe")) {
        facts.program = Err(Refusal {
            text: in_one_line(&error),
            hint: is_of_other_machine(&error).then(|| "use a build of it for x86-64".to_owned()),
        });
        return Ok(facts);
    }
    let scan = process.scan_objects()?;
    let skipped = scan.skipped.into_iter();
    facts.unreadable = skipped
        .map(|skipped| (skipped.path, in_one_line(&skipped.reason)))
        .collect();
    let interpreter = detect(&process, &scan.objects);
    let code_dealloc = match &interpreter {
        Ok(Some(found)) => found.code_dealloc_avma,
        _ => None,
    };
    facts.interpreter = match interpreter {
        Ok(Some(found)) => Ok(Some(interpreter_facts(found, &process, &scan.objects)?)),
        Ok(None) => Ok(None),
        Err(error) => Err(Refusal {
            hint: error.hint().map(str::to_owned),
            text: in_one_line(&error),
        }),
    };
    look_at_objects(&mut facts, &scan.objects, code_dealloc);
    Ok(facts)
}

fn must_be_alive(pid: u32, surroundings: &Surroundings) -> Result<(), DoctorError> {
    match surroundings.state {
        Some('Z' | 'X') => Err(DoctorError::Zombie { pid }),
        _ if surroundings.is_kernel_thread => Err(DoctorError::KernelThread { pid }),
        _ => Ok(()),
    }
}

fn is_of_other_machine(error: &ElfError) -> bool {
    matches!(
        error,
        ElfError::ThirtyTwoBit | ElfError::OtherMachine { .. } | ElfError::BigEndian
    )
}

fn interpreter_facts(
    interpreter: Interpreter,
    process: &Process,
    objects: &[MappedObject],
) -> Result<InterpreterFacts, ProcessError> {
    let executable = process.main_executable()?;
    Ok(InterpreterFacts {
        version: interpreter.version,
        has_code_dealloc: interpreter.code_dealloc_avma.is_some(),
        provenance: provenance(&interpreter, objects, &executable, process),
        python_allocator: interpreter.python_allocator,
    })
}

fn look_at_objects(facts: &mut ProcessFacts, objects: &[MappedObject], code_dealloc: Option<u64>) {
    let mut seen = Vec::new();
    for object in objects {
        // A file that is mapped twice says it all again.
        if seen.contains(&(object.device, object.inode)) {
            continue;
        }
        seen.push((object.device, object.inode));
        let file = match ElfFile::open(&object.open_path) {
            Ok(file) => file,
            Err(error) => {
                facts.unreadable.push((object.path.clone(), in_one_line(&error)));
                continue;
            }
        };
        let extra: Vec<ExtraProbe> = code_dealloc
            .filter(|address| object.avma_range.contains(address))
            .into_iter()
            .map(ExtraProbe::code_dealloc)
            .collect();
        let plan = ProbePlan::new(std::iter::once((object, &file)), &extra);
        match ObjectReport::new(&object.path, object.is_deleted, plan) {
            Some(report) => facts.objects.push(report),
            None => facts.n_other_objects += 1,
        }
        if facts.loader.is_none() {
            facts.loader = debug_state(&object.path, &file);
        }
        if facts.c_library.is_none() {
            facts.c_library = c_library(&file).map(|library| (object.path.clone(), library));
        }
    }
}

/// What dynamic loaders call whenever libraries have come or gone (elf/dl-debug.c of glibc, ldso/dynlink.c of musl).
fn debug_state(path: &Path, file: &ElfFile) -> Option<(PathBuf, u64)> {
    let symbol = file.symbol("_dl_debug_state")?;
    Some((path.to_owned(), file.svma_to_file_offset(symbol.svma)?))
}
