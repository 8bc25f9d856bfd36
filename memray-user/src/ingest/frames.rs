//! Frames by what they show: function, file, line and kind, each once.
//!
//! A frame gets its public id when something in the capture first names it, so frames of the interpreter's
//! start-up leave no rows. What a frame shows can be decided later than its id: the code object that one thread
//! was the first to see can be described in the ring after another thread's stack with it.

use std::sync::Arc;

use memray_ebpf::event::RawFrame;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::{FrameId, FrameKind, FrameRow};

/// Frames that say something about a stack.
pub mod marker {
    pub const OUTER_CUT: &str = "<outer frames cut>";
    pub const UNREADABLE: &str = "<unreadable frames>";
    pub const NO_PYTHON: &str = "<no Python frames>";
    pub const STACK_LOST: &str = "<stack lost>";
    /// More stacks, sites or frames than are kept.
    pub const TOO_MANY: &str = "<too many stacks>";
}

/// The function of a frame whose code object has never been described.
pub const UNKNOWN_FUNCTION: &str = "<unknown function>";

/// In place of names beyond the bound.
const TOO_MANY_NAMES: &str = "<too many names>";

/// Index of a frame inside `ingest`, dense from 0; not the public id.
pub type FrameIndex = u32;

/// What a frame shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameText {
    pub function: Arc<str>,
    pub file: Arc<str>,
    /// 0 where there is none.
    pub line: u32,
    pub kind: FrameKind,
}

/// A frame whose code object is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnresolvedFrame {
    pub index: FrameIndex,
    /// Index of the process inside `ingest`.
    pub process: usize,
    pub frame: RawFrame,
}

#[derive(Debug)]
struct Frame {
    text: FrameText,
    /// Public id, 0 until the capture names the frame.
    id: FrameId,
}

/// See the module.
#[derive(Debug)]
pub struct Frames {
    most: usize,
    most_string_bytes: usize,
    string_bytes: usize,
    beyond_bound: u64,
    strings: FxHashSet<Arc<str>>,
    all: Vec<Frame>,
    by_text: FxHashMap<FrameText, FrameIndex>,
    unresolved: FxHashMap<(usize, RawFrame), UnresolvedFrame>,
    new: Vec<FrameIndex>,
    published: FrameId,
}

impl Frames {
    /// `most` is the number of frames beyond which only markers are added.
    pub fn new(most: usize, most_string_bytes: usize) -> Self {
        Self {
            most,
            most_string_bytes,
            string_bytes: 0,
            beyond_bound: 0,
            strings: FxHashSet::default(),
            all: Vec::new(),
            by_text: FxHashMap::default(),
            unresolved: FxHashMap::default(),
            new: Vec::new(),
            published: 0,
        }
    }

