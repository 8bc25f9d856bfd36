//! Allocation sizes in ten bins that grow by a constant factor, as memray's `stats` shows them.
//!
//! A capture keeps counts per size range, not per size. Each bin's bound is therefore moved to the nearest edge of
//! a stored range, so that the count printed for a bound is exact for that bound.

use std::collections::BTreeMap;

use crate::model::SizeHistogramRow;

/// Bins that a histogram has at most.
pub const BINS: usize = 10;

/// Allocations of `min_bytes..=max_bytes` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeBin {
    pub min_bytes: u64,
    pub max_bytes: u64,
    pub count: u64,
}

/// Bins in ascending order without gaps from the smallest to the largest allocation; none if there is no allocation.
/// Fewer than [`BINS`] where sizes lie so close together that bounds coincide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    pub bins: Vec<SizeBin>,
}

impl Histogram {
    /// `min_size` and `max_size` are the exact extremes of the recording.
    pub fn new(rows: &[SizeHistogramRow], min_size: u64, max_size: u64) -> Self {
        // By lower edge: the upper edge and the count of all allocators.
        let mut ranges: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.alloc_count > 0) {
            let range = ranges.entry(row.size_from).or_insert((row.size_to, 0));
            range.0 = range.0.max(row.size_to);
            range.1 = range.1.saturating_add(row.alloc_count);
        }
        let Some((&smallest, _)) = ranges.first_key_value() else {
            return Self::default();
        };
        let smallest = smallest.max(min_size);
        let largest = ranges.values().fold(
            max_size,
            |largest, &(to, _)| if max_size == 0 { largest.max(to) } else { largest },
        );
        // Logarithms need a positive size; blocks of no bytes are in the first bin.
        let positive = ranges
            .keys()
            .copied()
            .find(|&from| from > 0)
            .unwrap_or(1)
            .max(min_size);
        let mut bins = Vec::with_capacity(BINS);
        let mut start = smallest.min(largest);
        for bound in ideal_bounds(positive, largest) {
            let bound = nearest_edge(&ranges, bound);
            if bound > start && bound <= largest {
                bins.push(SizeBin {
                    min_bytes: start,
                    max_bytes: bound - 1,
                    count: 0,
                });
                start = bound;
            }
        }
        bins.push(SizeBin {
            min_bytes: start,
            max_bytes: largest,
            count: 0,
        });
        for (&from, &(_, count)) in &ranges {
            let bin = bins
                .partition_point(|bin| bin.max_bytes < from)
                .min(bins.len() - 1);
            bins[bin].count = bins[bin].count.saturating_add(count);
        }
        Self { bins }
    }
}

/// The inner bounds of ten bins between `low` and `high`, each exclusive for the bin below it.
fn ideal_bounds(low: u64, high: u64) -> impl Iterator<Item = u64> {
    let low_log = (low as f64).ln();
    let step = ((high.max(low) as f64).ln() - low_log) / BINS as f64;
    (1_u8..10).map(move |bin| {
        let bound = (low_log + step * f64::from(bin)).exp();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a u64 to begin with, and saturating"
        )]
        let bound = bound as u64;
        bound
    })
}

/// `bound` itself if no stored range spans it, else the nearer end of that range.
fn nearest_edge(ranges: &BTreeMap<u64, (u64, u64)>, bound: u64) -> u64 {
    match ranges.range(..bound).next_back() {
        Some((&from, &(to, _))) if to >= bound => {
            let above = to.saturating_add(1);
            if bound - from < above - bound { from } else { above }
        }
        _ => bound,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{analysis::testing::histogram_rows, model::Allocator};

    fn bins(sizes: &[u64]) -> Vec<(u64, u64, u64)> {
        let min = sizes.iter().copied().min().unwrap_or(0);
        let max = sizes.iter().copied().max().unwrap_or(0);
        Histogram::new(&histogram_rows(sizes), min, max)
            .bins
            .iter()
            .map(|bin| (bin.min_bytes, bin.max_bytes, bin.count))
            .collect()
    }

    #[test]
    fn bins_span_smallest_to_largest() {
        assert_eq!(bins(&[]), []);
        assert_eq!(bins(&[0]), [(0, 0, 1)]);
        assert_eq!(bins(&[64, 64]), [(64, 64, 2)]);
        assert_eq!(bins(&[1, 2, 3]), [(1, 1, 1), (2, 3, 2)]);
        let wide = bins(&[0, 1, 5, 10_000_000]);
        assert_eq!(wide.len(), 10);
        assert_eq!(wide[0], (0, 4, 2));
        assert_eq!(wide[1], (5, 24, 1));
        assert_eq!(wide[9].1, 10_000_000);
    }

    #[test]
    fn rows_that_make_no_sense_do_no_harm() {
        for (size_from, size_to) in [(9, 3), (u64::MAX, u64::MAX), (0, u64::MAX)] {
            let row = SizeHistogramRow {
                process_id: 1,
                size_from,
                size_to,
                allocator: Allocator::Malloc,
                alloc_count: u64::MAX,
                alloc_bytes: 1,
            };
            for (min, max) in [(0, 0), (5, 1), (u64::MAX, u64::MAX)] {
                let bins = Histogram::new(&[row, row], min, max).bins;
                assert_eq!(
                    bins.iter().fold(0, |sum: u64, bin| sum.saturating_add(bin.count)),
                    u64::MAX
                );
            }
        }
    }

    proptest! {
        #[test]
        fn every_count_is_exact_for_its_bounds(sizes in prop::collection::vec(0_u64..5_000_000, 1..200)) {
            let bins = bins(&sizes);
            prop_assert!(bins.len() <= BINS);
            for (min, max, count) in bins {
                let exact = sizes.iter().filter(|&&size| (min..=max).contains(&size)).count();
                prop_assert_eq!(count, exact as u64);
            }
        }
    }
}
