//! From the frames of a walk, several records of them, to a node of the prefix tree.
//!
//! The kernel describes a stack under a number before an event names it, and remembers the number by a hash of the
//! frames. A number is kept here as long as an event can name it: while the programs remember it, or, of one that they do
//! not remember, until the thread describes its next.

use std::collections::VecDeque;

use memray_ebpf::{
    event::{RawFrame, StackEndRecord, WalkStatus, flags},
    limits::MAX_PYTHON_FRAMES,
};
use rustc_hash::FxHashMap;

use super::{
    bounds::MAX_STACK_NUMBERS,
    codes::{Codes, Naming},
    counters::Counter,
    decode::StackFrames,
    frames::{Frames, marker},
    script::ScriptStart,
    tree::{Node, Tree},
};

/// Between the look at the table of stacks and the record of the event a program may lose its CPU, or wait for a page;
/// never for so long. If it did, its event would be counted and shown as one whose stack is not known.
const UNDER_WAY_NS: u64 = 10_000_000_000;

/// Stacks of the interpreter's start whose outermost code object was not known yet: a race of threads, and few of them.
const MAX_UNDESCRIBED: u32 = 1 << 16;

/// What a stack number of the kernel stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownStack {
    pub node: Node,
    pub outermost: Outermost,
}

/// What the outermost frame of a stack says about the program, as long as its own code has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outermost {
    /// There the program's own code begins.
    Script,
    /// Anything else, or the program has begun before.
    Elsewhere,
    /// A frame whose code object had not been described when the stack was; see [`Stacks::undescribed`].
    Undescribed(u32),
}

/// Frames of a stack whose end has not come.
#[derive(Debug, Default)]
struct Unfinished {
    stack_id: u64,
    /// Innermost first.
    frames: Vec<RawFrame>,
    broken: bool,
}

/// The stacks of one process.
#[derive(Debug, Default)]
pub struct Stacks {
    known: FxHashMap<u64, KnownStack>,
    /// Those that have not been used for long.
    older: FxHashMap<u64, KnownStack>,
    /// By thread: the last one that the programs do not remember.
    passing: FxHashMap<u32, (u64, KnownStack)>,
    /// What the programs have forgotten, with when.
    retired: VecDeque<(u64, Vec<u64>)>,
    /// Outermost frames of [`Outermost::Undescribed`], kept apart because few stacks have one.
    undescribed: Vec<RawFrame>,
    /// By the thread that walks.
    unfinished: FxHashMap<u32, Unfinished>,
    /// Kept for its room.
    spare: Vec<RawFrame>,
}

impl Stacks {
    /// The stack that an event of this thread names.
    pub fn get(&mut self, stack_id: u64, tid: u32) -> Option<KnownStack> {
        if let Some(known) = self.known.get(&stack_id) {
            return Some(*known);
        }
        if let Some((_, known)) = self.passing.get(&tid).filter(|(id, _)| *id == stack_id) {
            return Some(*known);
        }
        let known = self.older.remove(&stack_id)?;
        self.remember(stack_id, known);
        Some(known)
    }

    fn remember(&mut self, stack_id: u64, known: KnownStack) {
        if self.known.len() >= MAX_STACK_NUMBERS {
            self.older = std::mem::take(&mut self.known);
        }
        self.known.insert(stack_id, known);
    }

    /// The frame of [`Outermost::Undescribed`].
    pub fn undescribed(&self, index: u32) -> Option<RawFrame> {
        self.undescribed.get(index as usize).copied()
    }

    /// The programs have forgotten these at time `ts`; events that found them before can still be under way.
    pub fn retire(&mut self, stack_ids: Vec<u64>, ts: u64) {
        self.retired.push_back((ts, stack_ids));
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.known.len() + self.older.len() + self.passing.len()
    }

    pub fn add_frames(&mut self, part: &StackFrames<'_>) {
        let unfinished = self.unfinished.entry(part.header.tid).or_default();
        if part.first_frame == 0 {
            unfinished.stack_id = part.stack_id;
            unfinished.broken = false;
            unfinished.frames.clear();
            if unfinished.frames.capacity() == 0 {
                unfinished.frames = std::mem::take(&mut self.spare);
            }
        }
        let follows = part.stack_id == unfinished.stack_id
            && part.first_frame as usize == unfinished.frames.len()
            && unfinished.frames.len() + part.frames.len() <= MAX_PYTHON_FRAMES as usize;
        if follows {
            unfinished.frames.extend_from_slice(part.frames);
        } else {
            unfinished.broken = true;
        }
    }

