//! Threads that wait for us.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use memray_ebpf::{follow::HoldPlace, memory::RemoteMemory};

use super::{Birth, Stage, Supervisor, Tracked, record::Attach};
use crate::{
    bpf::{Delivery, ProbeSite},
    cpython::detect,
    session::{
        collector::InterpreterFound,
        error::SessionError,
        plans::mapped_file,
        prepare::{Demand, interpreter_site, prepare, sees_code_deaths},
        python::PythonProcess,
    },
    target::{process::Process, root::loader_of_program},
};

/// Longest path that the kernel takes (`PATH_MAX`, include/uapi/linux/limits.h).
const MAX_PATH_BYTES: usize = 4096;

impl Supervisor {
    /// A thread is held: does what it waits for, or lets it go.
    pub(super) fn held(&mut self, pid: u32, tid: u32, place: HoldPlace, argument: u64) {
        let goes_on = match place {
            HoldPlace::Birth => self.born(pid, tid),
            HoldPlace::Exec => {
                self.before_exec(pid, argument);
                true
            }
            HoldPlace::Loader => self.loader_speaks(pid, tid),
            HoldPlace::Interpreter => self.interpreter_begins(pid, tid),
        };
        if goes_on {
            self.release(tid);
        }
    }

    /// Returns whether the child can go on.
    fn born(&mut self, pid: u32, tid: u32) -> bool {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return true;
        };
        match tracked.birth {
            Birth::Awaited { is_linked: false } => {
                tracked.birth = Birth::Waiting { tid };
                self.park(tid);
                false
            }
            Birth::Awaited { is_linked: true } => {
                tracked.birth = Birth::Done;
                true
            }
            Birth::None | Birth::Waiting { .. } | Birth::Done => true,
        }
    }

    /// The program that is to come may have a loader that nobody has met.
    fn before_exec(&mut self, pid: u32, path_address: u64) {
        let Ok(process) = Process::open(pid) else {
            return;
        };
        let path = read_path(&process, path_address);
        let Some(file) =
            path.and_then(|path| loader_of_program(&process, Path::new(OsStr::from_bytes(&path))))
        else {
            return;
        };
        let plan = self.plans.of_loader(&file);
        // Without the hold the program comes late, and is counted.
        let _comes_late = self.hold_at(pid, &plan.holds);
    }

    /// A program is being loaded, or a library. Returns whether it can go on.
    fn loader_speaks(&mut self, pid: u32, tid: u32) -> bool {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return true;
        };
        let Ok(process) = Process::open(pid) else {
            return true;
        };
        match tracked.stage {
            Stage::Starting if tracked.is_launching => true,
            Stage::Starting => {
                let progress = tracked.progress(&process);
                if !progress.is_some_and(|progress| progress.is_loaded(&process)) {
                    return true;
                }
                let recorded = prepare(pid, &mut self.plans, Demand::Whatever)
                    .and_then(|prepared| self.record(prepared, Attach::Held { tid: Some(tid) }));
                if recorded.is_err() {
                    self.miss_probes(pid);
                }
                recorded.is_err()
            }
            Stage::Recorded(_) => {
                let progress = tracked.progress;
                if !progress.is_some_and(|progress| progress.is_consistent(&process)) {
                    return true;
                }
                let waits = self.look_at_libraries(&process, tid);
                if waits.is_err() {
                    self.miss_probes(pid);
                }
                !waits.unwrap_or_default()
            }
        }
    }

    /// Looks for files that are newly mapped; returns whether the thread waits for probes in them.
    fn look_at_libraries(&mut self, process: &Process, tid: u32) -> Result<bool, SessionError> {
        let pid = process.pid();
        let Some(tracked) = self.tracked.get(&pid) else {
            return Ok(false);
        };
        let known = &tracked.files;
        let objects = process.objects_where(|device, inode| !known.contains(&(device, inode)))?;
        let (mut sites, mut holds): (Vec<ProbeSite>, Vec<ProbeSite>) = (Vec::new(), Vec::new());
        let mut has_runtime = false;
        for object in &objects {
            // A file that cannot be read has nothing that could be probed.
            let Ok(plan) = self.plans.of(object) else {
                continue;
            };
            sites.extend_from_slice(&plan.sites);
            holds.extend_from_slice(&plan.holds);
            if plan.has_runtime {
                has_runtime = true;
                holds.extend_from_slice(&plan.python_holds);
            }
        }
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return Ok(false);
        };
        tracked.files.extend(objects.iter().map(mapped_file));
        tracked.awaits_interpreter |= has_runtime && tracked.interpreter.is_none();
        let sites = tracked.take_new(&sites);
        self.hold_at(pid, &holds)?;
        if sites.is_empty() {
            return Ok(false);
        }
        self.attach(pid, sites, Attach::Held { tid: Some(tid) })?;
        Ok(true)
    }

    /// A libpython that came late is relocated by now. Returns whether the thread can go on.
    fn interpreter_begins(&mut self, pid: u32, tid: u32) -> bool {
        let awaits = |tracked: &Tracked| tracked.awaits_interpreter;
        if !self.tracked.get(&pid).is_some_and(awaits) {
            return true;
        }
        match self.take_interpreter(pid, tid) {
            Ok(waits) => !waits,
            Err(_unknown) => {
                let process_id = self.tracked.get(&pid).and_then(Tracked::process_id);
                if let (Some(collector), Some(process_id)) = (&self.collector, process_id) {
                    collector.is_unknown_python(process_id);
                }
                true
            }
        }
    }

    fn take_interpreter(&mut self, pid: u32, tid: u32) -> Result<bool, SessionError> {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.awaits_interpreter = false;
        }
        let process = Process::open(pid)?;
        let objects = process.objects()?;
        let Some(interpreter) = detect(&process, &objects)? else {
            return Ok(false);
        };
        let site = interpreter_site(&objects, Some(&interpreter))?;
        let (Some(tracked), Some(collector)) = (self.tracked.get_mut(&pid), &self.collector) else {
            return Ok(false);
        };
        let Some(process_id) = tracked.process_id() else {
            return Ok(false);
        };
        tracked.row.python_version = interpreter.version.to_string();
        tracked
            .row
            .python_allocator
            .clone_from(&interpreter.python_allocator);
        tracked.interpreter = Some(interpreter.clone());
        let (mut config, life) = (interpreter.config, tracked.life);
        config.sees_code_deaths = sees_code_deaths(site.as_slice()).into();
        collector.set_interpreter(InterpreterFound {
            process_id,
            python_version: tracked.row.python_version.clone(),
            python_allocator: tracked.row.python_allocator.clone(),
            reader: Box::new(PythonProcess {
                process,
                interpreter: Some(interpreter),
                threads_wait: self.settings.delivery == Delivery::Lossless,
                live_codes: self.processes.live_codes(),
                life,
            }),
        });
        if site.is_none() {
            collector.sees_no_code_deaths(process_id);
        }
        let sites = tracked.take_new(site.as_slice());
        self.processes.set_target(pid, &config, life)?;
        if sites.is_empty() {
            return Ok(false);
        }
        self.attach(pid, sites, Attach::Held { tid: Some(tid) })?;
        Ok(true)
    }
}

