//! Random streams of events against a model that does everything the slow way: it searches lists, keeps an owner
//! for each page, and copies what is alive at every new peak.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{Harness, PAGE, Step};
use crate::{
    ingest::{ScriptStart, maps::Accounting},
    model::{Allocator, MappingKind, MappingTotalsRow},
};

/// Line, thread, allocator.
type Place = (u64, u32, Allocator);
/// Bytes and count.
type Figures = BTreeMap<Place, (u64, u64)>;

#[derive(Clone, Copy, Debug)]
struct Thing {
    place: Place,
    /// None for a mapping.
    address: Option<u64>,
    /// None for heap.
    kind: Option<MappingKind>,
    size: u64,
    /// Number in its thread.
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unmapping {
    page: u64,
    pages: u64,
    /// What the old range is, if anything.
    was: Option<Accounting>,
    applied: bool,
}

#[derive(Debug, Default)]
struct Naive {
    /// All that was ever made; what is alive is in `alive` with its bytes.
    things: Vec<Thing>,
    alive: BTreeMap<usize, u64>,
    pages: BTreeMap<u64, usize>,
    frees: BTreeMap<u32, (u64, Option<usize>)>,
    unmaps: BTreeMap<u32, Unmapping>,
    made: BTreeMap<u32, u64>,
    temporary: Figures,
    peak_bytes: u64,
    peak: Figures,
    freed_bytes: u64,
    /// Bytes beside the heap that have ended, by kind.
    ended_beside: BTreeMap<MappingKind, u64>,
    /// What was beside the heap at its peak.
    beside_at_peak: BTreeMap<MappingKind, u64>,
}

impl Naive {
    fn step(&mut self, step: Step) {
        match step {
            Step::Alloc {
                tid,
                address,
                size,
                line,
            } => {
                self.settle(tid);
                self.block(tid, Allocator::Malloc, address, size, line);
            }
            Step::AllocWith {
                tid,
                allocator,
                address,
                size,
                line,
            } => {
                self.settle(tid);
                self.block(tid, allocator, address, size, line);
            }
            Step::ReallocReturn {
                tid,
                address,
                size,
                line,
            } => {
                self.settle(tid);
                self.block(tid, Allocator::Realloc, address, size, line);
            }
            Step::Free { tid, address } => {
                self.settle(tid);
                if let Some(thing) = self.find(address) {
                    self.end(thing);
                }
            }
            Step::ReallocEnter { tid, address } => {
                self.settle(tid);
                self.frees.insert(tid, (address, self.find(address)));
            }
            Step::ReallocUndone { tid, address } => {
                if self.frees.get(&tid).is_some_and(|free| free.0 == address) {
                    self.frees.remove(&tid);
                }
            }
            _ => self.mapping_step(step),
        }
    }

    fn mapping_step(&mut self, step: Step) {
        match step {
            Step::Map {
                tid,
                page,
                pages,
                line,
            } => {
                self.settle(tid);
                self.mapping((tid, Allocator::Mmap), (page, pages), Some((line, None)));
            }
            Step::MapBeside {
                tid,
                kind,
                page,
                pages,
                line,
            } => {
                self.settle(tid);
                self.mapping((tid, Allocator::Mmap), (page, pages), Some((line, Some(kind))));
            }
            Step::Protect {
                tid,
                is_usable,
                page,
                pages,
                line,
            } => {
                self.settle(tid);
                if is_usable {
                    self.commit(tid, page, pages, line);
                }
            }
            Step::Unmap { tid, page, pages } => {
                self.settle(tid);
                self.unmap(page, pages);
            }
            Step::MremapEnter { tid, page, pages } => {
                self.settle(tid);
                let things = || (page..page + pages).filter_map(|page| self.pages.get(&page));
                let kinds = || things().map(|&thing| self.things[thing].kind);
                let was = if kinds().any(|kind| kind.is_none()) {
                    Some(Accounting::Heap)
                } else {
                    kinds().flatten().next().map(Accounting::Beside)
                };
                self.unmaps.insert(
                    tid,
                    Unmapping {
                        page,
                        pages,
                        was,
                        applied: false,
                    },
                );
            }
            Step::MremapReturn {
                tid,
                page,
                pages,
                line,
            } => {
                let was = self.unmaps.get(&tid).and_then(|old| old.was);
                self.settle(tid);
                self.mapping(
                    (tid, Allocator::Mremap),
                    (page, pages),
                    was.map(|was| (line, kind_of(was))),
                );
            }
            Step::MremapUndone { tid } => {
                self.unmaps.remove(&tid);
            }
            _ => {}
        }
    }

    fn find(&self, address: u64) -> Option<usize> {
        self.alive
            .keys()
            .copied()
            .find(|&thing| self.things[thing].address == Some(address))
    }

