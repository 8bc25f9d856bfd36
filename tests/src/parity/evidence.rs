//! The recordings at one moment, in the form in which rules ask: how many of each kind at each place.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    account::{Difference, Location, nonzero},
    call_objects::CallObjects,
    picture::{Allocation, Moment, Place},
    recordings::Recordings,
};
use crate::Script;

pub(super) const ARENA_BYTES: i64 = 1 << 20;
/// `sizeof(struct arena_object)`, of which the table has 16, 32, 64... (Objects/obmalloc.c, `new_arena`).
const ARENA_TABLE_BYTES: i64 = 48 * 16;
/// Nodes of the tree that tells which addresses are in arenas: `arena_map_bot_t`, for 256 MiB of addresses, and
/// `arena_map_mid_t` (`Include/internal/pycore_obmalloc.h`). Where arenas lie is left to the kernel.
const ARENA_MAP_BYTES: [i64; 2] = [256 * 8, 1024 * 8];
/// `DATA_STACK_CHUNK_SIZE` (Python/pystate.c, 3.11 and later).
pub(super) const INTERPRETER_STACK_BYTES: i64 = 16 << 10;

/// What an allocation is for, as far as its stack and its size tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// No frame of the program or of a thread is in the stack.
    Outside,
    /// An arena of pymalloc, or a record of arenas.
    Arena,
    InterpreterStack,
    /// While the dynamic loader has a library in hands.
    Loading,
    Importing,
    Program,
}

pub(super) type Counts = BTreeMap<(Kind, Location), i64>;

/// One of our recordings. Objects of calls are apart, at the place of the call's own code and, `moved`, at the caller's.
#[derive(Debug, Default)]
pub(super) struct Ours {
    pub plain: Counts,
    pub frames: CallsMade,
    pub generators: CallsMade,
}

#[derive(Debug, Default)]
pub(super) struct CallsMade {
    pub here: Difference,
    pub moved: Counts,
}

#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub moment: Moment,
    pub script: &'a Script,
    pub thread_locals: &'a BTreeSet<i64>,
    /// What we have made once at a location and never freed.
    pub made_once: BTreeSet<Location>,
    pub ours: Ours,
    pub theirs: Counts,
    pub both_ours: Ours,
    pub both_theirs: Counts,
    /// What we see in both of our recordings and memray beside us does not.
    pub unseen: Counts,
    /// What memray counts in both of its recordings and we beside it do not.
    pub unshared: Counts,
    /// What memray beside us counts and we do not, whether or not it does so alone.
    pub beside_ours: Counts,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(recordings: &'a Recordings, moment: Moment) -> Self {
        let Recordings {
            ours,
            theirs,
            both_ours,
            both_theirs,
            call_objects,
            thread_locals,
            script,
        } = recordings;
        let made_once = made_once(&ours.allocations);
        let ours = Ours::new(&ours.allocations, moment, call_objects);
        let theirs = counts(&theirs.allocations, moment);
        let both_ours = Ours::new(&both_ours.allocations, moment, call_objects);
        let both_theirs = counts(&both_theirs.allocations, moment);
        let beside = less(&both_ours.as_memray_places_it(), &both_theirs);
        let compared = |(kind, _): &(Kind, Location)| *kind >= Kind::Loading;
        let bounded = |sign: i64, alone: &Counts| {
            let found = beside.iter().filter(|(key, _)| compared(key));
            let found = found.filter_map(|(key, count)| {
                let count = (sign * count).min(alone.get(key).copied().unwrap_or_default());
                (count > 0).then(|| (key.clone(), count))
            });
            found.collect()
        };
        Self {
            unseen: bounded(1, &ours.plain),
            unshared: bounded(-1, &theirs),
            beside_ours: beside
                .iter()
                .filter(|((kind, _), count)| *kind != Kind::Outside && **count < 0)
                .map(|(key, count)| (key.clone(), -count))
                .collect(),
            moment,
            script,
            thread_locals,
            made_once,
            ours,
            theirs,
            both_ours,
            both_theirs,
        }
    }

    /// Ours alone less memray's alone.
    pub(super) fn difference(&self) -> Difference {
        let mut found = Difference::new();
        for (location, count) in self.ours.all() {
            *found.entry(location.clone()).or_default() += count;
        }
        for ((_, location), count) in &self.theirs {
            *found.entry(location.clone()).or_default() -= count;
        }
        nonzero(found)
    }

    /// Allocations and bytes, ours alone and memray's alone.
    pub(super) fn sums(&self) -> [(i64, i64); 2] {
        let theirs = self.theirs.iter().map(|((_, location), count)| (location, count));
        [
            super::account::sums(self.ours.all()),
            super::account::sums(theirs),
        ]
    }

    /// The name that a line of the program has.
    pub(super) fn marker(&self, location: &Location) -> Option<&str> {
        let is_script = self.script.path.as_os_str() == &*location.file;
        is_script.then(|| self.script.marker(location.line)).flatten()
    }
}

