//! Why figures differ: each rule explains the allocations that it names, and no others.
//!
//! A rule says by how much ours exceeds theirs at which locations, for a reason of its own. What is left when all have
//! spoken must be nothing.

use std::{collections::BTreeMap, rc::Rc};

use super::picture::{Allocation, CallObjects, Place};

/// Where an allocation is counted: file and line of the innermost frame, allocator, size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub file: Rc<str>,
    pub line: u32,
    pub allocator: Rc<str>,
    pub size: i64,
}

/// Ours less theirs.
pub(super) type Difference = BTreeMap<Location, i64>;

/// The three recordings of one program, all that were made or those at the peak.
pub(super) struct Evidence<'test> {
    /// Ours of the program as it is.
    pub ours: &'test [Allocation],
    /// memray's of the program as it is.
    pub theirs: &'test [Allocation],
    /// Ours of the program after memray has run in the same process, with a profile function.
    pub caused: &'test [Allocation],
    pub call_objects: &'test CallObjects,
    /// The line of the program under which the causes are applied.
    pub causes_line: u32,
}

struct Rule {
    name: &'static str,
    explain: fn(&Evidence<'_>) -> Difference,
}

const RULES: &[Rule] = &[
    Rule {
        name: "before and after the program",
        explain: outside,
    },
    Rule {
        name: "modules that memray has imported",
        explain: imports,
    },
    Rule {
        name: "frame objects for the profile function",
        explain: frame_objects,
    },
    Rule {
        name: "generators, made before the call is seen",
        explain: generators,
    },
    Rule {
        name: "arenas of pymalloc, when a pool is wanted",
        explain: arenas,
    },
    Rule {
        name: "pieces of the interpreter's own stack",
        explain: interpreter_stack,
    },
    Rule {
        name: "the dynamic loader, during dlopen",
        explain: loader,
    },
];

pub(super) const ARENA_BYTES: i64 = 1 << 20;
/// `sizeof(struct arena_object)`, of which the table has 16, 32, 64... (Objects/obmalloc.c, `new_arena`).
const ARENA_TABLE_BYTES: i64 = 48 * 16;
/// Nodes of the tree that tells which addresses are in arenas: `arena_map_bot_t`, for 256 MiB of addresses, and
/// `arena_map_mid_t` (`Include/internal/pycore_obmalloc.h`). Where arenas lie is left to the kernel.
const ARENA_MAP_BYTES: [i64; 2] = [256 * 8, 1024 * 8];
/// `DATA_STACK_CHUNK_SIZE` (Python/pystate.c, 3.11 and later).
pub(super) const INTERPRETER_STACK_BYTES: i64 = 16 << 10;

/// What differs, and what each rule makes of it.
pub(super) struct Account<'test> {
    pub evidence: &'test Evidence<'test>,
    /// All that differs.
    difference: Difference,
    /// In the order of [`RULES`].
    pub explained: Vec<(&'static str, Difference)>,
}

impl<'test> Account<'test> {
    pub(super) fn new(evidence: &'test Evidence<'test>) -> Self {
        let mut difference = Difference::new();
        add_all(&mut difference, 1, evidence.ours.iter());
        add_all(&mut difference, -1, evidence.theirs.iter());
        let explained = RULES
            .iter()
            .map(|rule| (rule.name, (rule.explain)(evidence)))
            .collect();
        Self {
            evidence,
            difference: nonzero(difference),
            explained,
        }
    }

    /// What no rule explains, or would without the one that is left out.
    pub(super) fn rest(&self, left_out: Option<&str>) -> Difference {
        let mut rest = self.difference.clone();
        let explained = self.explained.iter().filter(|(name, _)| Some(*name) != left_out);
        for (location, count) in explained.flat_map(|(_, difference)| difference) {
            *rest.entry(location.clone()).or_default() -= count;
        }
        nonzero(rest)
    }
}

/// Allocations and bytes.
pub(super) fn sums<'test>(difference: impl Iterator<Item = (&'test Location, &'test i64)>) -> (i64, i64) {
    difference.fold((0, 0), |(allocations, bytes), (location, count)| {
        (allocations + count, bytes + location.size * count)
    })
}

