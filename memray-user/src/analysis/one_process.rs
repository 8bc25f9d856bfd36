//! A capture reduced to the processes of one pid, for reports that are about it alone.
//!
//! All lives with the pid are taken: exec begins a new one, and the kernel may give a pid to a second process after
//! the first has ended. Frames and stacks stay those of the capture, since a profile takes of them what its sites
//! need.

use rustc_hash::FxHashSet;

use crate::model::{
    CaptureError, CaptureMetadata, CaptureSource, FrameRow, LossRow, MappingTotalsRow, ProcessId, ProcessRow,
    SiteFigures, SizeHistogramRow, StackRow, ThreadId, TimelineRow, View,
};

/// Pids that an error names.
const NAMED_PIDS: usize = 10;

/// What a capture says about one pid.
#[derive(Debug)]
pub struct OneProcess<Source> {
    source: Source,
    metadata: CaptureMetadata,
    process_ids: FxHashSet<ProcessId>,
    thread_ids: FxHashSet<ThreadId>,
}

impl<Source: CaptureSource> OneProcess<Source> {
    /// An error names the pids that there are.
    pub fn new(source: Source, pid: u32) -> Result<Self, CaptureError> {
        let mut metadata = source.metadata()?;
        let (chosen, others): (Vec<_>, Vec<_>) = metadata.processes.drain(..).partition(|row| row.pid == pid);
        let Some(last) = chosen.last() else {
            return Err(unknown(pid, &others));
        };
        if !last.command_line.is_empty() {
            last.command_line.clone_into(&mut metadata.command_line);
        }
        let process_ids: FxHashSet<ProcessId> = chosen.iter().map(|row| row.process_id).collect();
        (metadata.processes, metadata.other_processes) = (chosen, others);
        metadata
            .threads
            .retain(|thread| process_ids.contains(&thread.process_id));
        metadata
            .states
            .retain(|state| process_ids.contains(&state.process_id));
        let thread_ids = metadata.threads.iter().map(|thread| thread.thread_id).collect();
        Ok(Self {
            source,
            metadata,
            process_ids,
            thread_ids,
        })
    }
}

impl<Source: CaptureSource> CaptureSource for OneProcess<Source> {
    fn metadata(&self) -> Result<CaptureMetadata, CaptureError> {
        Ok(self.metadata.clone())
    }

    fn frames(&self) -> Result<Vec<FrameRow>, CaptureError> {
        self.source.frames()
    }

    fn stacks(&self) -> Result<Vec<StackRow>, CaptureError> {
        self.source.stacks()
    }