/// A string that ends with a zero byte; none if it is longer than any path.
fn read_path(memory: &impl RemoteMemory, address: u64) -> Option<Vec<u8>> {
    const PAGE_BYTES: u64 = 4096;
    let mut path = Vec::new();
    while path.len() < MAX_PATH_BYTES {
        let at = address.checked_add(u64::try_from(path.len()).ok()?)?;
        // To the end of a page: the next may not be there.
        let length = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).ok()?;
        let mut part = vec![0; length];
        memory.read_into(at, &mut part).ok()?;
        if let Some(end) = part.iter().position(|&byte| byte == 0) {
            path.extend_from_slice(&part[..end]);
            return (path.len() < MAX_PATH_BYTES).then_some(path);
        }
        path.append(&mut part);
    }
    None
}

#[cfg(test)]
mod tests {
    use memray_ebpf::memory::Fault;

    use super::*;

    /// `bytes` from `start` on, and nothing else.
    struct Bytes {
        start: u64,
        bytes: Vec<u8>,
    }

    impl RemoteMemory for Bytes {
        fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
            let from =
                usize::try_from(address.checked_sub(self.start).ok_or(Fault)?).map_err(|_large| Fault)?;
            let source = self.bytes.get(from..from + destination.len()).ok_or(Fault)?;
            destination.copy_from_slice(source);
            Ok(())
        }
    }

    #[test]
    fn paths_end_with_a_zero_byte_and_can_cross_a_page() {
        let mut bytes = vec![b'x'; 3 * 4096];
        bytes[4100] = 0;
        let memory = Bytes { start: 4096, bytes };
        assert_eq!(read_path(&memory, 4096 + 4090), Some(vec![b'x'; 10]));
        assert_eq!(read_path(&memory, 4096 + 4100), Some(Vec::new()));
        assert_eq!(read_path(&memory, 4096 + 4101), None);
        assert_eq!(read_path(&memory, 4), None);
        assert_eq!(read_path(&memory, u64::MAX - 2), None);
    }
}