/// memray's runner reads and compiles the program under its eyes and stops before the interpreter ends; we begin with
/// the program's first line and go on to the end of the process.
fn outside(evidence: &Evidence<'_>) -> Difference {
    let is_outside = |allocation: &&Allocation| allocation.stack.is_empty();
    let mut found = Difference::new();
    add_all(&mut found, 1, evidence.ours.iter().filter(is_outside));
    add_all(&mut found, -1, evidence.theirs.iter().filter(is_outside));
    nonzero(found)
}

/// What an import allocates that does nothing once memray has imported the module: the difference between ours
/// without and with a run of memray before the program, during imports only.
fn imports(evidence: &Evidence<'_>) -> Difference {
    let is_import = |allocation: &&Allocation| {
        let is_importing = |place: &Place| place.file.starts_with("<frozen importlib.");
        allocation.stack.iter().any(is_importing)
            && !is_of_call(evidence, allocation)
            && !is_pages(allocation)
            && !is_arena_record(allocation)
    };
    let mut found = Difference::new();
    add_all(&mut found, 1, evidence.ours.iter().filter(is_import));
    add_all(&mut found, -1, caused(evidence).filter(is_import));
    nonzero(found)
}

/// CPython makes a frame object for each call once there is a profile function, as memray's; it makes it before the
/// function is called, so memray counts it where the caller is. Measured by ours with another profile function.
fn frame_objects(evidence: &Evidence<'_>) -> Difference {
    let is_frame = |allocation: &&Allocation| evidence.call_objects.is_frame(allocation);
    let mut found = Difference::new();
    add_all(&mut found, 1, evidence.ours.iter().filter(is_frame));
    for allocation in caused(evidence).filter(is_frame) {
        add(&mut found, -1, allocation, &allocation.stack[1]);
    }
    nonzero(found)
}

/// The object of a generator is made inside of its function, before the profile function hears of the call: ours is
/// the generator's line, memray's the caller's.
fn generators(evidence: &Evidence<'_>) -> Difference {
    let is_generator = |allocation: &&Allocation| evidence.call_objects.is_generator(allocation);
    let mut found = Difference::new();
    add_all(&mut found, 1, evidence.ours.iter().filter(is_generator));
    for allocation in caused(evidence).filter(is_generator) {
        add(&mut found, -1, allocation, &allocation.stack[1]);
    }
    nonzero(found)
}

/// An arena is mapped by whichever small object finds no free pool. Where that is depends on all that was allocated
/// before; only the number can be compared. The records that pymalloc keeps of arenas grow with the arena for which
/// there is no place left.
fn arenas(evidence: &Evidence<'_>) -> Difference {
    let is_arena =
        |allocation: &&Allocation| is_mapping_of(allocation, ARENA_BYTES) || is_arena_record(allocation);
    inside(evidence, is_arena)
}

/// Frames of Python functions lie in pieces of 16 KiB. A piece is mapped by the call that finds the last one full;
/// which call that is depends on the depth, and under memray there are the runner's frames below.
fn interpreter_stack(evidence: &Evidence<'_>) -> Difference {
    inside(evidence, |allocation| {
        is_mapping_of(allocation, INTERPRETER_STACK_BYTES)
    })
}

/// memray puts itself before the calls of each library when `dlopen` has returned, and never before those of the
/// dynamic loader. So it misses what loading an extension allocates, and never has more there than we.
fn loader(evidence: &Evidence<'_>) -> Difference {
    let is_wanted = |allocation: &&Allocation| is_loading(allocation) && !is_pages(allocation);
    let mut found = Difference::new();
    add_all(&mut found, 1, caused(evidence).filter(is_wanted));
    add_all(&mut found, -1, evidence.theirs.iter().filter(is_wanted));
    found.retain(|_, count| *count > 0);
    found
}

