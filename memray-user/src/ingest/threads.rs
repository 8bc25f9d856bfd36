//! Threads and their names.
//!
//! A thread is one life of a kernel thread id in a process: an id that is used again after its thread has ended is
//! another thread. Numbers are ours, from 1, in order of first sight.

use memray_ebpf::{event::ThreadRecord, limits::COMM_BYTES};
use rustc_hash::FxHashMap;

use super::{
    codes::ThreadName,
    counters::{Counter, Counters},
};
use crate::model::{ProcessId, ThreadId, ThreadRow};

type Comm = [u8; COMM_BYTES];

#[derive(Debug)]
struct Thread {
    process_id: ProcessId,
    tid: u32,
    facts: NameFacts,
    /// As in the record that had one, for a last look at the name; 0 while there was none.
    bootstrap_self: u64,
    allocations: u64,
    announced: bool,
    changed: bool,
    written_name: Option<String>,
}

/// What decides the name of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NameFacts {
    is_main: bool,
    has_python: bool,
    python_name: Option<String>,
    /// Python may have a name for it that could not be read.
    python_name_missed: bool,
    /// The kernel's names: the thread's first and last, and the first that any thread of the process had.
    first_comm: Comm,
    last_comm: Comm,
    process_comm: Comm,
}

/// The threads of all processes.
#[derive(Debug, Default)]
pub struct Threads {
    threads: Vec<Thread>,
    changed: Vec<ThreadId>,
}

/// The threads of one process that live.
#[derive(Debug)]
pub struct ProcessThreads {
    /// Index of the process inside `ingest`.
    process: usize,
    process_id: ProcessId,
    pid: u32,
    has_python: bool,
    first_comm: Comm,
    by_tid: FxHashMap<u32, ThreadId>,
    /// The last one asked for: events of one thread come in runs.
    last: Option<(u32, ThreadId)>,
}

impl ProcessThreads {
    pub fn new(process: usize, process_id: ProcessId, pid: u32, has_python: bool) -> Self {
        Self {
            process,
            process_id,
            pid,
            has_python,
            first_comm: Comm::default(),
            by_tid: FxHashMap::default(),
            last: None,
        }
    }

    /// Threads that begin from now on may have Python's names.
    pub fn set_has_python(&mut self) {
        self.has_python = true;
    }

    /// The thread of an event.
    pub fn id(&mut self, tid: u32, threads: &mut Threads) -> ThreadId {
        if let Some((last_tid, id)) = self.last
            && last_tid == tid
        {
            return id;
        }
        let id = match self.by_tid.get(&tid) {
            Some(&id) => id,
            None => self.begin(tid, threads),
        };
        self.last = Some((tid, id));
        id
    }

    /// First sight of a thread, or a later one of the same life.
    pub fn seen(&mut self, record: &ThreadRecord, python_name: ThreadName, threads: &mut Threads) {
        if self.first_comm == Comm::default() {
            self.first_comm = record.comm;
        }
        let id = self.id(record.header.tid, threads);
        let thread = threads.change(id);
        if thread.facts.first_comm == Comm::default() {
            thread.facts.first_comm = record.comm;
            thread.facts.process_comm = self.first_comm;
        }
        thread.announced = true;
        thread.facts.last_comm = record.comm;
        if record.bootstrap_self != 0 {
            thread.bootstrap_self = record.bootstrap_self;
        }
        match python_name {
            ThreadName::Known(name) => {
                thread.facts.python_name = Some(name);
                thread.facts.python_name_missed = false;
            }
            ThreadName::Unknown => thread.facts.python_name_missed = thread.facts.python_name.is_none(),
            ThreadName::None => {}
        }
    }

    /// `ThreadRecord::bootstrap_self` of a living thread, if any of its records had one.
    pub fn bootstrap_self(&self, tid: u32, threads: &Threads) -> u64 {
        self.by_tid
            .get(&tid)
            .map_or(0, |&id| threads.threads[id as usize - 1].bootstrap_self)
    }

