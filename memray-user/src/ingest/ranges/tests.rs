use proptest::prelude::*;

use super::*;

const PAGE: u64 = PAGE_BYTES;
const BASE: u64 = 0x7000_0000_0000;

/// Number of a page as an index.
fn at(page: u64) -> usize {
    usize::try_from(page).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// First page and number of pages.
    Map(u64, u64),
    Unmap(u64, u64),
}
use Step::{Map, Unmap};

/// A set driven like the caller does: what overlaps a new mapping ends first.
#[derive(Default)]
struct Driver {
    ranges: Ranges,
    changes: Changes,
    ended: Vec<EndedPart>,
    last_id: AllocationId,
    mappings: u32,
}

impl Driver {
    fn remove(&mut self, address: u64, size_bytes: u64) {
        let last_id = &mut self.last_id;
        let next_id = |_, _| {
            *last_id += 1;
            *last_id
        };
        self.ranges
            .remove(address, size_bytes, next_id, &mut self.changes);
        self.ended.extend(&self.changes.ended);
    }

    fn map(&mut self, address: u64, size_bytes: u64) {
        self.remove(address, size_bytes);
        self.last_id += 1;
        self.mappings += 1;
        let owner = Owner {
            site: self.mappings,
            alloc_ts: 0,
            sequence: 0,
        };
        self.ranges.insert(address, size_bytes, self.last_id, owner);
    }

    fn step(&mut self, step: Step) {
        match step {
            Map(first, count) => self.map(BASE + first * PAGE, count * PAGE),
            Unmap(first, count) => self.remove(BASE + first * PAGE, count * PAGE),
        }
    }

    /// Pieces as (first byte, bytes, mapping), the first byte counted from the base.
    fn pieces(&self) -> Vec<(u64, u64, u32)> {
        self.ranges
            .pieces
            .keys()
            .map(|&address| self.ranges.piece(address).unwrap())
            .map(|piece| (piece.address - BASE, piece.size_bytes, piece.owner.site))
            .collect()
    }
}

/// `expect`: pieces left, in pages.
fn check(steps: &[Step], expect: &[(u64, u64, u32)], ended_mappings: usize) {
    let mut driver = Driver::default();
    for &step in steps {
        driver.step(step);
    }
    let pages: Vec<_> = driver
        .pieces()
        .iter()
        .map(|&(start, size, site)| (start / PAGE, size / PAGE, site))
        .collect();
    assert_eq!(pages, expect, "{steps:?}");
    assert_eq!(
        driver.ended.iter().filter(|part| part.mapping_ended).count(),
        ended_mappings,
        "{steps:?}"
    );
}

#[test]
fn munmap_cases_of_memray() {
    check(
        &[Map(0, 2), Unmap(0, 1), Map(20, 10)],
        &[(1, 1, 1), (20, 10, 2)],
        0,
    );
    check(
        &[Map(0, 4), Unmap(0, 1), Unmap(3, 1), Map(20, 10)],
        &[(1, 2, 1), (20, 10, 2)],
        0,
    );
    check(
        &[Map(0, 4), Map(4, 4), Unmap(0, 8), Map(20, 10)],
        &[(20, 10, 3)],
        2,
    );
    check(
        &[
            Map(0, 2),
            Map(2, 2),
            Map(4, 2),
            Map(6, 2),
            Unmap(0, 4),
            Unmap(4, 4),
            Map(20, 10),
        ],
        &[(20, 10, 5)],
        4,
    );
    check(
        &[Map(0, 5), Unmap(1, 1), Unmap(3, 1)],
        &[(0, 1, 1), (2, 1, 1), (4, 1, 1)],
        0,
    );
    check(&[Map(0, 8), Unmap(1, 1)], &[(0, 1, 1), (2, 6, 1)], 0);
}

