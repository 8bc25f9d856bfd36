//! Programs for multi-uprobe links (Linux 6.6), which aya 0.14 can neither load nor attach.
//!
//! aya parses the object, makes its maps and keeps them. This module parses the same bytes again with aya-obj,
//! points the instructions at aya's maps, and loads the programs itself.

use std::{
    collections::HashSet,
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::{Object, ProgramSection, generated::bpf_func_info};

use super::{
    error::BpfError,
    system::{MultiLink, ProgramLoad, link_multi, load_multi_program, load_types},
};

/// The object, relocated and ready to load.
pub(super) struct MultiObject {
    object: Object,
    types: Option<OwnedFd>,
}

impl MultiObject {
    /// `map_fd` gives the descriptor of a map that aya has made from the same bytes.
    pub(super) fn new(bytes: &[u8], map_fd: impl Fn(&str) -> Option<RawFd>) -> Result<Self, BpfError> {
        let parse = |error: Box<dyn std::error::Error + Send + Sync>| BpfError::Parse(error);
        let mut object = Object::parse(bytes).map_err(|error| parse(error.into()))?;
        let types = match aya::features().btf() {
            Some(features) => object
                .fixup_and_sanitize_btf(features)
                .map_err(|error| parse(error.into()))?
                .map(aya_obj::btf::Btf::to_bytes),
            None => None,
        };
        let types = types
            .map(|bytes| load_types(&bytes))
            .transpose()
            .map_err(|error| parse(error.into()))?;
        let maps: Vec<_> = object.maps.drain().collect();
        let sections = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect::<HashSet<_>>();
        let known = maps
            .iter()
            .filter_map(|(name, map)| Some((name.as_str(), map_fd(name)?, map)));
        object
            .relocate_maps(known, &sections)
            .map_err(|error| parse(error.into()))?;
        object
            .relocate_calls(&sections)
            .map_err(|error| parse(error.into()))?;
        Ok(Self { object, types })
    }

    pub(super) fn load(&self, name: &'static str) -> Result<OwnedFd, BpfError> {
        let program = self.object.programs.get(name).ok_or(BpfError::Missing { name })?;
        let function = self
            .object
            .functions
            .get(&program.function_key())
            .ok_or(BpfError::Missing { name })?;
        let sleepable = matches!(
            program.section,
            ProgramSection::UProbe { sleepable: true } | ProgramSection::URetProbe { sleepable: true }
        );
        let no_function_info: &[bpf_func_info] = &[];
        let load = ProgramLoad {
            name,
            instructions: &function.instructions,
            sleepable,
            types: self
                .types
                .as_ref()
                .filter(|_| function.func_info_rec_size > 0)
                .map(|types| types.as_fd()),
            function_info: if function.func_info_rec_size > 0 {
                &function.func_info.func_info
            } else {
                no_function_info
            },
        };
        load_multi_program(&load).map_err(|(source, log)| BpfError::Verifier {
            log_file: None,
            program: name,
            source,
            log,
        })
    }
}

impl std::fmt::Debug for MultiObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MultiObject")
            .field("programs", &self.object.programs.keys())
            .finish_non_exhaustive()
    }
}

/// One link for all points of one file.
pub(super) fn attach(
    program: &OwnedFd,
    path: &Path,
    points: &[(u64, u64)],
    is_return: bool,
    pid: u32,
) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (offsets, cookies): (Vec<u64>, Vec<u64>) = points.iter().copied().unzip();
    link_multi(&MultiLink {
        program: program.as_fd(),
        path: &path,
        offsets: &offsets,
        cookies: &cookies,
        is_return,
        pid,
    })
}