impl Ours {
    fn new(allocations: &[Allocation], moment: Moment, call_objects: &CallObjects) -> Self {
        let mut found = Self::default();
        for allocation in allocations
            .iter()
            .filter(|allocation| allocation.count(moment) > 0)
        {
            let count = allocation.count(moment);
            let calls = if call_objects.is_frame(allocation) {
                &mut found.frames
            } else if call_objects.is_generator(allocation) {
                &mut found.generators
            } else {
                let key = key(allocation, &allocation.stack);
                *found.plain.entry(key).or_default() += count;
                continue;
            };
            let here = Location::new(allocation, allocation.stack.first());
            *calls.here.entry(here).or_default() += count;
            let moved = key(allocation, &allocation.stack[1..]);
            *calls.moved.entry(moved).or_default() += count;
        }
        found
    }

    pub(super) fn as_memray_places_it(&self) -> Counts {
        let mut found = self.plain.clone();
        for (key, count) in self.frames.moved.iter().chain(&self.generators.moved) {
            *found.entry(key.clone()).or_default() += count;
        }
        found
    }

    fn all(&self) -> impl Iterator<Item = (&Location, &i64)> {
        let plain = self.plain.iter().map(|((_, location), count)| (location, count));
        plain.chain(&self.frames.here).chain(&self.generators.here)
    }
}

/// One less the other, where they differ.
pub(super) fn less(counts: &Counts, others: &Counts) -> Counts {
    let mut found = counts.clone();
    for (key, count) in others {
        *found.entry(key.clone()).or_default() -= count;
    }
    found.retain(|_, count| *count != 0);
    found
}

fn made_once(allocations: &[Allocation]) -> BTreeSet<Location> {
    let mut found = BTreeMap::<Location, [i64; 2]>::new();
    for allocation in allocations {
        let [made, alive] = found
            .entry(Location::new(allocation, allocation.stack.first()))
            .or_default();
        *made += allocation.count(Moment::Made);
        *alive += allocation.count(Moment::End);
    }
    found.retain(|_, counts| *counts == [1, 1]);
    found.into_keys().collect()
}

fn counts(allocations: &[Allocation], moment: Moment) -> Counts {
    let mut found = Counts::new();
    for allocation in allocations
        .iter()
        .filter(|allocation| allocation.count(moment) > 0)
    {
        *found.entry(key(allocation, &allocation.stack)).or_default() += allocation.count(moment);
    }
    found
}

fn key(allocation: &Allocation, stack: &[Place]) -> (Kind, Location) {
    (kind(allocation, stack), Location::new(allocation, stack.first()))
}

fn kind(allocation: &Allocation, stack: &[Place]) -> Kind {
    if stack.is_empty() {
        return Kind::Outside;
    }
    if is_mapping_of(allocation, ARENA_BYTES) || is_arena_record(allocation) {
        return Kind::Arena;
    }
    if is_mapping_of(allocation, INTERPRETER_STACK_BYTES) {
        return Kind::InterpreterStack;
    }
    if is_loading(stack) {
        return Kind::Loading;
    }
    let is_importing = |place: &Place| place.file.starts_with("<frozen importlib.");
    if stack.iter().any(is_importing) {
        return Kind::Importing;
    }
    Kind::Program
}

fn is_loading(stack: &[Place]) -> bool {
    let [called, caller, ..] = stack else {
        return false;
    };
    let is_extension = &*called.function == "_call_with_frames_removed"
        && &*caller.function == "create_module"
        && &*caller.file == "<frozen importlib._bootstrap_external>";
    let is_foreign = &*called.function == "__init__" && called.file.ends_with("/ctypes/__init__.py");
    is_extension || is_foreign
}

fn is_mapping_of(allocation: &Allocation, size: i64) -> bool {
    &*allocation.allocator == "mmap" && allocation.size == size
}

fn is_arena_record(allocation: &Allocation) -> bool {
    let Allocation { allocator, size, .. } = allocation;
    match &**allocator {
        "realloc" => (0..4).any(|doublings| *size == ARENA_TABLE_BYTES << doublings),
        "calloc" => ARENA_MAP_BYTES.contains(size),
        _ => false,
    }
}