    fn sites(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError> {
        let mut sites = self.source.sites(view)?;
        sites.retain(|site| self.thread_ids.contains(&site.thread_id));
        Ok(sites)
    }

    fn timeline(&self) -> Result<Vec<TimelineRow>, CaptureError> {
        let mut rows = self.source.timeline()?;
        rows.retain(|row| self.process_ids.contains(&row.process_id));
        Ok(rows)
    }

    fn mapping_totals(&self) -> Result<Vec<MappingTotalsRow>, CaptureError> {
        let mut rows = self.source.mapping_totals()?;
        rows.retain(|row| self.process_ids.contains(&row.process_id));
        Ok(rows)
    }

    fn size_histogram(&self) -> Result<Vec<SizeHistogramRow>, CaptureError> {
        let mut rows = self.source.size_histogram()?;
        rows.retain(|row| self.process_ids.contains(&row.process_id));
        Ok(rows)
    }

    /// Counters of the process, and those that are not kept per process: they may concern it.
    fn losses(&self) -> Result<Vec<LossRow>, CaptureError> {
        let mut rows = self.source.losses()?;
        rows.retain(|row| row.process_id.is_none_or(|id| self.process_ids.contains(&id)));
        if !self.metadata.other_processes.is_empty() {
            for row in rows.iter_mut().filter(|row| row.process_id.is_none()) {
                row.description
                    .push_str(" (counted for all processes of the capture together)");
            }
        }
        Ok(rows)
    }
}

fn unknown(pid: u32, processes: &[ProcessRow]) -> CaptureError {
    let hint = match pid_list(processes.iter().map(|row| row.pid).collect(), NAMED_PIDS) {
        None => "leave `--process` out: the capture holds no process at all".to_owned(),
        Some(pids) => format!("name one of its processes with `--process`: {pids}"),
    };
    CaptureError {
        message: format!("the capture has no process with pid `{pid}`"),
        hint: Some(hint),
        source: None,
    }
}

/// `1, 2, 3 and 5 more`: each pid once, in order, not more than `limit`; None of none.
pub fn pid_list(mut pids: Vec<u32>, limit: usize) -> Option<String> {
    pids.sort_unstable();
    pids.dedup();
    let named: Vec<String> = pids.iter().take(limit).map(u32::to_string).collect();
    let (last, before) = named.split_last()?;
    Some(match (before, pids.len() - named.len()) {
        ([], 0) => last.clone(),
        (before, 0) => format!("{} and {last}", before.join(", ")),
        (_, more) => format!("{} and {more} more", named.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{
        Profile, Totals,
        testing::{CaptureBuilder, prefork},
    };

    #[test]
    fn all_lives_of_a_pid_and_nothing_of_others() {
        let mut capture = prefork();
        capture.lose("lost", "free_ring_full", 3, 0, "frees that are missing");
        for process_id in [1, 3] {
            capture.lose("degraded", "stack_fault", 2, 0, "stacks");
            capture.losses.last_mut().unwrap().process_id = Some(process_id);
        }
        let one = OneProcess::new(capture, 702).unwrap();
        let metadata = one.metadata().unwrap();
        assert_eq!(metadata.command_line, "/usr/bin/convert --fast picture.png");
        let ids = |rows: &[ProcessRow]| rows.iter().map(|row| row.process_id).collect::<Vec<_>>();
        assert_eq!(ids(&metadata.processes), [3, 4]);
        assert_eq!(ids(&metadata.other_processes), [1, 2]);
        assert_eq!(Totals::new(&metadata).peak_bytes, 2_500_000);
        let profile = Profile::load(&one, View::HighWaterMark).unwrap();
        assert_eq!(profile.total.bytes, 2_500_000);
        let timeline = one.timeline().unwrap();
        assert!(timeline.len() == 2 && timeline.iter().all(|row| row.process_id >= 3));
        assert!(
            one.size_histogram()
                .unwrap()
                .iter()
                .all(|row| row.process_id >= 3)
        );
        let losses: Vec<(Option<u32>, String)> = one
            .losses()
            .unwrap()
            .into_iter()
            .map(|loss| (loss.process_id, loss.description))
            .collect();
        assert_eq!(
            losses,
            [
                (
                    None,
                    "frees that are missing (counted for all processes of the capture together)".to_owned()
                ),
                (Some(3), "stacks".to_owned()),
            ]
        );
    }

    #[test]
    fn a_pid_that_is_not_there() {
        let message = |source: CaptureBuilder, pid| {
            let error = OneProcess::new(source, pid).unwrap_err();
            format!("{}; {}", error.message, error.hint.unwrap())
        };
        assert_eq!(
            message(prefork(), 7),
            "the capture has no process with pid `7`; name one of its processes with `--process`: 700, 701 and 702"
        );
        let mut many = CaptureBuilder::new();
        let row = many.metadata.processes[0].clone();
        many.metadata.processes = (0..5000)
            .rev()
            .map(|pid| ProcessRow { pid, ..row.clone() })
            .collect();
        assert!(message(many, 5000).ends_with("`--process`: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4990 more"),);
        let mut none = CaptureBuilder::new();
        none.metadata.processes.clear();
        assert!(message(none, 1).ends_with("holds no process at all"));
        assert!(message(CaptureBuilder::new(), 1).ends_with("`--process`: 4242"));
    }
}