    fn settle(&mut self, tid: u32) {
        if let Some((_, Some(thing))) = self.frees.remove(&tid)
            && self.alive.contains_key(&thing)
        {
            self.end(thing);
        }
        if let Some(old) = self.unmaps.remove(&tid)
            && !old.applied
        {
            self.unmap(old.page, old.pages);
        }
    }

    fn finish(&mut self) {
        for tid in 0..1000 {
            self.settle(tid);
        }
    }

    fn block(&mut self, tid: u32, allocator: Allocator, address: u64, size: u64, line: u64) {
        if let Some(old) = self.find(address) {
            self.end(old);
        }
        let sequence = self.next(tid);
        self.make(Thing {
            place: (line, tid, allocator),
            address: Some(address),
            kind: None,
            size,
            sequence,
        });
    }

    fn mapping(
        &mut self,
        (tid, allocator): (u32, Allocator),
        (page, pages): (u64, u64),
        what: Option<(u64, Option<MappingKind>)>,
    ) {
        let crossing =
            |old: &&mut Unmapping| !old.applied && old.page < page + pages && page < old.page + old.pages;
        let mut applied = Vec::new();
        for old in self.unmaps.values_mut().filter(crossing) {
            old.applied = true;
            applied.push((old.page, old.pages));
        }
        for (page, pages) in applied {
            self.unmap(page, pages);
        }
        self.unmap(page, pages);
        if let Some((line, kind)) = what.filter(|_| pages > 0) {
            self.add_pages((tid, allocator), (page, pages), (line, kind));
        }
    }

    /// Reserved pages become heap; each run of them is one thing.
    fn commit(&mut self, tid: u32, page: u64, pages: u64, line: u64) {
        let is_reserved = |page: &u64| {
            let thing = self.pages.get(page);
            thing.is_some_and(|&thing| self.things[thing].kind == Some(MappingKind::Reserved))
        };
        let reserved: Vec<u64> = (page..page + pages).filter(is_reserved).collect();
        for &page in &reserved {
            self.unmap(page, 1);
        }
        for run in reserved.chunk_by(|left, right| left + 1 == *right) {
            let range = (run[0], u64::try_from(run.len()).unwrap());
            self.add_pages((tid, Allocator::Mprotect), range, (line, None));
        }
    }

    fn add_pages(
        &mut self,
        (tid, allocator): (u32, Allocator),
        (page, pages): (u64, u64),
        (line, kind): (u64, Option<MappingKind>),
    ) {
        let sequence = if kind.is_none() { self.next(tid) } else { 0 };
        let place = (line, tid, allocator);
        let thing = self.make(Thing {
            place,
            address: None,
            kind,
            size: pages * PAGE,
            sequence,
        });
        self.pages.extend((page..page + pages).map(|page| (page, thing)));
    }

    fn next(&mut self, tid: u32) -> u64 {
        let made = self.made.entry(tid).or_default();
        *made += 1;
        *made
    }

    fn make(&mut self, thing: Thing) -> usize {
        let index = self.things.len();
        self.things.push(thing);
        self.alive.insert(index, thing.size);
        let heap = self
            .alive
            .iter()
            .filter(|&(&index, _)| self.things[index].kind.is_none());
        let live_bytes: u64 = heap.map(|(_, bytes)| bytes).sum();
        if thing.kind.is_none() && live_bytes >= self.peak_bytes {
            self.peak_bytes = live_bytes;
            self.peak = self.live();
            self.beside_at_peak = self.beside();
        }
        index
    }

    fn unmap(&mut self, first: u64, count: u64) {
        let mut lost: BTreeMap<usize, u64> = BTreeMap::new();
        for page in first..first + count {
            if let Some(thing) = self.pages.remove(&page) {
                *lost.entry(thing).or_default() += PAGE;
            }
        }
        for (thing, bytes) in lost {
            let kind = self.things[thing].kind;
            if bytes == self.things[thing].size && kind.is_none() {
                self.end(thing);
                continue;
            }
            match kind {
                Some(kind) => *self.ended_beside.entry(kind).or_default() += bytes,
                None => self.freed_bytes += bytes,
            }
            let left = self.alive.get_mut(&thing).unwrap();
            *left -= bytes;
            if *left == 0 {
                self.alive.remove(&thing);
            }
        }
    }

    /// A thing ends whole.
    fn end(&mut self, index: usize) {
        let thing = self.things[index];
        self.freed_bytes += self.alive.remove(&index).unwrap();
        if self.made[&thing.place.1] - thing.sequence <= 1 {
            let figures = self.temporary.entry(thing.place).or_default();
            *figures = (figures.0 + thing.size, figures.1 + 1);
        }
    }

