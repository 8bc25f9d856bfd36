//! Processes come into the recording.

use memray_ebpf::{cookie::Cookie, follow::HoldPlace};

use super::{Adopted, Adoption, Message, Stage, Supervisor, Tracked};
use crate::{
    bpf::{BpfError, Delivery, Link, Order, ProbeSite, Scope, close},
    model::{ProcessOrigin, ProcessRow},
    session::{
        collector::NewLife,
        error::SessionError,
        prepare::{Demand, Prepared, prepare},
        python::PythonProcess,
        script::script_start,
        start_collector,
    },
    target::process::Process,
};

/// When links are made, and who waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attach {
    /// Now, in the order that a running process needs.
    Now,
    /// By another thread; then this one of the process, if any, is let go.
    Held { tid: Option<u32> },
}

impl Supervisor {
    /// Takes in a process that somebody asked for.
    pub(super) fn adopt(&mut self, adoption: Adoption) -> Result<Adopted, SessionError> {
        let Adoption {
            pid,
            origin,
            must_be_python,
            is_launching,
        } = adoption;
        let prepared = prepare(pid, &mut self.plans, Demand::Full)?;
        let is_python = prepared.is_python();
        if must_be_python && !is_python {
            return Ok(Adopted::Refused);
        }
        if self.collector.is_none() {
            let collector = start_collector(
                &self.settings,
                &self.recorder,
                self.clock,
                self.messages.clone(),
                self.notices.clone(),
            )?;
            self.collector = Some(collector);
        }
        let tracked = self
            .tracked
            .entry(pid)
            .or_insert_with(|| Tracked::new(origin, None));
        tracked.is_launching = is_launching && !is_python;
        self.record(prepared, Attach::Now)?;
        self.oom_watch.begin(pid);
        if !is_launching {
            self.ends.watch(pid).map_err(SessionError::Watch)?;
        }
        Ok(if is_python {
            Adopted::Python
        } else {
            Adopted::Other
        })
    }

    /// Begins to record the program in a tracked process.
    pub(super) fn record(&mut self, prepared: Prepared, attach: Attach) -> Result<(), SessionError> {
        let life = self.begin_life(prepared)?;
        let Some(tracked) = self.tracked.get_mut(&life.pid) else {
            return Ok(());
        };
        let stale = tracked.take_stale_links();
        tracked.is_leaderless |= life.is_leaderless;
        let sites = tracked.take_new(&life.sites);
        self.hold_at(life.pid, &life.holds)?;
        self.replace(life.pid, stale, sites, attach)
    }

    /// Tells everybody about a life of a process, before its first event.
    fn begin_life(&mut self, prepared: Prepared) -> Result<Life, SessionError> {
        let config = prepared.config();
        let Prepared {
            pid,
            mut row,
            process,
            interpreter,
            sites,
            holds,
            files,
            progress,
            arguments,
            is_unknown_python,
        } = prepared;
        let number = self.processes.new_life();
        let is_leaderless = process.is_leaderless();
        let (Some(tracked), Some(collector)) = (self.tracked.get_mut(&pid), &self.collector) else {
            return Ok(Life::default());
        };
        row.origin = tracked.origin;
        row.parent_process_id = tracked.parent;
        // A running program began long ago, and a child begins where its parent was.
        let leaves_startup_out =
            row.origin == ProcessOrigin::Launched || row.origin == ProcessOrigin::Executed;
        let leaves_startup_out =
            leaves_startup_out && interpreter.is_some() && !self.settings.include_startup;
        let process_id = collector.add(NewLife {
            row: row.clone(),
            reader: Box::new(PythonProcess {
                process,
                interpreter: interpreter.clone(),
                threads_wait: self.settings.delivery == Delivery::Lossless,
                live_codes: self.processes.live_codes(),
                life: number,
            }),
            script: script_start(leaves_startup_out, &arguments),
            number,
        });
        if is_unknown_python {
            collector.is_unknown_python(process_id);
        }
        if sites.is_empty() {
            collector.is_not_probed(process_id);
        }
        if interpreter.is_some() && config.sees_code_deaths == 0 {
            collector.sees_no_code_deaths(process_id);
        }
        let is_new = tracked.life == 0;
        tracked.stage = Stage::Recorded(process_id);
        tracked.has_executed = false;
        tracked.life = number;
        tracked.row = row;
        tracked.interpreter = interpreter;
        tracked.files = files;
        tracked.progress = progress;
        tracked.look_at = None;
        if is_new && tracked.origin != ProcessOrigin::Forked {
            let runs = tracked.origin == ProcessOrigin::Attached;
            self.processes.follow(pid, runs)?;
        }
        self.processes.set_target(pid, &config, number)?;
        Ok(Life {
            pid,
            sites,
            holds,
            is_leaderless,
        })
    }

    /// A child with a copy of its parent's memory: all is as in the parent.
    pub(super) fn record_child(&mut self, child_pid: u32, parent_pid: u32) -> Result<(), SessionError> {
        let Some(parent) = self.tracked.get(&parent_pid) else {
            return Ok(());
        };
        let awaits_interpreter = parent.awaits_interpreter;
        let prepared = Prepared {
            pid: child_pid,
            row: ProcessRow {
                pid: child_pid,
                ..parent.row.clone()
            },
            process: Process::open(child_pid)?,
            interpreter: parent.interpreter.clone(),
            sites: parent.sites.clone(),
            // Everybody is held where the parent is.
            holds: Vec::new(),
            files: parent.files.clone(),
            progress: parent.progress,
            arguments: Vec::new(),
            is_unknown_python: false,
        };
        if let Some(child) = self.tracked.get_mut(&child_pid) {
            child.awaits_interpreter = awaits_interpreter;
        }
        self.record(prepared, Attach::Held { tid: None })
    }

