//! What a capture means: trees, rankings and totals computed from its rows.
//!
//! Input is a [`CaptureSource`](crate::model::CaptureSource), output plain data for `report` and `tui`. Nothing here
//! reads a clock, the environment or a file, so equal captures give equal results. Captures are untrusted: a
//! reference to a row that is not there, or a stack that claims an ancestor younger than itself, costs that row its
//! place in the tree and nothing else. Stacks can be thousands of frames deep, so no function here recurses.

pub mod allocators;
pub mod beside;
mod by_process;
pub mod filter;
pub mod frame_tree;
pub mod histogram;
pub mod locations;
pub mod modules;
pub mod one_process;
pub mod processes;
pub mod profile;
pub mod summary;
pub mod timeline;
pub mod totals;

#[cfg(test)]
pub(crate) mod testing;

use std::cmp::Ordering;

pub use allocators::{AllocatorShare, allocator_shares};
pub use beside::{MappedFigures, PeakResident, mapped, peak_resident};
pub use filter::FrameFilter;
pub use frame_tree::{Children, FrameTree, Node, Remainder};
pub use histogram::{Histogram, SizeBin};
pub use locations::{LocationFigures, locations};
pub use modules::{ModuleFigures, modules};
pub use one_process::OneProcess;
pub use processes::{ProcessEnd, ProcessFigures, processes};
pub use profile::{Figures, ProcessFrames, Profile, ProfileSite, ProfileStack};
pub use summary::{SummaryRow, summary};
pub use timeline::{TimelinePoint, timeline};
pub use totals::Totals;

/// What a ranking puts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    Size,
    Count,
}

impl Rank {
    /// Larger figures first; the other figure decides between equals.
    pub fn compare(self, left: Figures, right: Figures) -> Ordering {
        let by_size = right.bytes.cmp(&left.bytes);
        let by_count = right.count.cmp(&left.count);
        match self {
            Self::Size => by_size.then(by_count),
            Self::Count => by_count.then(by_size),
        }
    }
}