    fn live(&self) -> Figures {
        let mut live = Figures::new();
        for (&index, &bytes) in &self.alive {
            if self.things[index].kind.is_some() {
                continue;
            }
            let figures = live.entry(self.things[index].place).or_default();
            *figures = (figures.0 + bytes, figures.1 + 1);
        }
        live
    }
}

impl Naive {
    /// What is mapped beside the heap.
    fn beside(&self) -> BTreeMap<MappingKind, u64> {
        let mut beside = BTreeMap::new();
        for (&index, &bytes) in &self.alive {
            if let Some(kind) = self.things[index].kind {
                *beside.entry(kind).or_default() += bytes;
            }
        }
        beside
    }
}

fn kind_of(accounting: Accounting) -> Option<MappingKind> {
    match accounting {
        Accounting::Heap => None,
        Accounting::Beside(kind) => Some(kind),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (tid, address, size, line) = (100_u32..103, 1_u64..6, 0_u64..4, 1_u64..4);
    let (page, pages) = (0_u64..12, 0_u64..5);
    (0_u8..19, tid, address, size, line, page, pages).prop_map(
        |(kind, tid, address, size, line, page, pages)| match kind {
            0..=2 => Step::Alloc {
                tid,
                address,
                size: size * PAGE,
                line,
            },
            3 => Step::AllocWith {
                tid,
                allocator: Allocator::Calloc,
                address,
                size,
                line,
            },
            4..=6 => Step::Free { tid, address },
            7 => Step::ReallocEnter { tid, address },
            8 => Step::ReallocReturn {
                tid,
                address,
                size,
                line,
            },
            9 => Step::ReallocUndone { tid, address },
            10 => Step::Map {
                tid,
                page,
                pages,
                line,
            },
            11 => Step::MapBeside {
                tid,
                kind: MappingKind::ALL[usize::try_from(size).unwrap()],
                page,
                pages,
                line,
            },
            17 | 18 => Step::Protect {
                tid,
                is_usable: size > 0,
                page,
                pages,
                line,
            },
            12 => Step::Unmap { tid, page, pages },
            13 => Step::MremapEnter { tid, page, pages },
            14 => Step::MremapReturn {
                tid,
                page,
                pages,
                line,
            },
            15 => Step::MremapUndone { tid },
            _ => Step::Batch {
                ns: size * 300_000_000,
            },
        },
    )
}

fn figures(run: &Harness, of: impl Fn(&crate::model::SiteRow) -> (u64, u64)) -> Figures {
    let sites = run.store.sites.values().map(|site| {
        let (line, tid) = run.place(site);
        ((line, tid, site.allocator), of(site))
    });
    sites.filter(|(_, (_, count))| *count > 0).collect()
}

fn compare(run: &Harness, naive: &Naive) {
    assert_eq!(figures(run, |site| run.store.peak_of(site)), naive.peak);
    assert_eq!(
        figures(run, |site| (site.live_bytes, site.live_count)),
        naive.live()
    );
    assert_eq!(
        figures(run, |site| (site.temp_bytes, site.temp_count)),
        naive.temporary
    );
    assert_eq!(run.store.states[&1].peak_bytes, naive.peak_bytes);
    let beside = |of: fn(&MappingTotalsRow) -> u64| -> BTreeMap<MappingKind, u64> {
        let rows = run.store.mapping_totals.values();
        rows.map(|row| (row.kind, of(row)))
            .filter(|&(_, bytes)| bytes > 0)
            .collect()
    };
    assert_eq!(beside(|row| row.live_bytes), naive.beside());
    assert_eq!(beside(|row| row.heap_peak_bytes), naive.beside_at_peak);
    assert_eq!(beside(|row| row.map_bytes - row.live_bytes), naive.ended_beside);
    assert_eq!(
        run.store.freed.iter().map(|row| row.size).sum::<u64>(),
        naive.freed_bytes
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), ..ProptestConfig::default() })]

    #[test]
    fn figures_are_those_of_the_naive_model(steps in prop::collection::vec((step(), 0_u8..20), 0..120)) {
        let mut run = Harness::new(ScriptStart::Immediately);
        let mut naive = Naive::default();
        for (step, luck) in steps {
            // What comes back from a call that was lost at its beginning is in the stream as well.
            run.ring_full = luck == 0 && !matches!(step, Step::ReallocUndone { .. } | Step::MremapUndone { .. });
            run.step(step);
            if !run.ring_full {
                naive.step(step);
            }
            if matches!(step, Step::Batch { .. }) {
                compare(&run, &naive);
            }
        }
        naive.finish();
        run.finish();
        compare(&run, &naive);
    }
}