    /// Living threads whose name could not be read when they were new, each with its `bootstrap_self`.
    pub fn missed(&self, threads: &Threads) -> Vec<(u32, u64)> {
        let thread = |id: ThreadId| &threads.threads[id as usize - 1];
        let missed = self
            .by_tid
            .iter()
            .filter(|&(_, &id)| thread(id).facts.python_name_missed);
        missed
            .map(|(&tid, &id)| (tid, thread(id).bootstrap_self))
            .collect()
    }

    /// A name that was missed and could be read later.
    pub fn name(&mut self, tid: u32, name: String, threads: &mut Threads) {
        if let Some(&id) = self.by_tid.get(&tid) {
            let facts = &mut threads.change(id).facts;
            facts.python_name = Some(name);
            facts.python_name_missed = false;
        }
    }

    /// The thread ends; its id may come back as another's.
    pub fn exit(
        &mut self,
        record: &ThreadRecord,
        python_name: ThreadName,
        threads: &mut Threads,
        counters: &mut Counters,
    ) {
        self.seen(record, python_name, threads);
        let id = self.id(record.header.tid, threads);
        self.count_unknown(id, threads, counters);
        self.by_tid.remove(&record.header.tid);
        self.last = None;
    }

    /// The kernel's name of a living thread as it is now.
    pub fn rename(&mut self, tid: u32, comm: Comm, threads: &mut Threads) {
        if let Some(&id) = self.by_tid.get(&tid)
            && threads.threads[id as usize - 1].facts.last_comm != comm
        {
            threads.change(id).facts.last_comm = comm;
        }
    }

    /// Counts what is not known of the threads that live.
    pub fn count_unknowns(&self, threads: &Threads, counters: &mut Counters) {
        for &id in self.by_tid.values() {
            self.count_unknown(id, threads, counters);
            if !threads.threads[id as usize - 1].announced {
                counters.add(self.process, Counter::ThreadUnannounced, 0);
            }
        }
    }

    fn count_unknown(&self, id: ThreadId, threads: &Threads, counters: &mut Counters) {
        if threads.threads[id as usize - 1].facts.python_name_missed {
            counters.add(self.process, Counter::ThreadNameUnknown, 0);
        }
    }

    fn begin(&mut self, tid: u32, threads: &mut Threads) -> ThreadId {
        threads.threads.push(Thread {
            process_id: self.process_id,
            tid,
            facts: NameFacts {
                is_main: tid == self.pid,
                has_python: self.has_python,
                ..NameFacts::default()
            },
            bootstrap_self: 0,
            allocations: 0,
            announced: false,
            changed: false,
            written_name: None,
        });
        let id = ThreadId::try_from(threads.threads.len()).expect("2^32 threads do not fit in memory");
        self.by_tid.insert(tid, id);
        threads.change(id);
        id
    }
}

impl Threads {
    /// The number in its thread of the allocation that is being made.
    pub fn next_sequence(&self, id: ThreadId) -> u64 {
        self.threads[id as usize - 1].allocations + 1
    }

    /// Counts an allocation; what it replaced has ended before.
    pub fn allocated(&mut self, id: ThreadId) {
        self.threads[id as usize - 1].allocations += 1;
    }

    pub fn has_allocated(&self, id: ThreadId) -> bool {
        self.threads[id as usize - 1].allocations > 0
    }

    /// Allocations that a thread has made since the one with this number.
    pub fn allocations_since(&self, id: ThreadId, sequence: u64) -> u64 {
        self.threads[id as usize - 1].allocations.saturating_sub(sequence)
    }

    /// Threads that are new or have another name since the last call, in order of id.
    pub fn take_rows(&mut self) -> Vec<ThreadRow> {
        self.changed.sort_unstable();
        let mut rows = Vec::new();
        for id in self.changed.drain(..) {
            let thread = &mut self.threads[id as usize - 1];
            thread.changed = false;
            let name = thread.facts.display_name();
            if thread.written_name.as_ref() != Some(&name) {
                thread.written_name = Some(name.clone());
                rows.push(ThreadRow {
                    thread_id: id,
                    process_id: thread.process_id,
                    tid: thread.tid,
                    name,
                });
            }
        }
        rows
    }

