//! The lines of code that allocated most: figures by innermost frame.

use super::{Figures, Profile, Rank};

/// What was allocated with one frame innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocationFigures {
    /// Index into `Profile::frames`.
    pub frame: u32,
    pub figures: Figures,
}

/// Every frame in which something was allocated, highest rank first, equals in the order of the capture.
pub fn locations(profile: &Profile, rank: Rank) -> Vec<LocationFigures> {
    let mut by_frame = vec![Figures::default(); profile.frames.len()];
    for stack in &profile.stacks {
        by_frame[stack.frame as usize].add(stack.own);
    }
    let mut rows: Vec<_> = (0_u32..)
        .zip(by_frame)
        .filter(|(_, figures)| !figures.is_zero())
        .map(|(frame, figures)| LocationFigures { frame, figures })
        .collect();
    rows.sort_by(|left, right| {
        rank.compare(left.figures, right.figures)
            .then(left.frame.cmp(&right.frame))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::testing::CaptureBuilder, model::View};

    #[test]
    fn leaves_are_ranked_by_either_figure() {
        let mut builder = CaptureBuilder::new();
        builder.allocate(&[("main", "a.py", 1), ("big", "a.py", 2)], 100, 1);
        builder.allocate(&[("other", "a.py", 1), ("big", "a.py", 2)], 50, 1);
        builder.allocate(&[("many", "a.py", 3)], 10, 9);
        let profile = Profile::load(&builder, View::All).unwrap();
        let names = |rank| -> Vec<(String, u64, u64)> {
            locations(&profile, rank)
                .iter()
                .map(|row| {
                    (
                        profile.frame(row.frame).function.clone(),
                        row.figures.bytes,
                        row.figures.count,
                    )
                })
                .collect()
        };
        assert_eq!(
            names(Rank::Size),
            [("big".to_owned(), 150, 2), ("many".to_owned(), 10, 9)]
        );
        assert_eq!(
            names(Rank::Count),
            [("many".to_owned(), 10, 9), ("big".to_owned(), 150, 2)]
        );
    }
}
