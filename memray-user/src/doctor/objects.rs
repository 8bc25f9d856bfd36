//! The functions of the mapped files that get a probe, where and why, and those that get none.

use serde::Serialize;

use crate::probes::{ProbePlan, ProbePoint, SkippedFunction};

/// One mapped file with functions of interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ObjectReport {
    pub(super) path: String,
    /// The file has been replaced or removed since it was mapped.
    pub(super) is_deleted: bool,
    pub(super) probes: Vec<ProbeReport>,
    pub(super) not_probed: Vec<NotProbed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProbeReport {
    pub(super) function: String,
    /// Of the probed instruction, in the file.
    pub(super) file_offset: u64,
    /// The same, in bytes from the function's entry.
    pub(super) function_offset: u64,
    /// Its return is probed as well.
    pub(super) has_return: bool,
    /// The kernel emulates the instruction; else it single-steps it, which costs ten times as much and more.
    pub(super) is_emulated: bool,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NotProbed {
    pub(super) function: String,
    pub(super) reason: String,
}

impl ObjectReport {
    /// None if the plan for this file has nothing in it.
    pub(super) fn new(path: &std::path::Path, is_deleted: bool, plan: ProbePlan) -> Option<Self> {
        let ProbePlan { points, skipped } = plan;
        (!points.is_empty() || !skipped.is_empty()).then(|| Self {
            path: path.to_string_lossy().into_owned(),
            is_deleted,
            probes: points.into_iter().map(ProbeReport::from).collect(),
            not_probed: skipped.into_iter().map(NotProbed::from).collect(),
        })
    }

    /// Functions of an allocator that are probed.
    pub(super) fn n_allocator_probes(&self) -> usize {
        let is_allocator = |probe: &&ProbeReport| probe.function != CODE_DEALLOC;
        self.probes.iter().filter(is_allocator).count()
    }
}

/// What the plan calls the function that destroys code objects.
pub(super) const CODE_DEALLOC: &str = "code_dealloc";

impl From<ProbePoint> for ProbeReport {
    fn from(point: ProbePoint) -> Self {
        Self {
            function: point.function,
            file_offset: point.file_offset,
            function_offset: point.placement.offset,
            has_return: point.has_return,
            is_emulated: point.placement.is_emulated(),
            reason: point.placement.reason.description(),
        }
    }
}

impl From<SkippedFunction> for NotProbed {
    fn from(skipped: SkippedFunction) -> Self {
        Self {
            function: skipped.function,
            reason: skipped.reason.to_string(),
        }
    }
}
