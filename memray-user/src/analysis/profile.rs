//! The rows of one view, joined: every stack with its frame, its parent and what was allocated in it.
//!
//! Identifiers of the capture become indexes here. Invariants: `stacks[i].parent < i`; every index is in bounds;
//! frames with the same function, file, line and kind have one index. A site whose stack is not in the capture is
//! kept under a marker frame, so that sums over a profile are the sums of the view.

use rustc_hash::FxHashMap;

use crate::model::{Allocator, CaptureError, CaptureSource, FrameKind, FrameRow, StackRow, ThreadId, View};

/// Function name of the frame that stands for a stack that is not known; memray's words.
pub const STACK_UNAVAILABLE: &str = "<stack trace unavailable>";

/// An amount of memory and the number of allocations it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub bytes: u64,
    pub count: u64,
}

impl Figures {
    pub fn is_zero(self) -> bool {
        self.bytes == 0 && self.count == 0
    }

    /// Sums of a hostile capture can pass `u64`; they stop there.
    pub fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.count = self.count.saturating_add(other.count);
    }

    /// Share of the bytes of `whole` in percent; 0 of nothing.
    pub fn percent_of(self, whole: Self) -> f64 {
        if whole.bytes == 0 {
            0.0
        } else {
            self.bytes as f64 / whole.bytes as f64 * 100.0
        }
    }
}

/// One node of the capture's prefix tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileStack {
    /// Index into `Profile::stacks`, smaller than this stack's own.
    pub parent: Option<u32>,
    /// Index into `Profile::frames`.
    pub frame: u32,
    /// Allocated with this frame innermost.
    pub own: Figures,
}

/// What one thread allocated through one function in one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileSite {
    /// Index into `Profile::stacks`.
    pub stack: u32,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
    pub figures: Figures,
}

/// Whether stacks begin with a frame that names their process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessFrames {
    #[default]
    None,
    Outermost,
    /// They should, but the capture has more stacks in more processes than can be told apart.
    TooMany,
}

/// All that a view of a capture says about where memory was allocated.
#[derive(Clone, Debug)]
pub struct Profile {
    pub view: View,
    pub frames: Vec<FrameRow>,
    pub stacks: Vec<ProfileStack>,
    pub sites: Vec<ProfileSite>,
    pub total: Figures,
    pub process_frames: ProcessFrames,
}

