//! Figures by function and file, lines taken together: what a function allocated itself, and with its callees.
//!
//! A recursive function's total counts each allocation once, however often the function is in the stack. Every row
//! of the view is in the figures; memray stops at 95 % of the bytes and leaves functions out.

use rustc_hash::FxHashMap;

use super::{Figures, FrameFilter, FrameTree, Profile, Rank, profile::index};
use crate::model::FrameKind;

/// One function of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    pub function: String,
    pub file: String,
    pub own: Figures,
    pub total: Figures,
}

/// One row for each function that is in a stack of the view, in order of first sight.
pub fn summary(profile: &Profile) -> Vec<SummaryRow> {
    let (mut rows, row_of_frame) = name_rows(profile);
    let tree = FrameTree::new(profile, FrameFilter::SHOW_ALL);
    let children = tree.children(Rank::Size);
    // How many frames of each row's function are on the path from the root to the node in hand.
    let mut open = vec![0_u32; rows.len()];
    let mut pending: Vec<Step> = children.of(0).iter().map(|&child| Step::Enter(child)).collect();
    while let Some(step) = pending.pop() {
        let (Step::Enter(node) | Step::Leave(node)) = step;
        let Some(frame) = tree.nodes[node as usize].frame else {
            continue;
        };
        let row = row_of_frame[frame as usize] as usize;
        if let Step::Leave(_) = step {
            open[row] -= 1;
            continue;
        }
        if open[row] == 0 {
            rows[row].total.add(tree.nodes[node as usize].total);
        }
        rows[row].own.add(tree.nodes[node as usize].own);
        open[row] += 1;
        pending.push(Step::Leave(node));
        pending.extend(children.of(node).iter().map(|&child| Step::Enter(child)));
    }
    rows.retain(|row| !row.total.is_zero());
    rows
}

#[derive(Clone, Copy)]
enum Step {
    Enter(u32),
    Leave(u32),
}

fn name_rows(profile: &Profile) -> (Vec<SummaryRow>, Vec<u32>) {
    let mut rows = Vec::new();
    let mut row_of: FxHashMap<(&str, &str, FrameKind), u32> = FxHashMap::default();
    let row_of_frame = profile
        .frames
        .iter()
        .map(|frame| {
            *row_of
                .entry((&frame.function, &frame.file, frame.kind))
                .or_insert_with(|| {
                    rows.push(SummaryRow {
                        function: frame.function.clone(),
                        file: frame.file.clone(),
                        own: Figures::default(),
                        total: Figures::default(),
                    });
                    index(rows.len() - 1)
                })
        })
        .collect();
    (rows, row_of_frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::testing::{CaptureBuilder, deep},
        model::View,
    };

    fn figures(builder: &CaptureBuilder) -> Vec<(String, u64, u64, u64)> {
        summary(&Profile::load(builder, View::HighWaterMark).unwrap())
            .into_iter()
            .map(|row| (row.function, row.own.bytes, row.total.bytes, row.total.count))
            .collect()
    }

    #[test]
    fn recursion_counts_once() {
        let mut builder = CaptureBuilder::new();
        let (main, f, g) = (("main", "a.py", 1), ("f", "a.py", 2), ("g", "a.py", 3));
        builder.allocate(&[main, f, g, ("f", "a.py", 9)], 100, 1);
        builder.allocate(&[main, f], 10, 1);
        builder.allocate(&[main, g], 1, 1);
        assert_eq!(
            figures(&builder),
            [
                ("main".to_owned(), 0, 111, 3),
                ("f".to_owned(), 110, 110, 2),
                ("g".to_owned(), 1, 101, 2),
            ]
        );
    }

    #[test]
    fn deep_recursion_is_one_row() {
        assert_eq!(figures(&deep(4096)), [("recurse".to_owned(), 40960, 40960, 4096)]);
    }
}
