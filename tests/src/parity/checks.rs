//! A program's comparison as a whole, and what speaks against it.

use std::collections::BTreeMap;

use super::{
    account::{Account, Difference, Location, sums},
    evidence::{ARENA_BYTES, Counts, Evidence, INTERPRETER_STACK_BYTES, Kind, less},
    picture::{Moment, Place},
    programs::Program,
    recordings::Recordings,
    rules::MARKED,
};

/// How far the number of what falls on lines by chance may be apart between two recordings of memray's.
const CHANCE_TOLERANCE: i64 = 4;

#[derive(Debug)]
pub struct Verdict {
    pub program: Program,
    /// In all, at the peak, leaked.
    pub(super) accounts: [Account; 3],
    /// Events of memray beside us, and those that memray made itself, which only we see.
    pub(super) beside: [(i64, i64); 2],
    /// Each a sentence.
    pub faults: Vec<String>,
}

impl Verdict {
    pub fn new(program: Program, recordings: &Recordings) -> Self {
        let evidence = |moment| Evidence::new(recordings, moment);
        let (made, peak) = (evidence(Moment::Made), evidence(Moment::Peak));
        let (end, leaked) = (evidence(Moment::End), evidence(Moment::Leaked));
        let accounts = [
            Account::new(&made),
            Account::new(&peak),
            Account::leaked(&end, &leaked),
        ];
        let mut faults = Vec::new();
        for account in &accounts {
            if !account.rest.is_empty() {
                let (count, bytes) = magnitude(&account.rest);
                faults.push(format!(
                    "{}: no rule explains {count} allocations of {bytes} bytes",
                    account.moment.name()
                ));
            }
        }
        for evidence in [&made, &peak, &end] {
            check_beside(evidence, &mut faults);
            check_chance(evidence, &mut faults);
        }
        check_stacks(recordings, &mut faults);
        Self {
            program,
            accounts,
            beside: beside(&made),
            faults,
        }
    }
}

/// In one process memray counts nothing that we do not, but for what a rule names; and what it sees of arenas and of the
/// interpreter's stack is the same as ours.
fn check_beside(evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    let name = evidence.moment.name();
    let explained = |location: &Location| {
        let is_marked = evidence
            .marker(location)
            .is_some_and(|marker| MARKED.contains(&marker));
        is_marked || is_length(&location.allocator, location.size)
    };
    for ((_, location), count) in evidence
        .beside_ours
        .iter()
        .filter(|((kind, location), _)| *kind >= Kind::Loading && !explained(location))
    {
        faults.push(format!(
            "{name}: in one process memray sees {count} that we do not: {}",
            location.text()
        ));
    }
}

/// What falls on lines by chance is about the same in number whenever memray records the program.
fn check_chance(evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    for kind in [Kind::Arena, Kind::InterpreterStack] {
        let of_kind = |counts: &Counts| -> i64 {
            let counts = counts.iter().filter(|((other, _), _)| *other == kind);
            counts.map(|(_, count)| count).sum()
        };
        let (both, alone) = (of_kind(&evidence.both_theirs), of_kind(&evidence.theirs));
        if (both - alone).abs() > CHANCE_TOLERANCE {
            let name = evidence.moment.name();
            faults.push(format!(
                "{name}: {kind:?}: memray has {alone} alone and {both} beside us"
            ));
        }
    }
}

/// Not only the innermost line: in one process whole stacks are the same, and of arenas and of the interpreter's stack
/// neither has more than the other.
fn check_stacks(recordings: &Recordings, faults: &mut Vec<String>) {
    let Recordings {
        both_ours,
        both_theirs,
        call_objects,
        ..
    } = recordings;
    let mut found = BTreeMap::<_, i64>::new();
    for (sign, picture) in [(1, both_ours), (-1, both_theirs)] {
        for allocation in &picture.allocations {
            let is_of_call = call_objects.is_frame(allocation) || call_objects.is_generator(allocation);
            let skipped = usize::from(sign == 1 && is_of_call);
            let key = (
                &allocation.stack[skipped..],
                &*allocation.allocator,
                allocation.size,
            );
            *found.entry(key).or_default() += sign * allocation.count(Moment::Made);
        }
    }
    // An arena for a small object of a call: ours is the call's line, memray's the caller's.
    let callees: Vec<_> = found
        .iter()
        .filter(|((_, allocator, size), count)| **count > 0 && is_by_chance(allocator, *size))
        .map(|(key, count)| (*key, *count))
        .collect();
    for ((stack, allocator, size), count) in callees {
        let caller = found.get_mut(&(stack.get(1..).unwrap_or_default(), allocator, size));
        if let Some(caller) = caller.filter(|caller| **caller < 0) {
            let moved = count.min(-*caller);
            *caller += moved;
            *found.entry((stack, allocator, size)).or_default() -= moved;
        }
    }
    let is_named = |stack: &[Place], allocator: &str, size: i64| {
        let place = stack
            .first()
            .filter(|place| recordings.script.path.as_os_str() == &*place.file);
        let marker = place.and_then(|place| recordings.script.marker(place.line));
        stack.is_empty()
            || is_length(allocator, size)
            || marker.is_some_and(|marker| MARKED.contains(&marker))
    };
    for ((stack, allocator, size), count) in found {
        let is_missing = count < 0 || count > 0 && is_by_chance(allocator, size);
        if is_missing && !is_named(stack, allocator, size) {
            let place = stack
                .first()
                .map(|place| format!("`{}` {}:{}", place.function, place.file, place.line));
            faults.push(format!(
                "in one process, ours less memray's of a whole stack: {count} {allocator} of {size} in {}",
                place.unwrap_or_default()
            ));
        }
    }
}