    /// Puts probes on places that have none in this process.
    pub(super) fn attach(
        &mut self,
        pid: u32,
        sites: Vec<ProbeSite>,
        attach: Attach,
    ) -> Result<(), SessionError> {
        self.replace(pid, Vec::new(), sites, attach)
    }

    /// As [`attach`](Self::attach), after these links are gone: two at one place would tell everything twice.
    fn replace(
        &mut self,
        pid: u32,
        stale: Vec<Link>,
        sites: Vec<ProbeSite>,
        attach: Attach,
    ) -> Result<(), SessionError> {
        let Some(life) = self.tracked.get(&pid).map(|tracked| tracked.life) else {
            return Ok(());
        };
        self.keep_if_leaderless(pid, &sites)?;
        match attach {
            Attach::Now => {
                // Not waited for: whoever is held keeps links from closing, and waits for us.
                self.closer.close(stale);
                let links = self.linker.attach(Scope::Process(pid), &sites, Order::Running)?;
                self.add_links(pid, links);
                self.processes.follow(pid, false)?;
            }
            Attach::Held { tid } => {
                if let Some(tid) = tid {
                    self.park(tid);
                }
                let (linker, messages) = (self.linker.clone(), self.messages.clone());
                self.workers.run(move || {
                    close(stale);
                    let links = linker.attach(Scope::Process(pid), &sites, Order::Held);
                    let _supervisor_gone = messages.send(Message::Linked {
                        pid,
                        life,
                        tid,
                        sites,
                        links,
                    });
                });
            }
        }
        Ok(())
    }

    /// Without its first thread the kernel does not find the process, and puts in no breakpoints for it.
    fn keep_if_leaderless(&mut self, pid: u32, sites: &[ProbeSite]) -> Result<(), BpfError> {
        if self
            .tracked
            .get(&pid)
            .is_some_and(|tracked| tracked.is_leaderless)
            && !sites.is_empty()
        {
            let keepers = self.linker.keep(sites)?;
            self.add_links(pid, keepers);
        }
        Ok(())
    }

    /// Links are there that somebody may wait for.
    pub(super) fn linked(
        &mut self,
        pid: u32,
        life: u32,
        tid: Option<u32>,
        sites: &[ProbeSite],
        links: Result<Vec<Link>, BpfError>,
    ) {
        match self.tracked.get_mut(&pid) {
            Some(tracked) => {
                match links {
                    Ok(links) => tracked.links.extend(links),
                    Err(_refused) => {
                        tracked.take_back(sites);
                        if tracked.life == life {
                            self.miss_probes(pid);
                        }
                    }
                }
                self.birth_linked(pid);
            }
            // It ended meanwhile.
            None => self.closer.close(links.unwrap_or_default()),
        }
        if let Some(tid) = tid {
            self.release(tid);
        }
    }

    /// Probes are missing in a process. That it has ended meanwhile is the usual reason, and no loss.
    pub(super) fn miss_probes(&self, pid: u32) {
        let tracked = self.tracked.get(&pid);
        let process_id = tracked.and_then(Tracked::as_parent);
        if let (Some(collector), Some(process_id)) = (&self.collector, process_id)
            && Process::open(pid).is_ok_and(|process| process.is_running())
        {
            collector.is_not_probed(process_id);
        }
    }

    pub(super) fn began_late(&self, pid: u32) {
        let process_id = self.tracked.get(&pid).and_then(Tracked::process_id);
        if let (Some(collector), Some(process_id)) = (&self.collector, process_id) {
            collector.began_late(process_id);
        }
    }

    pub(super) fn add_links(&mut self, pid: u32, links: Vec<Link>) {
        match self.tracked.get_mut(&pid) {
            Some(tracked) => tracked.links.extend(links),
            None => self.closer.close(links),
        }
    }

    /// Has threads held at these places: of everybody if children are followed, who come by as other processes.
    pub(super) fn hold_at(&mut self, pid: u32, places: &[ProbeSite]) -> Result<(), BpfError> {
        let follows = self.settings.follow_children;
        let (scope, of) = if follows {
            (Scope::Everybody, 0)
        } else {
            (Scope::Process(pid), pid)
        };
        let is_wanted = |site: &ProbeSite| follows || hold_place(site) != Some(HoldPlace::Birth);
        let place = |site: &ProbeSite| (of, site.key());
        let new: Vec<ProbeSite> = places
            .iter()
            .filter(|site| is_wanted(site) && self.held_places.insert(place(site)))
            .cloned()
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let links = self.linker.attach(scope, &new, Order::Held);
        let links = links.inspect_err(|_error| {
            for site in &new {
                self.held_places.remove(&place(site));
            }
        })?;
        if follows {
            self.holds.extend(links);
        } else {
            self.add_links(pid, links);
            self.keep_if_leaderless(pid, &new)?;
        }
        Ok(())
    }
}

fn hold_place(site: &ProbeSite) -> Option<HoldPlace> {
    HoldPlace::from_raw(Cookie::raw_allocator(site.cookie))
}

/// What is left to be done for a life that has begun.
#[derive(Default)]
struct Life {
    pid: u32,
    sites: Vec<ProbeSite>,
    holds: Vec<ProbeSite>,
    is_leaderless: bool,
}
