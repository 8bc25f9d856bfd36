//! Captures built row by row, for the tests of `analysis` and `report`.

mod processes;
mod samples;

pub(crate) use processes::prefork;
use rustc_hash::FxHashMap;
pub(crate) use samples::{deep, hostile, realistic, small, unfinished};

use crate::model::{
    Allocator, CaptureError, CaptureMetadata, CaptureSource, FrameKind, FrameRow, LossRow, MappingTotalsRow,
    ProcessRow, SiteFigures, SizeHistogramRow, StackRow, StateRow, ThreadRow, TimelineRow, View,
};

/// A frame as tests write it: function, file, line. Without a file it is a marker, and native in an `.so`.
pub(crate) type TestFrame<'text> = (&'text str, &'text str, u32);

/// A capture in memory. `allocate` interns as the recorder does; the rows are open to tests that need odd ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureBuilder {
    pub(crate) metadata: CaptureMetadata,
    pub(crate) frames: Vec<FrameRow>,
    pub(crate) stacks: Vec<StackRow>,
    /// Answers to [`View::HighWaterMark`] and [`View::All`].
    pub(crate) sites: Vec<SiteFigures>,
    pub(crate) leaks: Vec<SiteFigures>,
    pub(crate) temporary: Vec<SiteFigures>,
    pub(crate) timeline: Vec<TimelineRow>,
    pub(crate) histogram: Vec<SizeHistogramRow>,
    pub(crate) losses: Vec<LossRow>,
    pub(crate) mapping_totals: Vec<MappingTotalsRow>,
    frame_ids: FxHashMap<(String, String, u32), u32>,
    stack_ids: FxHashMap<(Option<u32>, u32), u32>,
}

impl CaptureBuilder {
    /// A finished capture of one process and one thread in which nothing was allocated.
    pub(crate) fn new() -> Self {
        let process = ProcessRow {
            process_id: 1,
            pid: 4242,
            command_line: "python3 example.py".to_owned(),
            executable: "/usr/bin/python3".to_owned(),
            python_version: "3.12.1".to_owned(),
            python_allocator: "pymalloc".to_owned(),
            ..ProcessRow::default()
        };
        let metadata = CaptureMetadata {
            command_line: "python3 example.py".to_owned(),
            started_at_ms: 1_767_323_045_678,
            ended_at_ms: Some(1_767_323_048_178),
            finished: true,
            may_lack_log: false,
            memray_version: "0.1.0".to_owned(),
            kernel_release: "6.1.0".to_owned(),
            entries: Vec::new(),
            processes: vec![process],
            other_processes: Vec::new(),
            threads: vec![ThreadRow {
                thread_id: 1,
                process_id: 1,
                tid: 4242,
                name: "MainThread".to_owned(),
            }],
            states: vec![StateRow {
                process_id: 1,
                ..StateRow::default()
            }],
        };
        Self {
            metadata,
            ..Self::default()
        }
    }

