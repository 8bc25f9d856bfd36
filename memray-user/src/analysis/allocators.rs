//! How many allocations each allocating function made.

use std::collections::BTreeMap;

use super::{Figures, Profile};
use crate::model::{Allocator, SizeHistogramRow};

/// What one allocator handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorShare {
    pub allocator: Allocator,
    pub figures: Figures,
}

/// The allocators of a view, most calls first, equals by number.
pub fn allocator_shares(profile: &Profile) -> Vec<AllocatorShare> {
    ranked(profile.sites.iter().map(|site| (site.allocator, site.figures)))
}

/// The allocators of the whole recording, also where the capture keeps no single allocations.
pub fn recorded_allocator_shares(histogram: &[SizeHistogramRow]) -> Vec<AllocatorShare> {
    ranked(histogram.iter().map(|row| {
        (
            row.allocator,
            Figures {
                bytes: row.alloc_bytes,
                count: row.alloc_count,
            },
        )
    }))
}

fn ranked(parts: impl Iterator<Item = (Allocator, Figures)>) -> Vec<AllocatorShare> {
    let mut sums: BTreeMap<Allocator, Figures> = BTreeMap::new();
    for (allocator, figures) in parts {
        sums.entry(allocator).or_default().add(figures);
    }
    let mut shares: Vec<_> = sums
        .into_iter()
        .filter(|(_, figures)| figures.count > 0)
        .map(|(allocator, figures)| AllocatorShare { allocator, figures })
        .collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.figures.count));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::testing::small,
        model::{CaptureSource as _, View},
    };

    #[test]
    fn most_calls_first_and_both_sources_agree() {
        let builder = small();
        let profile = Profile::load(&builder, View::All).unwrap();
        let shares = allocator_shares(&profile);
        let counts: Vec<_> = shares
            .iter()
            .map(|share| (share.allocator, share.figures.count))
            .collect();
        assert_eq!(
            counts,
            [
                (Allocator::Realloc, 108),
                (Allocator::Malloc, 21),
                (Allocator::Calloc, 5),
                (Allocator::Mmap, 1)
            ]
        );
        assert_eq!(
            recorded_allocator_shares(&builder.size_histogram().unwrap()),
            shares
        );
        assert_eq!(recorded_allocator_shares(&[]), []);
    }
}
