//! A capture as its readers see it: the questions that reports ask, and nothing of how it is stored.

use super::{
    Allocator, FrameRow, LossRow, MappingTotalsRow, ProcessRow, SizeHistogramRow, StackId, StackRow,
    StateRow, ThreadId, ThreadRow, TimelineRow,
};

/// Which allocations a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Those alive when live bytes were highest; of equal peaks the last.
    HighWaterMark,
    /// Those alive at the end of the recording.
    Leaks,
    /// Those freed while at most `threshold` other allocations of their thread lay between.
    Temporary { threshold: u64 },
    /// All that were made.
    All,
}

/// What one site contributes to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteFigures {
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
    pub bytes: u64,
    pub count: u64,
}

/// What reproduces a recording, and what it saw in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureMetadata {
    /// Command line of the traced program.
    pub command_line: String,
    /// Milliseconds since the epoch.
    pub started_at_ms: u64,
    /// None while the recording runs, or if it was cut off.
    pub ended_at_ms: Option<u64>,
    /// The recording was finished in order.
    pub finished: bool,
    /// It was not, and the log that completes the file may lie elsewhere.
    pub may_lack_log: bool,
    pub memray_version: String,
    pub kernel_release: String,
    /// All of `meta`, sorted by key.
    pub entries: Vec<(String, String)>,
    pub processes: Vec<ProcessRow>,
    /// Processes of the capture that the reader of this has not asked for.
    pub other_processes: Vec<ProcessRow>,
    pub threads: Vec<ThreadRow>,
    /// One for each process.
    pub states: Vec<StateRow>,
}

/// A question to a capture that could not be answered.
#[derive(Debug)]
pub struct CaptureError {
    pub message: String,
    pub hint: Option<String>,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A capture that can be read: the store's reader, or rows built by a test.
pub trait CaptureSource {
    fn metadata(&self) -> Result<CaptureMetadata, CaptureError>;
    /// In ascending order of `frame_id`.
    fn frames(&self) -> Result<Vec<FrameRow>, CaptureError>;
    /// In ascending order of `stack_id`, so that parents come before children.
    fn stacks(&self) -> Result<Vec<StackRow>, CaptureError>;
    /// Sites that contribute to the view, in ascending order of `site_id`.
    fn sites(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError>;
    /// In order of time.
    fn timeline(&self) -> Result<Vec<TimelineRow>, CaptureError>;
    /// What is mapped beside the heap, by process and kind.
    fn mapping_totals(&self) -> Result<Vec<MappingTotalsRow>, CaptureError>;
    fn size_histogram(&self) -> Result<Vec<SizeHistogramRow>, CaptureError>;
    /// Counters that are not zero, lost first, then degraded, then neutral.
    fn losses(&self) -> Result<Vec<LossRow>, CaptureError>;
}
