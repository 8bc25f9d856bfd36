//! How many allocations of which size each allocator made: log-linear intervals, exact below 128 bytes and 64 to
//! each power of two above, so that a size is known to 1.6 %.

use crate::model::{Allocator, ProcessId, SizeHistogramRow};

/// Intervals to each power of two, and the power below which each size has its own.
const STEPS: u64 = 64;
const EXACT_BELOW: u64 = 2 * STEPS;
const EXACT_BITS: u32 = EXACT_BELOW.trailing_zeros();
const CELLS: usize = cell_of(u64::MAX) + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    count: u64,
    bytes: u64,
}

#[derive(Debug)]
struct OneAllocator {
    cells: Box<[Cell]>,
    changed: [u64; CELLS.div_ceil(64)],
}

/// The sizes of one process. Each allocator that is used takes 59 KiB.
#[derive(Debug, Default)]
pub struct Histogram {
    by_allocator: [Option<Box<OneAllocator>>; Allocator::ALL.len()],
}

impl Histogram {
    pub fn add(&mut self, allocator: Allocator, size_bytes: u64) {
        let one = self.by_allocator[allocator as usize - 1].get_or_insert_with(|| {
            Box::new(OneAllocator {
                cells: vec![Cell::default(); CELLS].into_boxed_slice(),
                changed: [0; CELLS.div_ceil(64)],
            })
        });
        let index = cell_of(size_bytes);
        let cell = &mut one.cells[index];
        cell.count += 1;
        cell.bytes = cell.bytes.wrapping_add(size_bytes);
        one.changed[index / 64] |= 1 << (index % 64);
    }

    /// The intervals that have changed since the last call, by allocator and size.
    pub fn take_rows(&mut self, process_id: ProcessId, rows: &mut Vec<SizeHistogramRow>) {
        for (allocator, one) in Allocator::ALL.into_iter().zip(&mut self.by_allocator) {
            let Some(one) = one else { continue };
            for (word, bits) in one.changed.iter_mut().enumerate() {
                let mut bits = std::mem::take(bits);
                while bits != 0 {
                    let index = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let (size_from, size_to) = bounds_of(index);
                    let Cell { count, bytes } = one.cells[index];
                    rows.push(SizeHistogramRow {
                        process_id,
                        size_from,
                        size_to,
                        allocator,
                        alloc_count: count,
                        alloc_bytes: bytes,
                    });
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the result is below 4096")]
const fn cell_of(size_bytes: u64) -> usize {
    if size_bytes < EXACT_BELOW {
        return size_bytes as usize;
    }
    let power = size_bytes.ilog2();
    let step = (size_bytes >> (power - STEPS.ilog2())) - STEPS;
    (EXACT_BELOW + (power - EXACT_BITS) as u64 * STEPS + step) as usize
}

/// First and last size of an interval.
fn bounds_of(index: usize) -> (u64, u64) {
    let index = index as u64;
    let Some(above) = index.checked_sub(EXACT_BELOW) else {
        return (index, index);
    };
    let (power, step) = (above / STEPS + u64::from(EXACT_BITS), above % STEPS);
    let width = 1 << (power - u64::from(STEPS.ilog2()));
    let from = (STEPS + step) * width;
    (from, from + (width - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_follow_each_other_without_gap() {
        let mut next = 0;
        for index in 0..CELLS {
            let (from, to) = bounds_of(index);
            assert_eq!(from, next);
            assert_eq!((cell_of(from), cell_of(to)), (index, index));
            next = to.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last interval ends with the largest number");
    }

    #[test]
    fn bounds_are_as_documented() {
        for (size, bounds) in [
            (0, (0, 0)),
            (127, (127, 127)),
            (128, (128, 129)),
            (255, (254, 255)),
            (256, (256, 259)),
            (1024, (1024, 1039)),
            (1_234_577, (1_228_800, 1_245_183)),
        ] {
            assert_eq!(bounds_of(cell_of(size)), bounds, "{size}");
        }
    }

    proptest! {
        #[test]
        fn every_size_is_inside_its_interval(size in any::<u64>(), shift in 0_u32..64) {
            let size = size >> shift;
            let (from, to) = bounds_of(cell_of(size));
            prop_assert!(from <= size && size <= to);
        }
    }

    #[test]
    fn rows_are_those_that_changed() {
        let mut histogram = Histogram::default();
        for size in [8, 8, 128, 129] {
            histogram.add(Allocator::Malloc, size);
        }
        let mut rows = Vec::new();
        histogram.take_rows(1, &mut rows);
        let figures = |rows: &[SizeHistogramRow]| -> Vec<_> {
            rows.iter()
                .map(|row| (row.size_from, row.alloc_count, row.alloc_bytes))
                .collect()
        };
        assert_eq!(figures(&rows), [(8, 2, 16), (128, 2, 257)]);
        rows.clear();
        histogram.add(Allocator::Malloc, 8);
        histogram.take_rows(1, &mut rows);
        assert_eq!(figures(&rows), [(8, 3, 24)]);
    }
}
