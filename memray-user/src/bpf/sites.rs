//! Places for probes, and which programs sit there.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use memray_ebpf::cookie::Role;

use super::programs::{
    ALLOCATOR_ENTRY, ALLOCATOR_RETURN, CODE_DEALLOC, FLOOR_ENTRY, FLOOR_RETURN, FREE_ENTRY, HOLD,
};

/// A file, whatever its name: device and inode.
pub type FileId = (u64, u64);

/// A file that probes sit in. It can be found as long as this lives, whatever becomes of its name and of the process
/// through which it was reached.
#[derive(Debug)]
pub struct ProbeFile {
    pub id: FileId,
    /// For messages.
    pub name: PathBuf,
    /// Leads to `file` in our own process.
    path: PathBuf,
    _file: File,
}

impl ProbeFile {
    /// `path` opens the file in our own mount namespace, `name` is what the target calls it.
    pub fn open(path: &Path, name: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        let metadata = file.metadata()?;
        Ok(Arc::new(Self {
            id: (metadata.dev(), metadata.ino()),
            name: name.to_owned(),
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            _file: file,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// One place for probes.
#[derive(Clone, Debug)]
pub struct ProbeSite {
    pub file: Arc<ProbeFile>,
    pub file_offset: u64,
    pub role: Role,
    /// A packed [`memray_ebpf::cookie::Cookie`].
    pub cookie: u64,
}

impl ProbeSite {
    /// What tells it from all others.
    pub fn key(&self) -> (FileId, u64) {
        (self.file.id, self.file_offset)
    }
}

/// The program that runs at a place, in the order of attaching: frees first, so that no block is seen whose free
/// would be missed, then entries, then returns, so that no return comes whose entry was missed; holds last, for nobody
/// is to wait for what is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Half {
    Free,
    CodeDealloc,
    AllocatorEntry,
    AllocatorReturn,
    Hold,
    /// Does nothing; see [`Linker::keep`](super::Linker::keep).
    Keeper,
}

impl Half {
    pub(super) const ALL: [Self; 6] = [
        Self::Free,
        Self::CodeDealloc,
        Self::AllocatorEntry,
        Self::AllocatorReturn,
        Self::Hold,
        Self::Keeper,
    ];

    pub(super) fn all_of(role: Role) -> &'static [Self] {
        match role {
            Role::Free => &[Self::Free],
            Role::CodeDealloc => &[Self::CodeDealloc],
            Role::Hold => &[Self::Hold],
            Role::Allocate
            | Role::AllocateArray
            | Role::AllocateInto
            | Role::Reallocate
            | Role::ReallocateArray => &[Self::AllocatorEntry, Self::AllocatorReturn],
        }
    }

    /// The program that does nothing, for [`Recorder::load_floor`](super::Recorder::load_floor).
    pub(super) const fn floor_program(self) -> &'static str {
        match self {
            Self::AllocatorReturn => FLOOR_RETURN,
            Self::Free | Self::CodeDealloc | Self::AllocatorEntry | Self::Hold | Self::Keeper => FLOOR_ENTRY,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Free => FREE_ENTRY,
            Self::CodeDealloc => CODE_DEALLOC,
            Self::AllocatorEntry => ALLOCATOR_ENTRY,
            Self::AllocatorReturn => ALLOCATOR_RETURN,
            Self::Hold => HOLD,
            Self::Keeper => FLOOR_ENTRY,
        }
    }
}

/// What one link covers: a program, a file, and offset and cookie of each place in it.
#[derive(Clone, Debug)]
pub(super) struct Group<'site> {
    pub(super) half: Half,
    pub(super) file: &'site ProbeFile,
    pub(super) points: Vec<(u64, u64)>,
}

/// In the order of attaching.
pub(super) fn groups(sites: &[ProbeSite]) -> Vec<Group<'_>> {
    group(sites, Half::all_of)
}

/// One program that does nothing for each place.
pub(super) fn keepers(sites: &[ProbeSite]) -> Vec<Group<'_>> {
    group(sites, |_role| &[Half::Keeper])
}

fn group(sites: &[ProbeSite], halves: impl Fn(Role) -> &'static [Half]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(Half, FileId), Group<'_>> = BTreeMap::new();
    for site in sites {
        for &half in halves(site.role) {
            let group = groups.entry((half, site.file.id)).or_insert_with(|| Group {
                half,
                file: &site.file,
                points: Vec::new(),
            });
            if !group.points.iter().any(|(offset, _)| *offset == site.file_offset) {
                group.points.push((site.file_offset, site.cookie));
            }
        }
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_in_the_order_of_attaching() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, name).unwrap();
            ProbeFile::open(&path, Path::new(name)).unwrap()
        };
        let (libc, jemalloc) = (file("libc"), file("jemalloc"));
        std::fs::hard_link(directory.path().join("libc"), directory.path().join("same")).unwrap();
        let same = ProbeFile::open(&directory.path().join("same"), Path::new("same")).unwrap();
        let site = |file: &Arc<ProbeFile>, file_offset, role| ProbeSite {
            file: Arc::clone(file),
            file_offset,
            role,
            cookie: file_offset + 1,
        };
        let sites = [
            site(&libc, 30, Role::Hold),
            site(&libc, 10, Role::Allocate),
            site(&libc, 20, Role::Free),
            site(&same, 10, Role::Allocate),
            site(&jemalloc, 10, Role::Free),
        ];
        let mut text: Vec<String> = groups(&sites)
            .iter()
            .map(|group| {
                format!(
                    "{:?} {} {:?}",
                    group.half,
                    group.file.name.display(),
                    group.points
                )
            })
            .collect();
        // By inode, which is the file system's.
        text[..2].sort();
        assert_eq!(
            text,
            [
                "Free jemalloc [(10, 11)]",
                "Free libc [(20, 21)]",
                "AllocatorEntry libc [(10, 11)]",
                "AllocatorReturn libc [(10, 11)]",
                "Hold libc [(30, 31)]",
            ]
        );
        assert_eq!(keepers(&sites).len(), 2);
    }
}
