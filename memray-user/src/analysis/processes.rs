//! The processes of a capture as reports speak of them: name, origin, figures and end of each.
//!
//! A process here is one life: exec ends it and begins another with the same pid, and the kernel gives the pid of an
//! ended process to a new one. So a pid does not say which process is meant, and where it has several they are
//! numbered.

use rustc_hash::FxHashMap;

use super::Figures;
use crate::model::{CaptureMetadata, ProcessId, ProcessOrigin, ProcessRow, StateRow, ThreadId};

/// Name of what belongs to no process that is known: a damaged capture.
pub const PROCESS_UNKNOWN: &str = "<process unknown>";

/// Letters of a command line that a label keeps.
const LABEL_COMMAND_LETTERS: usize = 60;

/// One process with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFigures {
    pub row: ProcessRow,
    pub parent_pid: Option<u32>,
    /// Which of the processes with this pid it is, from 1; None where there is one.
    pub life: Option<u32>,
    pub allocated: Figures,
    /// Alive when this process, whatever others did, held most.
    pub peak: Figures,
    pub live: Figures,
    pub end: ProcessEnd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// As a shell shows it; None where it is not known.
    Exited(Option<i32>),
    /// It became another program: the next life of the same pid.
    Executed,
    /// It ran when the recording ended, or runs yet.
    Running,
}

/// Every process in the order in which they came into the capture.
pub fn processes(metadata: &CaptureMetadata) -> Vec<ProcessFigures> {
    let rows = &metadata.processes;
    let states: FxHashMap<ProcessId, &StateRow> = metadata
        .states
        .iter()
        .map(|state| (state.process_id, state))
        .collect();
    let pids: FxHashMap<ProcessId, u32> = rows
        .iter()
        .chain(&metadata.other_processes)
        .map(|row| (row.process_id, row.pid))
        .collect();
    let followers: FxHashMap<ProcessId, u32> = rows
        .iter()
        .filter(|row| row.origin == ProcessOrigin::Executed)
        .filter_map(|row| Some((row.parent_process_id?, row.pid)))
        .collect();
    let lives = lives(rows);
    rows.iter()
        .zip(lives)
        .map(|(row, life)| {
            let state = states.get(&row.process_id).copied().copied().unwrap_or_default();
            ProcessFigures {
                parent_pid: row
                    .parent_process_id
                    .and_then(|parent| pids.get(&parent).copied()),
                life,
                allocated: figures(state.alloc_bytes, state.alloc_count),
                peak: figures(state.peak_bytes, state.peak_count),
                live: figures(state.live_bytes, state.live_count),
                end: match row.ended_ns {
                    None => ProcessEnd::Running,
                    Some(_) if followers.get(&row.process_id) == Some(&row.pid) => ProcessEnd::Executed,
                    Some(_) => ProcessEnd::Exited(row.exit_status),
                },
                row: row.clone(),
            }
        })
        .collect()
}

/// The process of each thread.
pub fn process_of_thread(metadata: &CaptureMetadata) -> FxHashMap<ThreadId, ProcessId> {
    let threads = metadata.threads.iter();
    threads
        .map(|thread| (thread.thread_id, thread.process_id))
        .collect()
}

/// Milliseconds since the epoch of a time of the capture; None where the capture does not say when it began.
pub fn wall_clock_ms(metadata: &CaptureMetadata, time_ns: u64) -> Option<u64> {
    let started_at_ms = metadata.started_at_ms;
    (started_at_ms > 0).then(|| started_at_ms.saturating_add(time_ns / 1_000_000))
}

impl ProcessFigures {
    /// When its figures begin: with it, with the recording of it, or with the program's own code.
    pub fn counted_from_ns(&self) -> u64 {
        self.row.script_started_ns.unwrap_or(0).max(self.row.started_ns)
    }

    /// `python3.12 app.py (pid 123)`, and which of several lives: different for each process, of bounded length, with
    /// the names as they are.
    pub fn label(&self) -> String {
        let pid = self.row.pid;
        let life = self.life.map(|life| format!(", life {life}")).unwrap_or_default();
        format!("{} (pid {pid}{life})", self.short_command())
    }

