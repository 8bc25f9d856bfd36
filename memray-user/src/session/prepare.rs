//! What must be known of a process before its probes go in.

use std::{collections::BTreeSet, ffi::OsString};

use memray_ebpf::{config::TargetConfig, cookie::Role};

use super::{
    error::SessionError,
    plans::{FilePlans, MappedFile, code_dealloc_site, mapped_file},
};
use crate::{
    bpf::ProbeSite,
    cpython::{Interpreter, detect},
    model::ProcessRow,
    target::{
        elf::ElfFile,
        loader::{LoadProgress, Loader},
        process::{MappedObject, Process},
    },
};

/// A process, looked at.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) pid: u32,
    pub(super) row: ProcessRow,
    pub(super) process: Process,
    pub(super) interpreter: Option<Interpreter>,
    /// Functions of allocators, and where code objects die.
    pub(super) sites: Vec<ProbeSite>,
    /// Where its threads are held.
    pub(super) holds: Vec<ProbeSite>,
    /// The files that are mapped.
    pub(super) files: BTreeSet<MappedFile>,
    /// How the dynamic loader tells of more; none in a static program.
    pub(super) progress: Option<LoadProgress>,
    /// `argv`.
    pub(super) arguments: Vec<OsString>,
    /// Its interpreter is none that we know; without stacks it can be recorded all the same.
    pub(super) is_unknown_python: bool,
}

/// What to make of a program that cannot be recorded in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// It is what somebody asked for: say why not.
    Full,
    /// It is what the process became: record what can be.
    Whatever,
}

impl Prepared {
    pub(super) fn config(&self) -> TargetConfig {
        let config = self.interpreter.as_ref().map(|found| found.config);
        TargetConfig {
            sees_code_deaths: sees_code_deaths(&self.sites).into(),
            ..config.unwrap_or_default()
        }
    }

    pub(super) fn is_python(&self) -> bool {
        self.interpreter.is_some()
    }
}

/// Whether the end of code objects is among what is probed.
pub(super) fn sees_code_deaths(sites: &[ProbeSite]) -> bool {
    sites.iter().any(|site| site.role == Role::CodeDealloc)
}

/// Looks at a process whose libraries are in place.
pub(super) fn prepare(pid: u32, plans: &mut FilePlans, demand: Demand) -> Result<Prepared, SessionError> {
    let process = Process::open(pid)?;
    let executable = process.executable()?;
    // Asked first: nothing in a process of another architecture lies where it is looked for below.
    ElfFile::open(&process.proc_directory().join("exe")).map_err(|source| SessionError::Object {
        path: executable.clone(),
        source,
    })?;
    let objects = process.objects()?;
    let (interpreter, is_unknown_python) = match detect(&process, &objects) {
        Ok(interpreter) => (interpreter, false),
        Err(_unknown) if demand == Demand::Whatever => (None, true),
        Err(error) => return Err(error.into()),
    };
    let (mut sites, holds) = places(&objects, plans)?;
    if sites.is_empty() && demand == Demand::Full {
        return Err(SessionError::NoAllocator { executable });
    }
    sites.extend(interpreter_site(&objects, interpreter.as_ref())?);
    let arguments = process.command_line()?;
    let words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
    let row = ProcessRow {
        pid,
        command_line: words.collect::<Vec<_>>().join(" "),
        executable: executable.to_string_lossy().into_owned(),
        python_version: interpreter
            .as_ref()
            .map(|found| found.version.to_string())
            .unwrap_or_default(),
        python_allocator: interpreter
            .as_ref()
            .map(|found| found.python_allocator.clone())
            .unwrap_or_default(),
        ..ProcessRow::default()
    };
    Ok(Prepared {
        pid,
        row,
        interpreter,
        sites,
        holds,
        files: objects.iter().map(mapped_file).collect(),
        progress: Loader::of(&process)?.map(|loader| loader.progress()),
        arguments,
        is_unknown_python,
        process,
    })
}

/// The places of allocators and of holds in these objects.
fn places(
    objects: &[MappedObject],
    plans: &mut FilePlans,
) -> Result<(Vec<ProbeSite>, Vec<ProbeSite>), SessionError> {
    let (mut sites, mut holds) = (Vec::new(), Vec::new());
    for object in objects {
        let plan = plans.of(object)?;
        sites.extend_from_slice(&plan.sites);
        holds.extend_from_slice(&plan.holds);
    }
    Ok((sites, holds))
}

/// Where the code objects of an interpreter die.
pub(super) fn interpreter_site(
    objects: &[MappedObject],
    interpreter: Option<&Interpreter>,
) -> Result<Option<ProbeSite>, SessionError> {
    let Some(avma) = interpreter.and_then(|found| found.code_dealloc_avma) else {
        return Ok(None);
    };
    match objects.iter().find(|object| object.avma_range.contains(&avma)) {
        Some(object) => code_dealloc_site(object, avma),
        None => Ok(None),
    }
}

/// What a benchmark needs to attach the probes of a recording by itself.
pub fn prepare_process(pid: u32) -> Result<(TargetConfig, Vec<ProbeSite>), SessionError> {
    let prepared = prepare(pid, &mut FilePlans::default(), Demand::Full)?;
    Ok((prepared.config(), prepared.sites))
}