    fn change(&mut self, id: ThreadId) -> &mut Thread {
        let thread = &mut self.threads[id as usize - 1];
        if !thread.changed {
            thread.changed = true;
            self.changed.push(id);
        }
        thread
    }
}

impl NameFacts {
    /// Python's name, unless it says nothing and the program gave the thread another with `prctl`.
    ///
    /// A thread inherits the kernel's name of its creator, so only a name that differs from the thread's first and
    /// from the process's was given to it. From 3.14 on CPython itself gives Python's name, cut to 15 bytes; that
    /// one is not taken for the program's.
    fn display_name(&self) -> String {
        let comm = comm_text(&self.last_comm);
        let python = self.python_name.as_deref().filter(|name| !name.is_empty());
        let changed = self.last_comm != self.first_comm && self.last_comm != self.process_comm;
        let echoes = python.is_some_and(|name| !comm.is_empty() && name.starts_with(comm.as_str()));
        let given = changed && !comm.is_empty() && !echoes;
        match python {
            Some(name) if !(given && is_default_name(name)) => name.to_owned(),
            _ if given => comm,
            _ if self.is_main && self.has_python => "MainThread".to_owned(),
            _ => comm,
        }
    }
}

/// Names that `threading` makes up: `MainThread`, `Thread-N`, `Thread-N (target)`, `Dummy-N` (Lib/threading.py).
fn is_default_name(name: &str) -> bool {
    if name == "MainThread" {
        return true;
    }
    let Some(rest) = name
        .strip_prefix("Thread-")
        .or_else(|| name.strip_prefix("Dummy-"))
    else {
        return false;
    };
    let behind = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    behind.len() < rest.len() && (behind.is_empty() || (behind.starts_with(" (") && behind.ends_with(')')))
}

/// The kernel's name as text, up to its zero byte.
fn comm_text(comm: &Comm) -> String {
    let length = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(text: &str) -> Comm {
        let mut comm = Comm::default();
        comm[..text.len()].copy_from_slice(text.as_bytes());
        comm
    }

    #[test]
    fn names() {
        let (main, other) = (true, false);
        // Main thread or not, has Python, Python's name, first and last comm; the process began as `python3`.
        for (is_main, has_python, python_name, first, last, expect) in [
            (main, true, None, "python3", "python3", "MainThread"),
            (main, true, Some("MainThread"), "python3", "python3", "MainThread"),
            (main, true, None, "python3", "server", "server"),
            (main, true, Some("MainThread"), "python3", "server", "server"),
            (main, true, Some("Boss"), "python3", "server", "Boss"),
            (main, false, None, "cat", "cat", "cat"),
            (other, true, None, "python3", "python3", "python3"),
            (other, true, Some(""), "python3", "python3", "python3"),
            (other, true, None, "python3", "pool-1", "pool-1"),
            (other, true, Some("Thread-1"), "python3", "python3", "Thread-1"),
            (other, true, Some("Thread-1"), "python3", "io", "io"),
            (other, true, Some("Thread-12 (work)"), "python3", "io", "io"),
            (other, true, Some("Dummy-3"), "python3", "io", "io"),
            (
                other,
                true,
                Some("Thread-12 (worker)"),
                "python3",
                "Thread-12 (wor",
                "Thread-12 (worker)",
            ),
            (other, true, Some("Thread-x"), "python3", "io", "Thread-x"),
            (other, true, Some("Thread-"), "python3", "io", "Thread-"),
            (other, true, Some("fetcher"), "python3", "io", "fetcher"),
            (other, true, Some("Thread-1"), "io", "python3", "Thread-1"),
            (other, true, None, "", "", ""),
        ] {
            let facts = NameFacts {
                python_name_missed: false,
                is_main,
                has_python,
                python_name: python_name.map(str::to_owned),
                first_comm: comm(first),
                last_comm: comm(last),
                process_comm: comm("python3"),
            };
            assert_eq!(facts.display_name(), expect, "{facts:?}");
        }
    }
}