impl Profile {
    /// Reads the rows of `view` and joins them.
    pub fn load(source: &dyn CaptureSource, view: View) -> Result<Self, CaptureError> {
        let mut frames = source.frames()?;
        let rows = source.stacks()?;
        let sites = source.sites(view)?;
        let first_of = first_of_equal_frames(&frames);
        let mut unavailable = Unavailable::default();
        let mut stacks = join_stacks(&rows, &mut frames, &first_of, &mut unavailable);
        let mut joined = Vec::with_capacity(sites.len());
        let mut total = Figures::default();
        for site in sites {
            let figures = Figures {
                bytes: site.bytes,
                count: site.count,
            };
            let stack = match rows.binary_search_by_key(&site.stack_id, |row| row.stack_id) {
                Ok(stack) => index(stack),
                Err(_) => unavailable.stack(&mut frames, &mut stacks),
            };
            stacks[stack as usize].own.add(figures);
            total.add(figures);
            let (thread_id, allocator) = (site.thread_id, site.allocator);
            joined.push(ProfileSite {
                stack,
                thread_id,
                allocator,
                figures,
            });
        }
        Ok(Self {
            view,
            frames,
            stacks,
            sites: joined,
            total,
            process_frames: ProcessFrames::None,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.total.is_zero()
    }

    pub fn frame(&self, frame: u32) -> &FrameRow {
        &self.frames[frame as usize]
    }
}

/// The stand-ins for what the capture refers to and does not hold, made when first needed.
#[derive(Default)]
struct Unavailable {
    frame: Option<u32>,
    stack: Option<u32>,
}

impl Unavailable {
    fn frame(&mut self, frames: &mut Vec<FrameRow>) -> u32 {
        *self.frame.get_or_insert_with(|| {
            frames.push(FrameRow {
                frame_id: 0,
                function: STACK_UNAVAILABLE.to_owned(),
                file: String::new(),
                line: 0,
                kind: FrameKind::Marker,
            });
            index(frames.len() - 1)
        })
    }

    fn stack(&mut self, frames: &mut Vec<FrameRow>, stacks: &mut Vec<ProfileStack>) -> u32 {
        let frame = self.frame(frames);
        *self.stack.get_or_insert_with(|| {
            stacks.push(ProfileStack {
                parent: None,
                frame,
                own: Figures::default(),
            });
            index(stacks.len() - 1)
        })
    }
}

fn first_of_equal_frames(frames: &[FrameRow]) -> Vec<u32> {
    let mut first = FxHashMap::default();
    frames
        .iter()
        .enumerate()
        .map(|(position, frame)| {
            let key = (
                frame.function.as_str(),
                frame.file.as_str(),
                frame.line,
                frame.kind,
            );
            *first.entry(key).or_insert(index(position))
        })
        .collect()
}

fn join_stacks(
    rows: &[StackRow],
    frames: &mut Vec<FrameRow>,
    first_of: &[u32],
    unavailable: &mut Unavailable,
) -> Vec<ProfileStack> {
    let frame_ids: Vec<u32> = frames.iter().map(|frame| frame.frame_id).collect();
    let mut stacks = Vec::with_capacity(rows.len() + 1);
    for (position, row) in rows.iter().enumerate() {
        let frame = match frame_ids.binary_search(&row.frame_id) {
            Ok(frame) => first_of[frame],
            Err(_) => unavailable.frame(frames),
        };
        let parent = row
            .parent_id
            .and_then(|parent_id| rows.binary_search_by_key(&parent_id, |row| row.stack_id).ok())
            .filter(|&parent| parent < position)
            .map(index);
        stacks.push(ProfileStack {
            parent,
            frame,
            own: Figures::default(),
        });
    }
    stacks
}

/// Identifiers in captures have 32 bits, so no table is longer.
pub(super) fn index(position: usize) -> u32 {
    u32::try_from(position).expect("rows have 32-bit identifiers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::testing::CaptureBuilder, model::SiteFigures};

    #[test]
    fn equal_frames_share_an_index_and_sums_are_kept() {
        let mut builder = CaptureBuilder::new();
        builder.allocate(&[("main", "a.py", 1), ("leaf", "a.py", 2)], 100, 2);
        builder.allocate(&[("leaf", "a.py", 2)], 10, 1);
        let profile = Profile::load(&builder, View::HighWaterMark).unwrap();
        assert_eq!(profile.total, Figures { bytes: 110, count: 3 });
        assert_eq!(profile.stacks[1].frame, profile.stacks[2].frame);
        assert_eq!(profile.stacks[1].parent, Some(0));
    }

    #[test]
    fn references_to_nothing_become_markers() {
        let mut builder = CaptureBuilder::new();
        builder.stacks = vec![
            StackRow {
                stack_id: 1,
                parent_id: Some(1),
                frame_id: 7,
                depth: 1,
            },
            StackRow {
                stack_id: 2,
                parent_id: Some(9),
                frame_id: 0,
                depth: 1,
            },
        ];
        for stack_id in [0, 1, 2, 99] {
            let (thread_id, allocator) = (1, Allocator::Malloc);
            builder.sites.push(SiteFigures {
                stack_id,
                thread_id,
                allocator,
                bytes: u64::MAX,
                count: 1,
            });
        }
        let profile = Profile::load(&builder, View::HighWaterMark).unwrap();
        assert_eq!(
            profile.total,
            Figures {
                bytes: u64::MAX,
                count: 4
            }
        );
        assert_eq!(profile.stacks.len(), 3);
        for stack in &profile.stacks {
            assert_eq!(stack.parent, None);
            assert_eq!(profile.frame(stack.frame).function, STACK_UNAVAILABLE);
        }
    }
}
