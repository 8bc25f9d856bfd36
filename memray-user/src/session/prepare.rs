//! What must be known of a process before its probes go in.

use std::{ffi::OsString, path::PathBuf};

use memray_ebpf::config::TargetConfig;

use super::{error::SessionError, python::PythonProcess};
use crate::{
    bpf::{Delivery, ProbeSite},
    cpython::{Interpreter, detect},
    model::ProcessRow,
    probes::{ExtraProbe, ProbePlan},
    target::{
        elf::ElfFile,
        process::{MappedObject, Process},
    },
};

/// A process, looked at.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) pid: u32,
    pub(super) row: ProcessRow,
    pub(super) reader: PythonProcess,
    pub(super) config: TargetConfig,
    pub(super) sites: Vec<ProbeSite>,
    /// `argv`.
    pub(super) arguments: Vec<OsString>,
}

/// Looks at a process whose libraries are in place. None if it is to be a Python and is not one (yet): a shell script
/// that stands for an interpreter, as pyenv has them, becomes one in the end.
pub(super) fn prepare(
    pid: u32,
    must_be_python: bool,
    delivery: Delivery,
) -> Result<Option<Prepared>, SessionError> {
    let process = Process::open(pid)?;
    let executable = process.executable()?;
    // Asked first: nothing in a process of another architecture lies where it is looked for below.
    ElfFile::open(&PathBuf::from(format!("/proc/{pid}/exe"))).map_err(|source| SessionError::Object {
        path: executable.clone(),
        source,
    })?;
    let objects = process.objects()?;
    let interpreter = detect(&process, &objects)?;
    if must_be_python && interpreter.is_none() {
        return Ok(None);
    }
    let sites = sites(&objects, interpreter.as_ref())?;
    if sites.is_empty() {
        return Err(SessionError::NoAllocator { executable });
    }
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
    let config = interpreter.as_ref().map(|found| found.config).unwrap_or_default();
    let reader = PythonProcess {
        process,
        interpreter,
        threads_wait: delivery == Delivery::Lossless,
    };
    Ok(Some(Prepared {
        pid,
        row,
        reader,
        config,
        sites,
        arguments,
    }))
}

/// What a benchmark needs to attach the probes of a recording by itself.
pub fn prepare_process(pid: u32) -> Result<(TargetConfig, Vec<ProbeSite>), SessionError> {
    let process = Process::open(pid)?;
    let objects = process.objects()?;
    let interpreter = detect(&process, &objects)?;
    let config = interpreter.as_ref().map(|found| found.config).unwrap_or_default();
    Ok((config, sites(&objects, interpreter.as_ref())?))
}

fn sites(
    objects: &[MappedObject],
    interpreter: Option<&Interpreter>,
) -> Result<Vec<ProbeSite>, SessionError> {
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let file = ElfFile::open(&object.open_path).map_err(|source| SessionError::Object {
            path: object.path.clone(),
            source,
        })?;
        files.push((object, file));
    }
    let code_dealloc = interpreter.and_then(|found| found.code_dealloc_avma);
    let extra: Vec<ExtraProbe> = code_dealloc.into_iter().map(ExtraProbe::code_dealloc).collect();
    let plan = ProbePlan::new(files.iter().map(|(object, file)| (*object, file)), &extra);
    let site = |point: crate::probes::ProbePoint| ProbeSite {
        path: point.object,
        file_offset: point.file_offset,
        role: point.role,
        cookie: point.cookie,
    };
    Ok(plan.points.into_iter().map(site).collect())
}
