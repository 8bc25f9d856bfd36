//! Hash tables of dictionaries and sets, recognized by their sizes.
//!
//! A table grows when it is full. Where memray has used a cache of a library before the program does, it has grown already;
//! where keys are addresses of objects, which slots are used again, and so when it is full, depends on the addresses.

use super::account::Difference;

/// No program has more of them than a few: each is one growth of one table.
const MOST: usize = 16;
/// Tables up to here come from pymalloc.
const MIN_BYTES: i64 = 513;

/// What of the rest is the growth of tables: one of a size at a line, and few in all; else nothing.
pub(super) fn tables_of(rest: &Difference) -> Difference {
    let tables: Difference = rest
        .iter()
        .filter(|(location, count)| {
            &*location.allocator == "malloc" && count.abs() == 1 && is_table(location.size)
        })
        .map(|(location, count)| (location.clone(), *count))
        .collect();
    if tables.len() > MOST {
        Difference::new()
    } else {
        tables
    }
}

fn is_table(size: i64) -> bool {
    size >= MIN_BYTES && (3..28).any(|bits| dictionaries(bits).contains(&size) || size == set(bits))
}

/// Keys of a dictionary with 2^`bits` slots (`new_keys_object`, Objects/dictobject.c, 3.11 and later): a header, an index
/// for each slot, and an entry for two thirds of them, with the hash or, where all keys are text, without.
fn dictionaries(bits: u32) -> [i64; 2] {
    const HEADER_BYTES: i64 = 32;
    let slots = 1_i64 << bits;
    let index_bytes = match bits {
        ..8 => 1,
        8..16 => 2,
        _ => 4,
    };
    let entries = (slots << 1) / 3;
    [24, 16].map(|entry_bytes| HEADER_BYTES + slots * index_bytes + entries * entry_bytes)
}

/// Slots of a set (`setentry`, Include/cpython/setobject.h): a key and its hash.
fn set(bits: u32) -> i64 {
    16 << bits
}

#[cfg(test)]
mod tests {
    use super::{super::account::Location, *};

    fn check(sizes: &[(i64, i64)], expected: usize) {
        let location = |size| Location {
            file: "/a.py".into(),
            function: "f".into(),
            line: 1,
            allocator: "malloc".into(),
            size,
        };
        let rest = sizes
            .iter()
            .map(|&(size, count)| (location(size), count))
            .collect();
        assert_eq!(tables_of(&rest).len(), expected);
    }

    #[test]
    fn sizes_are_those_of_tables() {
        // 32, 128, 256 and 512 slots; 64 of text; a set of 64.
        check(
            &[(568, 1), (2200, -1), (4624, 1), (9240, 1), (768, 1), (1024, 1)],
            6,
        );
        check(&[(569, 1), (2199, 1), (767, 1), (513, 1), (416, 1)], 0);
    }

    #[test]
    fn more_than_single_growth_is_not_explained() {
        check(&[(768, 2)], 0);
        let many: Vec<(i64, i64)> = (6..24).map(|bits| (16 << bits, 1)).collect();
        check(&many, 0);
    }
}
