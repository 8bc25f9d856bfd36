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
    half: Half,
    _owner: Box<dyn Send>,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Links that are made or closed at one time.
const AT_ONCE: usize = 32;

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
        let link = |group: &Group<'_>| self.link_group(scope, group);
        let made: Vec<_> = if order == Order::Running || self.multi.is_none() {
            groups.iter().map(link).collect()
        } else {
            side_by_side(groups, link)
        };
        let mut links = Vec::new();
        let mut failed = None;
        for result in made {
            match result {
                Ok(made) => links.extend(made),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Some(error) = failed else {
            return Ok(links);
        };
        // Not here: to close a link waits for whoever is held, who may wait for the caller.
        let _closed_here = thread::Builder::new().spawn(move || drop(links));
        Err(error)
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
                half: group.half,
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
                half: group.half,
                _owner: Box::new(link),
            });
        }
        Ok(links)
    }
}

/// Takes links off side by side: each waits for the kernel, and they can wait together.
pub fn close(links: Vec<Link>) {
    // First those by which the return of a call whose entry was not seen would be counted as a loss.
    let (returns, others): (Vec<_>, Vec<_>) = links
        .into_iter()
        .partition(|link| link.half == Half::AllocatorReturn);
    side_by_side(returns, drop);
    side_by_side(others, drop);
}

/// As many at one time as are of use; a thread that the system does not give is done without.
fn side_by_side<T: Send, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items = Mutex::new(items.into_iter());
    let results = Mutex::new(Vec::new());
    let turn = || {
        loop {
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            let result = work(item);
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(result);
        }
    };
    let count = items.lock().unwrap_or_else(PoisonError::into_inner).size_hint().0;
    thread::scope(|threads| {
        for _ in 1..count.min(AT_ONCE) {
            let _done_without = thread::Builder::new().spawn_scoped(threads, turn);
        }
        turn();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
