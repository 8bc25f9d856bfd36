//! What differs, place by place, and what each rule makes of it.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    evidence::Evidence,
    picture::{Allocation, Moment, Place},
    rules::{RULES, SHUT_DOWN, TABLES},
    tables::tables_of,
};

/// Where an allocation is counted: the innermost frame, the allocator, the size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub file: Rc<str>,
    pub function: Rc<str>,
    pub line: u32,
    pub allocator: Rc<str>,
    pub size: i64,
}

/// Ours less theirs.
pub(super) type Difference = BTreeMap<Location, i64>;

#[derive(Debug)]
pub(super) struct Account {
    pub moment: Moment,
    /// Allocations and bytes, ours and memray's.
    pub sums: [(i64, i64); 2],
    /// All that differs.
    pub difference: Difference,
    /// In the order of [`RULES`].
    pub explained: Vec<(&'static str, Difference)>,
    /// What no rule speaks of.
    pub rest: Difference,
}

impl Account {
    pub(super) fn new(evidence: &Evidence<'_>) -> Self {
        let explained: Vec<_> = RULES
            .iter()
            .map(|rule| (rule.name, nonzero((rule.explain)(evidence))))
            .collect();
        Self::of_parts(evidence, evidence.difference(), explained)
    }

    /// The rules speak of what is alive at the end of the program. What happens to it later is the interpreter's doing,
    /// and each recording says what that was.
    pub(super) fn leaked(end: &Evidence<'_>, leaked: &Evidence<'_>) -> Self {
        let mut shut_down = leaked.difference();
        for (location, count) in end.difference() {
            *shut_down.entry(location).or_default() -= count;
        }
        let mut explained = Self::new(end).explained;
        explained.retain(|(name, _)| *name != SHUT_DOWN);
        explained.push((SHUT_DOWN, nonzero(shut_down)));
        Self::of_parts(leaked, leaked.difference(), explained)
    }

    fn of_parts(
        evidence: &Evidence<'_>,
        difference: Difference,
        mut explained: Vec<(&'static str, Difference)>,
    ) -> Self {
        let mut rest = difference.clone();
        for (location, count) in explained.iter().flat_map(|(_, difference)| difference) {
            *rest.entry(location.clone()).or_default() -= count;
        }
        let mut rest = nonzero(rest);
        let tables = tables_of(&rest);
        rest.retain(|location, _| !tables.contains_key(location));
        explained.retain(|(name, _)| *name != TABLES);
        explained.push((TABLES, tables));
        Self {
            moment: evidence.moment,
            sums: evidence.sums(),
            difference,
            explained,
            rest,
        }
    }
}

impl Location {
    pub(super) fn new(allocation: &Allocation, place: Option<&Place>) -> Self {
        let nothing = || Rc::from("");
        Self {
            file: place.map_or_else(nothing, |place| Rc::clone(&place.file)),
            function: place.map_or_else(nothing, |place| Rc::clone(&place.function)),
            line: place.map_or(0, |place| place.line),
            allocator: Rc::clone(&allocation.allocator),
            size: allocation.size,
        }
    }

    pub(super) fn text(&self) -> String {
        let Self {
            file,
            function,
            line,
            allocator,
            size,
        } = self;
        format!("{allocator} of {size} in `{function}` {file}:{line}")
    }
}

/// Allocations and bytes.
pub(super) fn sums<'a>(difference: impl Iterator<Item = (&'a Location, &'a i64)>) -> (i64, i64) {
    difference.fold((0, 0), |(allocations, bytes), (location, count)| {
        (allocations + count, bytes + location.size * count)
    })
}

pub(super) fn nonzero(mut difference: Difference) -> Difference {
    difference.retain(|_, count| *count != 0);
    difference
}
