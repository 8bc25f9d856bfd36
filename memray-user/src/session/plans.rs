//! What is probed in each file, worked out once for all processes that map it.

use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

use memray_ebpf::cookie::Role;

use super::error::SessionError;
use crate::{
    bpf::{FileId, ProbeFile, ProbeSite},
    probes::{ExtraProbe, HoldPoint, ProbePlan, ProbePoint, hold_points, python_hold_points},
    target::{
        elf::ElfFile,
        process::{Device, MappedObject},
        root::path_of,
    },
};

/// How /proc names a mapped file: device and inode, which on some file systems are not those of stat(2).
pub(super) type MappedFile = (Device, u64);

pub(super) fn mapped_file(object: &MappedObject) -> MappedFile {
    (object.device, object.inode)
}

/// The places in one file.
#[derive(Debug, Default)]
pub(super) struct FilePlan {
    /// Functions of allocators.
    pub(super) sites: Vec<ProbeSite>,
    /// Where threads are held, whatever the program.
    pub(super) holds: Vec<ProbeSite>,
    /// Where threads are held if the interpreter in this file has not begun.
    pub(super) python_holds: Vec<ProbeSite>,
    /// There is a `_PyRuntime` in it.
    pub(super) has_runtime: bool,
}

/// Plans of all files met so far.
#[derive(Debug, Default)]
pub(super) struct FilePlans {
    mapped: BTreeMap<MappedFile, Arc<FilePlan>>,
    loaders: BTreeMap<FileId, Arc<FilePlan>>,
}

impl FilePlans {
    pub(super) fn of(&mut self, object: &MappedObject) -> Result<Arc<FilePlan>, SessionError> {
        let key = mapped_file(object);
        if let Some(plan) = self.mapped.get(&key) {
            return Ok(Arc::clone(plan));
        }
        let elf = open(object)?;
        let mut plan = FilePlan {
            has_runtime: elf.symbol("_PyRuntime").is_some(),
            ..FilePlan::default()
        };
        let points = ProbePlan::new(std::iter::once((object, &elf)), &[]).points;
        let holds = hold_points(&elf);
        // Most files have nothing, and need not be kept open.
        if !points.is_empty() || !holds.is_empty() || plan.has_runtime {
            let file = probe_file(object)?;
            plan.sites = points.iter().map(|point| site(&file, point)).collect();
            plan.holds = holds.iter().map(|point| hold_site(&file, point)).collect();
            if plan.has_runtime {
                let points = python_hold_points(&elf);
                plan.python_holds = points.iter().map(|point| hold_site(&file, point)).collect();
            }
        }
        let plan = Arc::new(plan);
        self.mapped.insert(key, Arc::clone(&plan));
        Ok(plan)
    }

    /// Of a dynamic loader that nobody has mapped yet, as far as threads are held there. Empty for what is no loader.
    pub(super) fn of_loader(&mut self, file: &File) -> Arc<FilePlan> {
        let path = path_of(file);
        let Ok(probe_file) = ProbeFile::open(&path, Path::new("the dynamic loader")) else {
            return Arc::default();
        };
        let plan = self.loaders.entry(probe_file.id).or_insert_with(|| {
            let points = ElfFile::open(&path)
                .map(|elf| hold_points(&elf))
                .unwrap_or_default();
            Arc::new(FilePlan {
                holds: points.iter().map(|point| hold_site(&probe_file, point)).collect(),
                ..FilePlan::default()
            })
        });
        Arc::clone(plan)
    }
}

/// The place where code objects die: no symbol tells it, so it is not of a file alone.
pub(super) fn code_dealloc_site(object: &MappedObject, avma: u64) -> Result<Option<ProbeSite>, SessionError> {
    let elf = open(object)?;
    let plan = ProbePlan::extra(object, &elf, &ExtraProbe::code_dealloc(avma));
    let file = probe_file(object)?;
    Ok(plan.points.first().map(|point| site(&file, point)))
}

fn open(object: &MappedObject) -> Result<ElfFile, SessionError> {
    ElfFile::open(&object.open_path).map_err(|source| SessionError::Object {
        path: object.path.clone(),
        source,
    })
}

fn probe_file(object: &MappedObject) -> Result<Arc<ProbeFile>, SessionError> {
    ProbeFile::open(&object.open_path, &object.path).map_err(|source| SessionError::File {
        path: object.path.clone(),
        source,
    })
}

fn site(file: &Arc<ProbeFile>, point: &ProbePoint) -> ProbeSite {
    ProbeSite {
        file: Arc::clone(file),
        file_offset: point.file_offset,
        role: point.role,
        cookie: point.cookie,
    }
}

fn hold_site(file: &Arc<ProbeFile>, point: &HoldPoint) -> ProbeSite {
    ProbeSite {
        file: Arc::clone(file),
        file_offset: point.file_offset,
        role: Role::Hold,
        cookie: point.cookie,
    }
}