#[test]
fn mappings_over_mappings_replace_them() {
    check(&[Map(0, 4), Map(0, 4), Map(0, 4)], &[(0, 4, 3)], 2);
    check(&[Map(0, 4), Map(1, 2)], &[(0, 1, 1), (1, 2, 2), (3, 1, 1)], 0);
    check(
        &[Map(0, 2), Map(2, 2), Map(1, 2)],
        &[(0, 1, 1), (1, 2, 3), (3, 1, 2)],
        0,
    );
    check(&[Map(1, 2), Map(4, 1), Map(0, 8)], &[(0, 8, 3)], 2);
}

#[test]
fn nothing_happens_where_nothing_is() {
    check(&[Unmap(0, 8)], &[], 0);
    check(
        &[Map(2, 2), Unmap(0, 2), Unmap(4, 1), Unmap(2, 0)],
        &[(2, 2, 1)],
        0,
    );
    check(&[Map(0, 0)], &[], 0);
}

#[test]
fn lengths_count_as_asked_and_end_in_whole_pages() {
    let mut driver = Driver::default();
    driver.map(BASE, 2048);
    driver.map(BASE + PAGE, PAGE + 904);
    assert_eq!(driver.pieces(), [(0, 2048, 1), (PAGE, PAGE + 904, 2)]);
    driver.remove(BASE, 1);
    driver.remove(BASE + PAGE, 100);
    assert_eq!(driver.pieces(), [(2 * PAGE, 904, 2)]);
    assert!(driver.ended[0].whole && driver.ended[0].mapping_ended && driver.ended[0].size_bytes == 2048);
    assert!(!driver.ended[1].whole && !driver.ended[1].mapping_ended);
}

#[test]
fn the_end_of_the_address_space_is_no_end_of_the_program() {
    let mut driver = Driver::default();
    driver.map(u64::MAX - 10, u64::MAX);
    driver.remove(u64::MAX - 5, u64::MAX);
    driver.remove(0, u64::MAX);
    assert!(driver.ranges.pieces.is_empty());
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), 0_u64..32, 0_u64..8).prop_map(|(map, first, count)| {
        if map {
            Map(first, count)
        } else {
            Unmap(first, count)
        }
    });
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// The oracle is an array that names the mapping of each page.
    #[test]
    fn agrees_with_an_array_of_pages(steps in steps()) {
        let mut driver = Driver::default();
        let mut pages = [0_u32; 48];
        for step in steps {
            let before = pages;
            driver.ended.clear();
            driver.step(step);
            let (first, count, site) = match step {
                Map(first, count) => (first, count, driver.mappings),
                Unmap(first, count) => (first, count, 0),
            };
            pages[at(first)..at(first + count)].fill(site);
            let mut shown = [0_u32; 48];
            for (start, size, site) in driver.pieces() {
                shown[at(start / PAGE)..at((start + size) / PAGE)].fill(site);
            }
            prop_assert_eq!(shown, pages);
            for mapping in 1..=driver.mappings {
                let count = |pages: &[u32]| pages.iter().filter(|&&owner| owner == mapping).count() as u64;
                let gone: Vec<_> = driver.ended.iter().filter(|part| part.owner.site == mapping).collect();
                let gone_bytes: u64 = gone.iter().map(|part| part.size_bytes).sum();
                // The mapping that this step made has lost nothing.
                let lost_pages = count(&before).saturating_sub(count(&pages));
                prop_assert_eq!(gone_bytes, lost_pages * PAGE);
                let ends = gone.iter().filter(|part| part.mapping_ended).count();
                prop_assert_eq!(ends, usize::from(count(&before) > 0 && count(&pages) == 0));
            }
            for address in 0..48 {
                let expect = pages[at(address)] != 0;
                prop_assert_eq!(driver.ranges.first_owner(BASE + address * PAGE, 1).is_some(), expect);
                prop_assert!(driver.ranges.first_owner(BASE + address * PAGE, 0).is_none());
            }
        }
    }
}