    /// The text, kept once for all that show it.
    pub fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.strings.get(text) {
            return Arc::clone(kept);
        }
        if self.string_bytes.saturating_add(text.len()) > self.most_string_bytes {
            self.beyond_bound += 1;
            return TOO_MANY_NAMES.into();
        }
        self.string_bytes += text.len();
        self.keep(text)
    }

    fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.strings.get(text) {
            return Arc::clone(kept);
        }
        let kept: Arc<str> = text.into();
        self.strings.insert(Arc::clone(&kept));
        kept
    }

    /// Frames and names that were shown as others since the last call, because there are too many.
    pub fn take_beyond_bound(&mut self) -> u64 {
        std::mem::take(&mut self.beyond_bound)
    }

    pub fn intern(&mut self, text: &FrameText) -> FrameIndex {
        if let Some(&index) = self.by_text.get(text) {
            return index;
        }
        if self.all.len() >= self.most && text.kind != FrameKind::Marker {
            self.beyond_bound += 1;
            return self.marker(marker::TOO_MANY);
        }
        let index = self.push(text.clone());
        self.by_text.insert(text.clone(), index);
        index
    }

    pub fn marker(&mut self, name: &str) -> FrameIndex {
        let text = FrameText {
            function: self.keep(name),
            file: self.keep(""),
            line: 0,
            kind: FrameKind::Marker,
        };
        self.intern(&text)
    }

    pub fn text(&self, index: FrameIndex) -> &FrameText {
        &self.all[index as usize].text
    }

    /// A frame that shows [`UNKNOWN_FUNCTION`] unless [`Frames::resolve`] says better before the next batch.
    pub fn unresolved(&mut self, process: usize, frame: RawFrame) -> FrameIndex {
        let key = (process, frame);
        if let Some(known) = self.unresolved.get(&key) {
            return known.index;
        }
        if self.all.len() >= self.most {
            self.beyond_bound += 1;
            return self.marker(marker::TOO_MANY);
        }
        let text = FrameText {
            function: self.keep(UNKNOWN_FUNCTION),
            file: self.string(""),
            line: 0,
            kind: FrameKind::Python,
        };
        let index = self.push(text);
        self.unresolved.insert(
            key,
            UnresolvedFrame {
                index,
                process,
                frame,
            },
        );
        index
    }

    /// Forgets the frames that wait for their text, for the caller to resolve; in order of first sight.
    pub fn take_unresolved(&mut self) -> Vec<UnresolvedFrame> {
        if self.unresolved.is_empty() {
            return Vec::new();
        }
        let mut frames: Vec<_> = self.unresolved.drain().map(|(_, frame)| frame).collect();
        frames.sort_unstable_by_key(|frame| frame.index);
        frames
    }

    /// Those of one code object, which is about to be forgotten.
    pub fn take_unresolved_of(&mut self, process: usize, code: u64) -> Vec<UnresolvedFrame> {
        if self.unresolved.is_empty() {
            return Vec::new();
        }
        let is_of_it =
            |(of, frame): &(usize, RawFrame), _: &mut UnresolvedFrame| *of == process && frame.code() == code;
        let mut frames: Vec<_> = self
            .unresolved
            .extract_if(is_of_it)
            .map(|(_, frame)| frame)
            .collect();
        frames.sort_unstable_by_key(|frame| frame.index);
        frames
    }

    /// Says what a frame shows. Its row must not have been taken.
    pub fn resolve(&mut self, index: FrameIndex, text: FrameText) {
        self.all[index as usize].text = text;
    }

    /// The public id, given at the first call.
    pub fn publish(&mut self, index: FrameIndex) -> FrameId {
        let frame = &mut self.all[index as usize];
        if frame.id == 0 {
            self.published += 1;
            frame.id = self.published;
            self.new.push(index);
        }
        frame.id
    }

    /// Rows of the frames that were published since the last call, in order of id.
    pub fn take_rows(&mut self) -> Vec<FrameRow> {
        let new = std::mem::take(&mut self.new);
        let row = |index: FrameIndex| {
            let Frame { text, id } = &self.all[index as usize];
            FrameRow {
                frame_id: *id,
                function: text.function.to_string(),
                file: text.file.to_string(),
                line: text.line,
                kind: text.kind,
            }
        };
        new.into_iter().map(row).collect()
    }

    fn push(&mut self, text: FrameText) -> FrameIndex {
        let index = FrameIndex::try_from(self.all.len()).expect("2^32 frames do not fit in memory");
        self.all.push(Frame { text, id: 0 });
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_frames_and_names_are_shown_as_one() {
        let mut frames = Frames::new(1, 10);
        let mut intern = |function: &str| {
            let text = FrameText {
                function: frames.string(function),
                file: frames.string(""),
                line: 1,
                kind: FrameKind::Python,
            };
            let index = frames.intern(&text);
            (
                frames.text(index).function.to_string(),
                frames.take_beyond_bound(),
            )
        };
        assert_eq!(intern("first"), ("first".to_owned(), 0));
        assert_eq!(intern("other"), (marker::TOO_MANY.to_owned(), 1));
        assert_eq!(intern("first"), ("first".to_owned(), 0));
        // No room for its name either.
        assert_eq!(intern("third"), (marker::TOO_MANY.to_owned(), 2));
    }
}