    /// The command line without the folder of its program, cut where it is long.
    pub fn short_command(&self) -> String {
        let (program, arguments) = match self.row.command_line.split_once(' ') {
            Some((program, arguments)) => (program, arguments),
            None => (self.row.command_line.as_str(), ""),
        };
        let program = match file_name(program) {
            "" => file_name(&self.row.executable),
            program => program,
        };
        let mut letters = [program, arguments]
            .into_iter()
            .filter(|part| !part.is_empty())
            .flat_map(|part| std::iter::once(' ').chain(part.chars()))
            .skip(1);
        let mut command: String = letters.by_ref().take(LABEL_COMMAND_LETTERS).collect();
        if letters.next().is_some() {
            command.push('…');
        }
        if command.is_empty() {
            "process".clone_into(&mut command);
        }
        command
    }
}

fn figures(bytes: u64, count: u64) -> Figures {
    Figures { bytes, count }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn lives(rows: &[ProcessRow]) -> Vec<Option<u32>> {
    let mut count_of_pid: FxHashMap<u32, u32> = FxHashMap::default();
    let numbers: Vec<u32> = rows
        .iter()
        .map(|row| {
            let count = count_of_pid.entry(row.pid).or_default();
            *count += 1;
            *count
        })
        .collect();
    rows.iter()
        .zip(numbers)
        .map(|(row, number)| (count_of_pid[&row.pid] > 1).then_some(number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::prefork;

    #[test]
    fn figures_parents_lives_and_ends() {
        let told: Vec<_> = processes(&prefork().metadata)
            .into_iter()
            .map(|process| {
                (
                    process.label(),
                    process.parent_pid,
                    process.peak.bytes,
                    process.end,
                )
            })
            .collect();
        let server = |pid: &str| format!("python3.12 server.py --workers 2 (pid {pid})");
        assert_eq!(
            told,
            [
                (server("700"), None, 9_000_000, ProcessEnd::Running),
                (server("701"), Some(700), 4_000_000, ProcessEnd::Exited(Some(0))),
                (server("702, life 1"), Some(700), 2_000_000, ProcessEnd::Executed),
                (
                    "convert --fast picture.png (pid 702, life 2)".to_owned(),
                    Some(702),
                    500_000,
                    ProcessEnd::Exited(Some(139))
                ),
            ]
        );
    }

    #[test]
    fn labels_are_bounded_and_never_empty() {
        let label = |command_line: &str, executable: &str| {
            let row = ProcessRow {
                pid: 7,
                command_line: command_line.to_owned(),
                executable: executable.to_owned(),
                ..ProcessRow::default()
            };
            let metadata = CaptureMetadata {
                processes: vec![row],
                ..CaptureMetadata::default()
            };
            processes(&metadata)[0].label()
        };
        for (command_line, executable, expect) in [
            (
                "/usr/bin/python3.12 /srv/app.py -v",
                "",
                "python3.12 /srv/app.py -v (pid 7)",
            ),
            ("", "/usr/bin/python3", "python3 (pid 7)"),
            (" a b", "/usr/bin/python3", "python3 a b (pid 7)"),
            ("", "", "process (pid 7)"),
            ("/bin/", "/", "process (pid 7)"),
            ("\u{1b}[2J", "", "\u{1b}[2J (pid 7)"),
        ] {
            assert_eq!(label(command_line, executable), expect);
        }
        let long = label(&format!("python3 {}", "é".repeat(100_000)), "");
        assert_eq!(long, format!("python3 {}… (pid 7)", "é".repeat(52)));
    }

    #[test]
    fn figures_begin_with_the_later_of_process_and_script() {
        let mut process = processes(&prefork().metadata).remove(0);
        (process.row.started_ns, process.row.script_started_ns) = (5, None);
        assert_eq!(process.counted_from_ns(), 5);
        process.row.script_started_ns = Some(9);
        assert_eq!(process.counted_from_ns(), 9);
        let mut metadata = prefork().metadata;
        assert_eq!(wall_clock_ms(&metadata, 2_000_000), Some(1_767_323_045_680));
        metadata.started_at_ms = 0;
        assert_eq!(wall_clock_ms(&metadata, 2_000_000), None);
    }
}
