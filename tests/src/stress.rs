//! A recording of a program that does more than the recording can take in, whose collector may be stopped on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
    sync::mpsc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{Capture, Python, memray};

/// What the program prints when it begins.
const BEGUN: &str = "begun";

#[derive(Debug)]
pub struct Stress {
    python: Python,
    options: Vec<OsString>,
    program: Vec<OsString>,
    stopped_for: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub struct Stressed {
    pub capture: Capture,
    /// What the program says that it did: pairs of words in its last line.
    pub did: BTreeMap<String, u64>,
    /// The counters of the recording.
    pub counters: BTreeMap<String, u64>,
}

impl Stress {
    /// `program` is all that comes behind the options of `memray run`.
    pub fn new(python: &Python, program: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            python: python.clone(),
            options: Vec::new(),
            program: program.into_iter().map(Into::into).collect(),
            stopped_for: None,
        }
    }

    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(OsString::from));
        self
    }

    /// memray is stopped for so long when the program has begun.
    #[must_use]
    pub fn stopped_for(mut self, time: Duration) -> Self {
        self.stopped_for = Some(time);
        self
    }

    /// Records, and checks what must hold for every capture.
    ///
    /// # Panics
    /// If the recording fails or the capture contradicts itself.
    pub fn run(&self) -> Stressed {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join("capture.db");
        let mut command = memray(directory.path());
        Python::clean_environment(&mut command);
        command
            .args(["run", "--quiet", "--output"])
            .arg(&path)
            .arg("--python")
            .arg(&self.python.program)
            .args(&self.options)
            .args(&self.program)
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        output.read_line(&mut first).expect("the program prints lines");
        assert_eq!(first.trim(), BEGUN, "{command:?}");
        if let Some(time) = self.stopped_for {
            let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
            kill(pid, Signal::SIGSTOP).expect("memray runs");
            // The time itself is what is tested.
            let (_sender, nothing) = mpsc::channel::<()>();
            let _over = nothing.recv_timeout(time);
            kill(pid, Signal::SIGCONT).expect("memray is there");
        }
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("the program prints text");
        let status = child.wait().expect("memray is our child");
        assert!(status.success(), "{command:?}: {status}: {rest}");
        let capture = Capture::open(directory, path, self.python.clone(), None, rest.clone());
        let stressed = Stressed {
            counters: pairs(&capture.query("SELECT reason, SUM(events) FROM losses GROUP BY reason")),
            did: pairs(&in_pairs(rest.lines().last().unwrap_or_default())),
            capture,
        };
        stressed.check();
        stressed
    }
}

impl Stressed {
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// A number that the program printed.
    ///
    /// # Panics
    /// If it did not.
    pub fn did(&self, what: &str) -> u64 {
        let Some(number) = self.did.get(what) else {
            panic!("no `{what}` in {:?}", self.capture.stdout);
        };
        *number
    }

    /// A single number that is not negative; 0 for NULL.
    ///
    /// # Panics
    /// If it is negative.
    pub fn number(&self, sql: &str) -> u64 {
        let number = self.capture.number(sql).unwrap_or(0);
        u64::try_from(number).unwrap_or_else(|_negative| panic!("{sql}: {number}"))
    }

    /// Losses that are not zero, but for the names of threads, which depend on who gets a CPU.
    pub fn losses(&self) -> BTreeSet<String> {
        let sql = "SELECT DISTINCT reason FROM losses WHERE kind <> 'neutral' AND events > 0
            AND reason <> 'thread_name_unknown'";
        self.capture.query(sql).into_iter().collect()
    }

    /// One line for people.
    #[expect(clippy::print_stdout, reason = "figures of a test")]
    pub fn print(&self, case: &str) {
        let counter = |name: &str| self.counter(name);
        let (allocations, frees) = (counter("allocation_seen"), counter("free_seen"));
        let (lost_allocations, lost_frees) = (counter("allocation_ring_full"), counter("free_ring_full"));
        let offered = allocations + frees;
        let lost = lost_allocations + lost_frees;
        println!(
            "{case}: offered {offered}, kept {}, lost {lost} ({lost_allocations} allocations, {lost_frees} frees), held {} ms",
            offered - lost,
            counter("throttle_wait_ns") / 1_000_000
        );
    }

    /// The file is whole, every event is accounted for, and the totals are those of the rows.
    fn check(&self) {
        assert_eq!(self.capture.query("PRAGMA integrity_check"), ["ok"]);
        let identities = "SELECT key, value FROM meta WHERE key LIKE 'identity.%' ORDER BY key";
        assert_eq!(
            self.capture.query(identities),
            [
                "identity.allocations ok",
                "identity.frees ok",
                "identity.maps ok",
                "identity.unmaps ok"
            ]
        );
        let negative = "SELECT COUNT(*) FROM sites WHERE live_count < 0 OR live_bytes < 0 OR peak_bytes < 0";
        assert_eq!(self.number(negative), 0);
        for (of_state, of_rows) in [
            (
                "SELECT SUM(live_bytes) FROM state",
                "SELECT SUM(size) FROM live_allocations",
            ),
            (
                "SELECT SUM(live_bytes) FROM sites",
                "SELECT SUM(size) FROM live_allocations",
            ),
            (
                "SELECT SUM(alloc_bytes) FROM state",
                "SELECT SUM(size) FROM allocations",
            ),
            (
                "SELECT SUM(alloc_count) FROM sites",
                "SELECT SUM(alloc_count) FROM state",
            ),
        ] {
            assert_eq!(self.number(of_state), self.number(of_rows), "{of_state}");
        }
        let backwards = "SELECT COUNT(*) FROM freed_allocations WHERE free_ts < alloc_ts";
        assert_eq!(self.number(backwards), 0);
    }
}

/// `a 1 b 2` as `a 1`, `b 2`.
fn in_pairs(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.chunks_exact(2).map(|pair| pair.join(" ")).collect()
}

fn pairs(lines: &[String]) -> BTreeMap<String, u64> {
    lines
        .iter()
        .filter_map(|line| {
            let (name, number) = line.rsplit_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect()
}
