//! Programs put on functions, and taken off again.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope},
    },
};

use super::{
    error::BpfError,
    multi,
    recorder::program,
    sites::{Group, Half, ProbeSite, groups, keepers},
};

/// Who is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A process in our own pid namespace.
    Process(u32),
    /// Every process that maps the file.
    Everybody,
}

/// In which order links are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, so that a program that runs meanwhile is seen consistently.
    Running,
    /// Side by side, which is faster: each waits for the kernel. For a process that is held.
    Held,
}

/// One program on some places of one file; dropping it takes it off, which waits for the kernel some ten milliseconds.
pub struct Link {
    _owner: Box<dyn Send>,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}

/// The programs that sit on functions, ready to be attached from any thread.
#[derive(Clone)]
pub struct Linker {
    pub(super) ebpf: Arc<Mutex<Ebpf>>,
    /// None where the kernel has no multi-uprobe links; then aya attaches each probe by itself.
    pub(super) multi: Option<Arc<BTreeMap<Half, OwnedFd>>>,
}

impl fmt::Debug for Linker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Linker")
            .field("has_multi_links", &self.multi.is_some())
            .finish_non_exhaustive()
    }
}

impl Linker {
    /// Attaches the programs of these places.
    pub fn attach(&self, scope: Scope, sites: &[ProbeSite], order: Order) -> Result<Vec<Link>, BpfError> {
        self.link(scope, &groups(sites), order)
    }

    /// Keeps the breakpoints of these places where they are, in every process that maps the files.
    ///
    /// A link to a process finds it by its first thread. When that has ended, the program still runs at every
    /// breakpoint, but the kernel puts no new ones in, and takes out those that are there as soon as anybody else comes
    /// or goes (`uprobe_multi_link_filter`, `kernel/trace/bpf_trace.c`). A program that does nothing, for everybody, holds
    /// them.
    pub fn keep(&self, sites: &[ProbeSite]) -> Result<Vec<Link>, BpfError> {
        if self.multi.is_none() {
            return Ok(Vec::new());
        }
        self.link(Scope::Everybody, &keepers(sites), Order::Running)
    }

    /// Takes the breakpoints of these places out of processes that nobody probes: a child has those of its parent in its
    /// copy of the memory, and pays for each. The kernel looks for them when a link goes.
    pub fn sweep(&self, sites: &[ProbeSite]) -> Result<(), BpfError> {
        if self.multi.is_none() {
            return Ok(());
        }
        let ourselves = Scope::Process(std::process::id());
        close(self.link(ourselves, &keepers(sites), Order::Held)?);
        Ok(())
    }

    fn link(&self, scope: Scope, groups: &[Group<'_>], order: Order) -> Result<Vec<Link>, BpfError> {
        let mut links = Vec::new();
        if order == Order::Running || self.multi.is_none() {
            for group in groups {
                links.extend(self.link_group(scope, group)?);
            }
            return Ok(links);
        }
        let made: Vec<_> = thread::scope(|threads| {
            let started: Vec<_> = groups
                .iter()
                .map(|group| threads.spawn(move || self.link_group(scope, group)))
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().expect("a panic ends the process before"))
                .collect()
        });
        for result in made {
            links.extend(result?);
        }
        Ok(links)
    }

    fn link_group(&self, scope: Scope, group: &Group<'_>) -> Result<Vec<Link>, BpfError> {
        let name = group.half.program();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BpfError::Attach {
            program: name,
            target: group.file.name.display().to_string(),
            source,
        };
        let pid = match scope {
            Scope::Process(pid) => NonZeroU32::new(pid),
            Scope::Everybody => None,
        };
        if let Some(multi) = &self.multi {
            let program = multi.get(&group.half).ok_or(BpfError::Missing { name })?;
            let is_return = group.half == Half::AllocatorReturn;
            let pid = pid.map_or(0, NonZeroU32::get);
            let link = multi::attach(program, group.file.path(), &group.points, is_return, pid)
                .map_err(|error| failed(error.into()))?;
            return Ok(vec![Link {
                _owner: Box::new(link),
            }]);
        }
        let scope = pid.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program: &mut UProbe = program(&mut ebpf, name)?;
        let mut links = Vec::new();
        for (file_offset, cookie) in &group.points {
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(*file_offset),
                cookie: Some(*cookie),
            };
            let link = program
                .attach(point, group.file.path(), scope)
                .and_then(|link| program.take_link(link))
                .map_err(|error| failed(error.into()))?;
            links.push(Link {
                _owner: Box::new(link),
            });
        }
        Ok(links)
    }
}

/// Takes links off side by side: each waits for the kernel, and they can wait together.
pub fn close(links: Vec<Link>) {
    thread::scope(|threads| {
        for link in links {
            threads.spawn(move || drop(link));
        }
    });
}
