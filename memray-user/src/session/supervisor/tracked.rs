//! What the supervisor knows of one process.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    bpf::{FileId, Link, ProbeSite},
    cpython::Interpreter,
    model::{ProcessId, ProcessOrigin, ProcessRow},
    session::plans::MappedFile,
    target::{
        loader::{LoadProgress, Loader},
        process::Process,
    },
};

/// How far the program in the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has begun and is not in the capture yet: between exec and the end of loading, or a child in its parent's
    /// memory.
    Starting,
    /// It is recorded.
    Recorded(ProcessId),
}

/// A followed process, from launch, attach or fork to its end, through all its lives.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that come and go by themselves"
)]
pub(super) struct Tracked {
    pub(super) stage: Stage,
    /// How the next life comes into the capture, and of which process.
    pub(super) origin: ProcessOrigin,
    pub(super) parent: Option<ProcessId>,
    /// Somebody else looks at the program when it is loaded: it is traced for its launch.
    pub(super) is_launching: bool,
    /// A program has begun that is not in the capture yet.
    pub(super) has_executed: bool,
    pub(super) row: ProcessRow,
    pub(super) interpreter: Option<Interpreter>,
    pub(super) files: BTreeSet<MappedFile>,
    /// A libpython came in that has not begun.
    pub(super) awaits_interpreter: bool,
    pub(super) progress: Option<LoadProgress>,
    /// The programs' number of this life.
    pub(super) life: u32,
    /// Places that are probed in this process.
    pub(super) sites: Vec<ProbeSite>,
    pub(super) attached: BTreeSet<(FileId, u64)>,
    pub(super) links: Vec<Link>,
    /// The links are of a thread that is gone: another one called exec and took its place.
    pub(super) has_stale_links: bool,
    /// The first thread has ended, and the process has not: the kernel finds no process for a link.
    pub(super) is_leaderless: bool,
    /// As wait(2) has it, of the first thread.
    pub(super) exit_code: Option<u32>,
    pub(super) birth: Birth,
    /// When to look at a program that has not come to where it would be held.
    pub(super) look_at: Option<Instant>,
    pub(super) loading: Option<Loading>,
    /// When to look whether the process goes on without its first thread.
    pub(super) look_for_threads_at: Option<Instant>,
}

/// A program on its way to where its libraries are in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    /// Between two looks at it.
    pub(super) interval: Duration,
    pub(super) until: Instant,
    /// It was there at the last look, or none is needed.
    pub(super) was_loaded: bool,
}

/// How a child came to its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Birth {
    /// It was not born while we looked.
    None,
    /// It has not come to where it waits.
    Awaited {
        is_linked: bool,
    },
    /// It waits for its probes.
    Waiting {
        tid: u32,
    },
    Done,
}

impl Tracked {
    pub(super) fn new(origin: ProcessOrigin, parent: Option<ProcessId>) -> Self {
        Self {
            stage: Stage::Starting,
            origin,
            parent,
            is_launching: false,
            has_executed: false,
            row: ProcessRow::default(),
            interpreter: None,
            files: BTreeSet::new(),
            awaits_interpreter: false,
            progress: None,
            life: 0,
            sites: Vec::new(),
            attached: BTreeSet::new(),
            links: Vec::new(),
            has_stale_links: false,
            is_leaderless: false,
            exit_code: None,
            birth: Birth::None,
            look_at: None,
            loading: None,
            look_for_threads_at: None,
        }
    }

    pub(super) fn process_id(&self) -> Option<ProcessId> {
        match self.stage {
            Stage::Starting => None,
            Stage::Recorded(process_id) => Some(process_id),
        }
    }

    /// The process of the capture that a child of this one has as its parent.
    pub(super) fn as_parent(&self) -> Option<ProcessId> {
        self.process_id().or(self.parent)
    }

    /// Another program begins.
    pub(super) fn execute(&mut self) {
        if let Some(process_id) = self.process_id() {
            self.parent = Some(process_id);
            self.origin = ProcessOrigin::Executed;
        }
        self.stage = Stage::Starting;
        self.has_executed = true;
        self.interpreter = None;
        self.awaits_interpreter = false;
        self.files.clear();
        self.progress = None;
        if self.birth != Birth::None {
            self.birth = Birth::Done;
        }
    }

    /// How far the libraries of a program that has begun are; none in a static one.
    pub(super) fn progress(&mut self, process: &Process) -> Option<&mut LoadProgress> {
        if self.progress.is_none() {
            let loader = Loader::of(process).ok().flatten();
            self.progress = loader.map(|loader| loader.progress());
        }
        self.progress.as_mut()
    }

    /// Gives away links that see nothing of the program that has begun: none of its places is probed then.
    pub(super) fn take_stale_links(&mut self) -> Vec<Link> {
        if !std::mem::take(&mut self.has_stale_links) {
            return Vec::new();
        }
        self.is_leaderless = false;
        self.attached.clear();
        self.sites.clear();
        std::mem::take(&mut self.links)
    }

    /// Takes in those of these places that are not probed yet, and returns them.
    pub(super) fn take_new(&mut self, sites: &[ProbeSite]) -> Vec<ProbeSite> {
        let new: Vec<ProbeSite> = sites
            .iter()
            .filter(|site| self.attached.insert(site.key()))
            .cloned()
            .collect();
        self.sites.extend_from_slice(&new);
        new
    }

    /// These places have got no probes after all.
    pub(super) fn take_back(&mut self, sites: &[ProbeSite]) {
        for site in sites {
            self.attached.remove(&site.key());
        }
        self.sites.retain(|site| self.attached.contains(&site.key()));
    }
}