/// memray has the length that was asked for, and we the pages.
fn is_length(allocator: &str, size: i64) -> bool {
    allocator == "mmap" && size % 4096 != 0
}

fn is_by_chance(allocator: &str, size: i64) -> bool {
    allocator == "mmap" && [ARENA_BYTES, INTERPRETER_STACK_BYTES].contains(&size)
}

fn beside(evidence: &Evidence<'_>) -> [(i64, i64); 2] {
    let inside = |counts: &Counts| {
        let counts = counts.iter().filter(|((kind, _), _)| *kind != Kind::Outside);
        let counts: Vec<_> = counts.map(|((_, location), count)| (location, count)).collect();
        sums(counts.into_iter())
    };
    let ours = evidence.both_ours.as_memray_places_it();
    let mut own = less(&ours, &evidence.both_theirs);
    for (key, count) in &evidence.unseen {
        *own.entry(key.clone()).or_default() -= count;
    }
    own.retain(|_, count| *count > 0);
    [inside(&evidence.both_theirs), inside(&own)]
}

/// Allocations and bytes whichever side they are on.
pub(super) fn magnitude(difference: &Difference) -> (i64, i64) {
    difference
        .iter()
        .fold((0, 0), |(allocations, bytes), (location, count)| {
            (allocations + count.abs(), bytes + location.size * count.abs())
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::{call_objects::CallObjects, picture::of_sizes, programs::PROGRAMS},
        *,
    };
    use crate::Script;

    /// Sizes of blocks in our recording, in memray's, and in ours and memray's of one process.
    fn check(sizes: [&[i64]; 4], faults: &[&str]) {
        let script = Script::new("parity_buffers.py");
        let [ours, theirs, both_ours, both_theirs] = sizes.map(|sizes| of_sizes(&script.path, sizes));
        let recordings = Recordings {
            ours,
            theirs,
            both_ours,
            both_theirs,
            call_objects: CallObjects::default(),
            thread_locals: BTreeSet::from([4001]),
            script,
        };
        let verdict = Verdict::new(PROGRAMS[0], &recordings);
        let found: Vec<&str> = verdict
            .faults
            .iter()
            .filter_map(|fault| fault.split(": ").next())
            .collect();
        assert_eq!(found, faults, "{:?}", verdict.faults);
    }

    #[test]
    fn the_same_is_no_fault() {
        check([&[700], &[700], &[700], &[700]], &[]);
        // What memray allocates for itself is nobody's fault.
        check([&[700], &[700], &[700, 90], &[700]], &[]);
    }

    #[test]
    fn one_allocation_is_noticed() {
        const ALONE: [&str; 3] = ["in all", "at the peak", "leaked"];
        check([&[700, 600], &[700], &[700], &[700]], &ALONE);
        check([&[701], &[700], &[700], &[700]], &ALONE);
        check([&[700], &[700, 600], &[700], &[700]], &ALONE);
        // Seen by us alone in one process as well, and still for no reason.
        check([&[700, 600], &[700], &[700, 600], &[700]], &ALONE);
    }

    #[test]
    fn what_only_memray_sees_in_one_process_is_a_fault() {
        const BESIDE: [&str; 4] = [
            "in all",
            "at the peak",
            "at the end",
            "in one process, ours less memray's of a whole stack",
        ];
        check([&[700], &[700], &[700], &[700, 600]], &BESIDE);
    }

    #[test]
    fn thread_local_variables_are_explained_by_their_size() {
        check([&[700, 4001], &[700], &[700, 4001], &[700]], &[]);
    }
}