    /// `count` allocations of `bytes` in all, by malloc in thread 1; frames from the outermost.
    pub(crate) fn allocate(&mut self, frames: &[TestFrame<'_>], bytes: u64, count: u64) -> SiteFigures {
        self.allocate_by(Allocator::Malloc, frames, bytes, count)
    }

    pub(crate) fn allocate_by(
        &mut self,
        allocator: Allocator,
        frames: &[TestFrame<'_>],
        bytes: u64,
        count: u64,
    ) -> SiteFigures {
        let stack_id = self.stack(frames);
        let site = SiteFigures {
            stack_id,
            thread_id: 1,
            allocator,
            bytes,
            count,
        };
        self.sites.push(site);
        let state = &mut self.metadata.states[0];
        state.alloc_count += count;
        state.alloc_bytes += bytes;
        state.peak_bytes += bytes;
        state.peak_count += count;
        state.live_bytes += bytes;
        let size = bytes / count.max(1);
        state.min_size = if state.alloc_count == count {
            size
        } else {
            state.min_size.min(size)
        };
        state.max_size = state.max_size.max(size);
        state.peak_ts = 1_500_000_000;
        state.last_ts = 2_400_000_000;
        self.histogram.push(histogram_row(size, allocator, count, bytes));
        site
    }

    /// The identifier of a stack; 0, which no stack has, for no frames.
    pub(crate) fn stack(&mut self, frames: &[TestFrame<'_>]) -> u32 {
        let mut parent_id = None;
        for (depth, &(function, file, line)) in (1..).zip(frames) {
            let frame_id = self.frame(function, file, line);
            let next = u32::try_from(self.stacks.len()).unwrap() + 1;
            let stack_id = *self.stack_ids.entry((parent_id, frame_id)).or_insert(next);
            if stack_id == next {
                self.stacks.push(StackRow {
                    stack_id,
                    parent_id,
                    frame_id,
                    depth,
                });
            }
            parent_id = Some(stack_id);
        }
        parent_id.unwrap_or(0)
    }

    pub(crate) fn lose(&mut self, kind: &str, reason: &str, events: u64, bytes: u64, description: &str) {
        self.losses.push(LossRow {
            process_id: None,
            reason: reason.to_owned(),
            kind: kind.to_owned(),
            events,
            bytes,
            description: description.to_owned(),
        });
    }

    fn frame(&mut self, function: &str, file: &str, line: u32) -> u32 {
        let next = u32::try_from(self.frames.len()).unwrap() + 1;
        let key = (function.to_owned(), file.to_owned(), line);
        let frame_id = *self.frame_ids.entry(key).or_insert(next);
        if frame_id == next {
            let kind = match file.rsplit('.').next() {
                Some("") => FrameKind::Marker,
                Some("so") => FrameKind::Native,
                _ => FrameKind::Python,
            };
            let (function, file) = (function.to_owned(), file.to_owned());
            self.frames.push(FrameRow {
                frame_id,
                function,
                file,
                line,
                kind,
            });
        }
        frame_id
    }
}

impl CaptureSource for CaptureBuilder {
    fn metadata(&self) -> Result<CaptureMetadata, CaptureError> {
        Ok(self.metadata.clone())
    }

    fn frames(&self) -> Result<Vec<FrameRow>, CaptureError> {
        Ok(self.frames.clone())
    }

    fn stacks(&self) -> Result<Vec<StackRow>, CaptureError> {
        Ok(self.stacks.clone())
    }

    fn sites(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError> {
        Ok(match view {
            View::HighWaterMark | View::All => self.sites.clone(),
            View::Leaks => self.leaks.clone(),
            View::Temporary { .. } => self.temporary.clone(),
        })
    }

    fn timeline(&self) -> Result<Vec<TimelineRow>, CaptureError> {
        Ok(self.timeline.clone())
    }

    fn mapping_totals(&self) -> Result<Vec<MappingTotalsRow>, CaptureError> {
        Ok(self.mapping_totals.clone())
    }

    fn size_histogram(&self) -> Result<Vec<SizeHistogramRow>, CaptureError> {
        Ok(self.histogram.clone())
    }

    fn losses(&self) -> Result<Vec<LossRow>, CaptureError> {
        Ok(self.losses.clone())
    }
}

/// The histogram a recording of these sizes has.
pub(crate) fn histogram_rows(sizes: &[u64]) -> Vec<SizeHistogramRow> {
    sizes
        .iter()
        .map(|&size| histogram_row(size, Allocator::Malloc, 1, size))
        .collect()
}

pub(super) fn histogram_row(
    size: u64,
    allocator: Allocator,
    alloc_count: u64,
    alloc_bytes: u64,
) -> SizeHistogramRow {
    let width = if size < 128 { 1 } else { 1 << (size.ilog2() - 6) };
    let size_from = size / width * width;
    SizeHistogramRow {
        process_id: 1,
        size_from,
        size_to: size_from + width - 1,
        allocator,
        alloc_count,
        alloc_bytes,
    }
}