/// With the causes applied: allocations whose whole stacks are not found on the other side, by file and line of each
/// frame, other than those of which the rules speak.
pub(super) fn n_stacks_differ(evidence: &Evidence<'_>) -> i64 {
    let is_compared = |allocation: &&Allocation| {
        !(allocation.stack.is_empty()
            || is_pages(allocation)
            || is_arena_record(allocation)
            || is_loading(allocation))
    };
    let mut found = BTreeMap::<_, i64>::new();
    let mut add = |sign: i64, allocation: &Allocation, skipped: usize| {
        let places = allocation.stack.iter().skip(skipped);
        let lines: Vec<(Rc<str>, u32)> = places.map(|place| (Rc::clone(&place.file), place.line)).collect();
        let key = (lines, Rc::clone(&allocation.allocator), allocation.size);
        *found.entry(key).or_default() += sign * allocation.count;
    };
    for allocation in caused(evidence).filter(is_compared) {
        add(1, allocation, usize::from(is_of_call(evidence, allocation)));
    }
    for allocation in evidence.theirs.iter().filter(is_compared) {
        add(-1, allocation, 0);
    }
    found.into_values().map(i64::abs).sum()
}

/// Ours of the program with the causes, less what the causes themselves allocated.
fn caused<'test>(evidence: &Evidence<'test>) -> impl Iterator<Item = &'test Allocation> {
    let line = evidence.causes_line;
    evidence.caused.iter().filter(move |allocation| {
        allocation
            .stack
            .last()
            .is_some_and(|program| program.line != line)
    })
}

fn inside(evidence: &Evidence<'_>, is_wanted: impl Fn(&&Allocation) -> bool) -> Difference {
    let is_wanted = |allocation: &&Allocation| !allocation.stack.is_empty() && is_wanted(allocation);
    let mut found = Difference::new();
    add_all(&mut found, 1, evidence.ours.iter().filter(is_wanted));
    add_all(&mut found, -1, evidence.theirs.iter().filter(is_wanted));
    nonzero(found)
}

fn is_of_call(evidence: &Evidence<'_>, allocation: &Allocation) -> bool {
    evidence.call_objects.is_frame(allocation) || evidence.call_objects.is_generator(allocation)
}

fn is_loading(allocation: &Allocation) -> bool {
    let [called, caller, ..] = &*allocation.stack else {
        return false;
    };
    &*called.function == "_call_with_frames_removed" && caller.function.ends_with("create_module")
}

pub(super) fn is_pages(allocation: &Allocation) -> bool {
    is_mapping_of(allocation, ARENA_BYTES) || is_mapping_of(allocation, INTERPRETER_STACK_BYTES)
}

pub(super) fn is_mapping_of(allocation: &Allocation, size: i64) -> bool {
    &*allocation.allocator == "mmap" && allocation.size == size
}

pub(super) fn is_arena_record(allocation: &Allocation) -> bool {
    let Allocation { allocator, size, .. } = allocation;
    match &**allocator {
        "realloc" => (0..4).any(|doublings| *size == ARENA_TABLE_BYTES << doublings),
        "calloc" => ARENA_MAP_BYTES.contains(size),
        _ => false,
    }
}

fn location(allocation: &Allocation, place: &Place) -> Location {
    Location {
        file: Rc::clone(&place.file),
        line: place.line,
        allocator: Rc::clone(&allocation.allocator),
        size: allocation.size,
    }
}

fn add(difference: &mut Difference, sign: i64, allocation: &Allocation, place: &Place) {
    *difference.entry(location(allocation, place)).or_default() += sign * allocation.count;
}

fn add_all<'test, I: Iterator<Item = &'test Allocation>>(
    difference: &mut Difference,
    sign: i64,
    allocations: I,
) {
    let nowhere = Place {
        file: "".into(),
        function: "".into(),
        line: 0,
    };
    for allocation in allocations {
        add(
            difference,
            sign,
            allocation,
            allocation.stack.first().unwrap_or(&nowhere),
        );
    }
}

fn nonzero(mut difference: Difference) -> Difference {
    difference.retain(|_, count| *count != 0);
    difference
}
