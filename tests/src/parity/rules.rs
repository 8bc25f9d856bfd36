//! Why figures differ: each rule explains the allocations that it names, and no others.
//!
//! A rule says by how much ours exceeds theirs at which locations, for a reason of its own; its name is a heading of
//! `docs/concepts/differences.md`. What is left when all have spoken must be nothing.

use super::{
    account::{Difference, Location},
    evidence::{Counts, Evidence, Kind, less},
};

#[derive(Debug)]
pub(super) struct Rule {
    pub name: &'static str,
    pub(super) explain: fn(&Evidence<'_>) -> Difference,
}

/// Explained by what is alive at the end of the program and not at the end of the recording, or the other way round.
pub(super) const SHUT_DOWN: &str = "While the interpreter shuts down";
/// Explained last, by what all others leave.
pub(super) const TABLES: &str = "Tables that have grown elsewhere";
const LOADER: &str = "The dynamic loader";
const NEW_THREADS: &str = "The beginning of a thread";
const PAGE_BYTES: i64 = 4096;
/// Up to here objects come from pymalloc (`SMALL_REQUEST_THRESHOLD`, `Include/internal/pycore_obmalloc.h`).
const PYMALLOC_MAX_BYTES: i64 = 512;
/// A lock of a thread: `sem_t` on x86-64.
const LOCK_BYTES: i64 = 32;

/// Rules whose names are those of lines in a program.
pub(super) const MARKED: [&str; 5] = [
    "Calls by other ways",
    "Growth by `mremap`",
    "Mappings over mappings",
    "Files and reservations",
    "`realloc(p, 0)` as a free",
];

pub(super) const RULES: &[Rule] = &[
    rule("Before and after the program", outside),
    rule("Modules that memray has imported", imports),
    rule("Frame objects for the profile function", frame_objects),
    rule("Generators, made before the call is seen", generators),
    rule("Arenas of pymalloc", arenas),
    rule("Pieces of the interpreter's own stack", interpreter_stack),
    rule(LOADER, loader),
    rule(NEW_THREADS, |evidence| unseen(evidence, NEW_THREADS)),
    rule("Who waits for whom", waits),
    rule("Decimals leave pymalloc", decimals),
    rule("Whole pages", whole_pages),
    rule(MARKED[0], |evidence| marked(evidence, MARKED[0])),
    rule(MARKED[1], |evidence| marked(evidence, MARKED[1])),
    rule(MARKED[2], |evidence| marked(evidence, MARKED[2])),
    rule(MARKED[3], |evidence| marked(evidence, MARKED[3])),
    rule(MARKED[4], |evidence| marked(evidence, MARKED[4])),
    // Their amounts come from elsewhere: see `Account`.
    rule(SHUT_DOWN, |_| Difference::new()),
    rule(TABLES, |_| Difference::new()),
];

const fn rule(name: &'static str, explain: fn(&Evidence<'_>) -> Difference) -> Rule {
    Rule { name, explain }
}

/// memray's runner reads and compiles the program under its eyes and stops before the interpreter ends; we begin with
/// the program's first line and go on to the end of the process.
fn outside(evidence: &Evidence<'_>) -> Difference {
    alone(evidence, Kind::Outside)
}

/// What an import allocates that does nothing once memray has imported the module: ours alone less what an import
/// allocates beside memray, which is what both see there and what only we see.
fn imports(evidence: &Evidence<'_>) -> Difference {
    let is_import =
        |((kind, _), _): &(&(Kind, Location), &i64)| matches!(kind, Kind::Loading | Kind::Importing);
    let mut found = Difference::new();
    let both_ours = &evidence.both_ours;
    let of_calls = both_ours.frames.moved.iter().chain(&both_ours.generators.moved);
    add(&mut found, 1, evidence.ours.plain.iter().filter(is_import));
    add(&mut found, -1, evidence.both_theirs.iter().filter(is_import));
    let has_reason = |(key, _): &(&(Kind, Location), &i64)| why_unseen(evidence, key).is_some();
    let of_other_rules = evidence.unseen.iter().filter(has_reason);
    add(&mut found, -1, of_other_rules.filter(is_import));
    add(&mut found, 1, of_calls.filter(is_import));
    found
}

