//! The ELF files of a process and how we reach them.
//!
//! The path in `/proc/PID/maps` is the target's or ours depending on how its root was made (a container shows its own
//! path, which on the host can be another libc; a chroot shows the host's). So a path is only used if it leads to the
//! inode that is mapped; what always leads there is `map_files`, which lives as long as the mapping does.

use std::{
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Device, Mapping, Process};
use crate::target::elf::{ElfError, ElfFile};

/// An ELF file that is mapped executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedObject {
    /// As the target names it, without the mark for a deleted file.
    pub path: PathBuf,
    /// A path that leads us, and the kernel on our behalf, to the very file that is mapped.
    pub open_path: PathBuf,
    /// `AVMA - SVMA`, wrapping.
    pub bias: u64,
    /// From the first to one past the last page that the file's segments take.
    pub avma_range: Range<u64>,
    pub device: Device,
    pub inode: u64,
    /// The name is gone: the file was replaced or removed after it was mapped.
    pub is_deleted: bool,
}

/// A file that is mapped executable but cannot be used.
#[derive(Debug)]
pub struct SkippedObject {
    pub path: PathBuf,
    pub reason: ElfError,
}

#[derive(Debug, Default)]
pub struct ObjectScan {
    /// In the order of their addresses.
    pub objects: Vec<MappedObject>,
    pub skipped: Vec<SkippedObject>,
}

pub(super) fn scan(process: &Process, mappings: &[Mapping]) -> ObjectScan {
    let mut scan = ObjectScan::default();
    let mut opened: Option<(Device, u64, PathBuf, ElfFile)> = None;
    for mapping in mappings.iter().filter(|mapping| mapping.permissions.execute) {
        let Some((path, is_deleted)) = mapping.file_path() else {
            continue;
        };
        // The mappings of one file follow each other, so one opened file at a time is enough.
        let is_open = opened
            .as_ref()
            .is_some_and(|(device, inode, ..)| *device == mapping.device && *inode == mapping.inode);
        if !is_open {
            let open_path = open_path(process, mapping, path, is_deleted);
            match ElfFile::open(&open_path) {
                Ok(elf) => opened = Some((mapping.device, mapping.inode, open_path, elf)),
                Err(reason) => {
                    let path = path.to_owned();
                    scan.skipped.push(SkippedObject { path, reason });
                    continue;
                }
            }
        }
        let Some((device, inode, open_path, elf)) = &opened else {
            continue;
        };
        let Some(bias) = elf.bias_of_mapping(mapping.start, mapping.file_offset) else {
            continue;
        };
        let is_known = scan
            .objects
            .iter()
            .any(|object| object.device == *device && object.inode == *inode && object.bias == bias);
        if !is_known {
            scan.objects.push(MappedObject {
                path: path.to_owned(),
                open_path: open_path.clone(),
                bias,
                avma_range: elf.base_svma().wrapping_add(bias)..elf.end_svma().wrapping_add(bias),
                device: *device,
                inode: *inode,
                is_deleted,
            });
        }
    }
    scan
}

pub(super) fn main_executable(process: &Process, mappings: &[Mapping]) -> Option<MappedObject> {
    let metadata = process.path("exe").metadata().ok()?;
    let own: Vec<Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.inode == metadata.ino() && mapping.permissions.execute)
        .cloned()
        .collect();
    scan(process, &own).objects.into_iter().next()
}

fn open_path(process: &Process, mapping: &Mapping, path: &Path, is_deleted: bool) -> PathBuf {
    let directory = process.proc_directory();
    let mut candidates = Vec::new();
    if !is_deleted {
        candidates.extend([process.path_in_root(path), path.to_owned()]);
    }
    candidates.push(directory.join("exe"));
    let mapped: Vec<Match> = candidates
        .iter()
        .map(|candidate| leads_to(candidate, mapping))
        .collect();
    let first = |wanted| {
        Some(
            candidates
                .get(mapped.iter().position(|&found| found == wanted)?)?
                .clone(),
        )
    };
    let of_mapping = directory.join(format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
    if let Some(exact) = first(Match::Exact) {
        return exact;
    }
    // Following `map_files` takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
    match first(Match::SameInode) {
        Some(likely) if of_mapping.metadata().is_err() => likely,
        _ => of_mapping,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Exact,
    /// On overlayfs and btrfs stat(2) names another device than `maps` does.
    SameInode,
    Other,
}

fn leads_to(path: &Path, mapping: &Mapping) -> Match {
    let Ok(metadata) = path.metadata() else {
        return Match::Other;
    };
    let device = metadata.dev();
    if metadata.ino() != mapping.inode {
        Match::Other
    } else if libc::major(device) == mapping.device.major && libc::minor(device) == mapping.device.minor {
        Match::Exact
    } else {
        Match::SameInode
    }
}