    /// Forgets what was retired so long before `ts`, the time of a record, that no event names it any more.
    pub fn forget_retired(&mut self, ts: u64) {
        while let Some((retired_ts, stack_ids)) = self.retired.front()
            && ts > retired_ts.saturating_add(UNDER_WAY_NS)
        {
            for stack_id in stack_ids {
                self.known.remove(stack_id);
                self.older.remove(stack_id);
            }
            self.retired.pop_front();
        }
    }

    /// The stack is complete, or would be if none of its records had been lost.
    pub fn finish(
        &mut self,
        end: &StackEndRecord,
        status: WalkStatus,
        script: Option<&ScriptStart>,
        codes: &mut Codes,
        tree: &mut Tree,
        naming: &mut Naming<'_>,
    ) {
        let unfinished = self.unfinished.remove(&end.header.tid).unwrap_or_default();
        let all_there = end.frame_count as usize == unfinished.frames.len()
            && (end.frame_count == 0 || (unfinished.stack_id == end.stack_id && !unfinished.broken));
        let known = if all_there {
            let mut walk = Walk {
                frames: &unfinished.frames,
                tid: end.header.tid,
                status,
                codes,
                tree,
                naming,
                undescribed: &mut self.undescribed,
            };
            walk.known_stack(script)
        } else {
            naming.counters.add(naming.process, Counter::StackIncomplete, 0);
            lost_stack(tree, naming.frames)
        };
        codes.let_go(end.header.tid);
        if end.header.flags & flags::NOT_REMEMBERED == 0 {
            self.remember(end.stack_id, known);
        } else {
            self.passing.insert(end.header.tid, (end.stack_id, known));
        }
        self.spare = unfinished.frames;
        self.spare.clear();
    }

    /// The thread has ended; a stack that it has not finished never will be.
    pub fn forget_thread(&mut self, tid: u32) {
        self.unfinished.remove(&tid);
        self.passing.remove(&tid);
    }
}

/// The stack of an event whose own could not be sent.
pub fn lost_stack(tree: &mut Tree, frames: &mut Frames) -> KnownStack {
    marker_stack(marker::STACK_LOST, tree, frames)
}

/// The stack of an event outside Python.
pub fn no_python_stack(tree: &mut Tree, frames: &mut Frames) -> KnownStack {
    marker_stack(marker::NO_PYTHON, tree, frames)
}

/// The stack of what is beyond a bound.
pub fn too_many_stack(tree: &mut Tree, frames: &mut Frames) -> KnownStack {
    marker_stack(marker::TOO_MANY, tree, frames)
}

fn marker_stack(name: &str, tree: &mut Tree, frames: &mut Frames) -> KnownStack {
    let frame = frames.marker(name);
    KnownStack {
        node: tree.marker(frame),
        outermost: Outermost::Elsewhere,
    }
}

/// One whole walk.
struct Walk<'walk, 'naming> {
    frames: &'walk [RawFrame],
    tid: u32,
    status: WalkStatus,
    codes: &'walk mut Codes,
    tree: &'walk mut Tree,
    naming: &'walk mut Naming<'naming>,
    undescribed: &'walk mut Vec<RawFrame>,
}

impl Walk<'_, '_> {
    fn known_stack(&mut self, script: Option<&ScriptStart>) -> KnownStack {
        let cut = match self.status {
            WalkStatus::Complete => None,
            WalkStatus::Truncated => Some(marker::OUTER_CUT),
            WalkStatus::Fault => Some(marker::UNREADABLE),
        };
        let mut node = Node::ROOT;
        if let Some(name) = cut {
            let frame = self.naming.frames.marker(name);
            node = self.tree.marker(frame);
        }
        let mut outermost = Outermost::Elsewhere;
        for &raw in self.frames.iter().rev() {
            if !self.naming.reader.is_python_frame(raw) {
                continue;
            }
            let frame = self.codes.frame(raw, self.tid, self.naming);
            if node == Node::ROOT
                && let Some(script) = script
            {
                outermost = match self.codes.names(raw, self.tid) {
                    Some((function, file)) if script.begins_at(function, file) => Outermost::Script,
                    Some(_) => Outermost::Elsewhere,
                    None => match u32::try_from(self.undescribed.len()) {
                        Ok(index) if index < MAX_UNDESCRIBED => {
                            self.undescribed.push(raw);
                            Outermost::Undescribed(index)
                        }
                        _ => Outermost::Elsewhere,
                    },
                };
            }
            let Some(inner) = self.tree.child(node, frame) else {
                let process = self.naming.process;
                self.naming.counters.add(process, Counter::StackTableFull, 0);
                return too_many_stack(self.tree, self.naming.frames);
            };
            node = inner;
        }
        if node == Node::ROOT {
            return no_python_stack(self.tree, self.naming.frames);
        }
        KnownStack { node, outermost }
    }
}