/// CPython makes a frame object for each call once there is a profile function, as memray's; it makes it before the
/// function is called, so memray counts it where the caller is.
fn frame_objects(evidence: &Evidence<'_>) -> Difference {
    let mut found = evidence.ours.frames.here.clone();
    add(&mut found, -1, evidence.both_ours.frames.moved.iter());
    found
}

/// The object of a generator is made inside of its function, before the profile function hears of the call: ours is
/// the generator's line, memray's the caller's.
fn generators(evidence: &Evidence<'_>) -> Difference {
    let mut found = evidence.ours.generators.here.clone();
    add(&mut found, -1, evidence.both_ours.generators.moved.iter());
    found
}

/// An arena is mapped by whichever small object finds no free pool. Where that is depends on all that was allocated
/// before; only the number can be compared. The records that pymalloc keeps of arenas grow with the arena for which
/// there is no place left.
fn arenas(evidence: &Evidence<'_>) -> Difference {
    alone(evidence, Kind::Arena)
}

/// Frames of Python functions lie in pieces of 16 KiB. A piece is mapped by the call that finds the last one full;
/// which call that is depends on the depth, and under memray there are the runner's frames below.
fn interpreter_stack(evidence: &Evidence<'_>) -> Difference {
    alone(evidence, Kind::InterpreterStack)
}

/// memray puts itself before the calls of each library when `dlopen` has returned, and never before those of the
/// dynamic loader: what that allocates itself, and what constructors of libraries do. To them belong a thread's tables of
/// thread-local variables, the larger the more libraries there are: memray's presence changes their size. A line at which
/// the C library loads another by itself is marked.
fn loader(evidence: &Evidence<'_>) -> Difference {
    let mut found = unseen(evidence, LOADER);
    let is_table =
        |location: &Location| &*location.allocator == "calloc" && is_in_threading(location, &["start"]);
    let tables = |counts: &Counts| -> i64 {
        let tables = counts.iter().filter(|((_, location), _)| is_table(location));
        tables.map(|(_, count)| count).sum()
    };
    let are_unseen = tables(&evidence.both_ours.plain) > tables(&evidence.both_theirs);
    for (key, count) in &evidence.ours.plain {
        let seen = evidence.both_theirs.get(key).copied().unwrap_or_default();
        let is_alone =
            seen == 0 && !evidence.theirs.contains_key(key) && evidence.marker(&key.1) == Some(LOADER);
        // How many tables there are depends on whether a thread that has ended leaves its own to the next.
        if is_alone || are_unseen && is_table(&key.1) {
            found.insert(key.1.clone(), count - seen);
        }
    }
    found
}

/// A thread that waits for another makes a lock for it, unless the other has done already.
fn waits(evidence: &Evidence<'_>) -> Difference {
    let mut found = evidence.difference();
    found.retain(|location, _| location.size == LOCK_BYTES && is_in_threading(location, &["wait"]));
    found
}

/// `_decimal` keeps the allocator functions of its library in variables, which CPython sets to pymalloc's. memray takes
/// them for entries by which the library calls `malloc`, and rewrites them: decimals come from `malloc` then, as we see
/// too.
fn decimals(evidence: &Evidence<'_>) -> Difference {
    let both_ours = evidence.both_ours.as_memray_places_it();
    let mut found = Difference::new();
    for (key, count) in &evidence.both_theirs {
        let (kind, location) = key;
        let is_small = *kind == Kind::Program && location.size <= PYMALLOC_MAX_BYTES;
        let is_real = both_ours.get(key) >= Some(count) && !evidence.ours.plain.contains_key(key);
        if is_small && is_real && names_decimals(location) {
            found.insert(location.clone(), -count);
        }
    }
    found
}

/// memray records the length that `mmap` was given, we the pages.
fn whole_pages(evidence: &Evidence<'_>) -> Difference {
    let mut found = Difference::new();
    for ((kind, location), count) in &evidence.unshared {
        let whole = Location {
            size: (location.size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
            ..location.clone()
        };
        if &*location.allocator != "mmap" || whole.size == location.size {
            continue;
        }
        let unseen = evidence.unseen.get(&(*kind, whole.clone())).copied();
        let count = unseen.unwrap_or_default().min(*count);
        *found.entry(whole).or_default() += count;
        *found.entry(location.clone()).or_default() -= count;
    }
    found
}

/// What only one of the two sees at a line of which the program says what it is.
fn marked(evidence: &Evidence<'_>, name: &str) -> Difference {
    let is_marked = |((_, location), _): &(&(Kind, Location), &i64)| evidence.marker(location) == Some(name);
    let mut found = unseen(evidence, name);
    add(&mut found, -1, evidence.unshared.iter().filter(is_marked));
    found
}

/// What only we see for the reason that the rule has.
fn unseen(evidence: &Evidence<'_>, name: &str) -> Difference {
    let mut found = Difference::new();
    let has_name = |(key, _): &(&(Kind, Location), &i64)| why_unseen(evidence, key) == Some(name);
    add(&mut found, 1, evidence.unseen.iter().filter(has_name));
    found
}

/// Why memray does not see what we see in the same process.
fn why_unseen(evidence: &Evidence<'_>, (kind, location): &(Kind, Location)) -> Option<&'static str> {
    // memray's profile function is set after these: it has no stack before, and counts what they allocate under none.
    const BEFORE_PROFILE: [&str; 4] = ["_bootstrap", "_bootstrap_inner", "_set_ident", "_set_tstate_lock"];
    if let Some(marker) = evidence.marker(location)
        && let Some(name) = MARKED.iter().find(|name| **name == marker)
    {
        return Some(name);
    }
    let is_thread_local = &*location.allocator == "malloc" && evidence.thread_locals.contains(&location.size);
    // A block for thread-local variables is made at their first use by a thread and lives as long as that.
    let is_first_use = is_thread_local && evidence.made_once.contains(location);
    if *kind == Kind::Loading || is_first_use {
        return Some(LOADER);
    }
    is_in_threading(location, &BEFORE_PROFILE).then_some(NEW_THREADS)
}

fn is_in_threading(location: &Location, functions: &[&str]) -> bool {
    location.file.ends_with("/threading.py") && functions.contains(&&*location.function)
}

fn names_decimals(location: &Location) -> bool {
    std::fs::read_to_string(&*location.file)
        .is_ok_and(|source| source.contains("import decimal") || source.contains("from decimal import"))
}

/// All of a kind, as each of the two has it alone.
fn alone(evidence: &Evidence<'_>, kind: Kind) -> Difference {
    let mut found = Difference::new();
    let different: Counts = less(&evidence.ours.plain, &evidence.theirs);
    add(
        &mut found,
        1,
        different.iter().filter(|((other, _), _)| *other == kind),
    );
    found
}

fn add<'a>(
    difference: &mut Difference,
    sign: i64,
    counts: impl Iterator<Item = (&'a (Kind, Location), &'a i64)>,
) {
    for ((_, location), count) in counts {
        *difference.entry(location.clone()).or_default() += sign * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_documentation_explains_each_rule() {
        let path = workspace().join("docs/concepts/differences.md");
        let text = std::fs::read_to_string(path).expect("the documentation is there");
        let (_, rules) = text
            .split_once("\n## The rules\n")
            .expect("there is a chapter of the rules");
        let (rules, _) = rules.split_once("\n## ").unwrap_or((rules, ""));
        let headings: Vec<&str> = rules
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(headings, names);
    }
}
