//! A view's stacks folded into one tree of frames, as flame graphs and `tree` show them.
//!
//! Equal frames under one parent are one node; hidden frames are skipped and their memory goes to the caller.
//! Nodes lie in one array with parents before children, so each sum is one pass and nothing recurses. Node 0 is the
//! root, which is no frame.

use rustc_hash::FxHashMap;

use super::{Figures, FrameFilter, Profile, Rank, profile::index};

/// One frame in the context of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Index of the caller's node; 0 for the root itself.
    pub parent: u32,
    /// Index into `Profile::frames`; None for the root.
    pub frame: Option<u32>,
    /// Allocated here.
    pub own: Figures,
    /// Allocated here and in everything called from here.
    pub total: Figures,
}

/// The nodes, root first and parents before children.
#[derive(Clone, Debug)]
pub struct FrameTree {
    pub nodes: Vec<Node>,
}

/// What [`FrameTree::keep_largest`] left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remainder {
    pub figures: Figures,
    /// Nodes with allocations of their own that are not in the tree any more.
    pub locations: u64,
}

impl FrameTree {
    pub fn new(profile: &Profile, filter: FrameFilter) -> Self {
        let hidden: Vec<bool> = profile.frames.iter().map(|frame| filter.hides(frame)).collect();
        let used = stacks_with_allocations(profile);
        let root = Node {
            parent: 0,
            frame: None,
            own: Figures::default(),
            total: Figures::default(),
        };
        let mut nodes = vec![root];
        let mut node_of_stack = vec![0_u32; profile.stacks.len()];
        let most_nodes = used.iter().filter(|&&used| used).count();
        let mut node_of: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        node_of.reserve(most_nodes);
        for (position, stack) in profile.stacks.iter().enumerate() {
            if !used[position] {
                continue;
            }
            let caller = stack.parent.map_or(0, |parent| node_of_stack[parent as usize]);
            let node = if hidden[stack.frame as usize] {
                caller
            } else {
                *node_of.entry((caller, stack.frame)).or_insert_with(|| {
                    nodes.push(Node {
                        parent: caller,
                        frame: Some(stack.frame),
                        ..root
                    });
                    index(nodes.len() - 1)
                })
            };
            node_of_stack[position] = node;
            nodes[node as usize].own.add(stack.own);
        }
        let mut tree = Self { nodes };
        tree.sum_up();
        tree
    }

    pub fn total(&self) -> Figures {
        self.nodes[0].total
    }

    /// Removes the allocations of all nodes but the `limit` that rank highest by their own; totals become those of
    /// what is left.
    pub fn keep_largest(&mut self, limit: usize, rank: Rank) -> Remainder {
        let mut owners: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| !self.nodes[node].own.is_zero())
            .collect();
        owners.sort_by(|&left, &right| {
            rank.compare(self.nodes[left].own, self.nodes[right].own)
                .then(left.cmp(&right))
        });
        let mut remainder = Remainder::default();
        for &node in owners.iter().skip(limit) {
            remainder.figures.add(self.nodes[node].own);
            remainder.locations += 1;
            self.nodes[node].own = Figures::default();
        }
        self.sum_up();
        remainder
    }

    /// Gives the memory of nodes with less than `bytes` in all to their callers: what is too small to be drawn.
    pub fn fold_smaller_than(&mut self, bytes: u64) {
        for position in (1..self.nodes.len()).rev() {
            let Node {
                parent, own, total, ..
            } = self.nodes[position];
            if total.bytes < bytes {
                self.nodes[parent as usize].own.add(own);
                self.nodes[position].own = Figures::default();
            }
        }
        self.sum_up();
    }

    /// The children of every node that have allocations, highest rank first, equals in order of first sight.
    pub fn children(&self, rank: Rank) -> Children {
        let mut starts = vec![0_u32; self.nodes.len() + 1];
        let shown = |node: &&Node| node.frame.is_some() && !node.total.is_zero();
        for node in self.nodes.iter().filter(shown) {
            starts[node.parent as usize + 1] += 1;
        }
        for position in 1..starts.len() {
            starts[position] += starts[position - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; starts[self.nodes.len()] as usize];
        for (position, node) in self.nodes.iter().enumerate().filter(|(_, node)| shown(node)) {
            let place = &mut next[node.parent as usize];
            order[*place as usize] = index(position);
            *place += 1;
        }
        for parent in 0..self.nodes.len() {
            order[starts[parent] as usize..starts[parent + 1] as usize].sort_by(|&left, &right| {
                rank.compare(self.nodes[left as usize].total, self.nodes[right as usize].total)
                    .then(left.cmp(&right))
            });
        }
        Children { starts, order }
    }

    fn sum_up(&mut self) {
        for node in &mut self.nodes {
            node.total = node.own;
        }
        for position in (1..self.nodes.len()).rev() {
            let Node { parent, total, .. } = self.nodes[position];
            self.nodes[parent as usize].total.add(total);
        }
    }
}

/// Children lists of a tree in one array.
#[derive(Clone, Debug)]
pub struct Children {
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl Children {
    pub fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.order[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// True for every stack in which, or below which, something was allocated.
fn stacks_with_allocations(profile: &Profile) -> Vec<bool> {
    let mut used: Vec<bool> = profile.stacks.iter().map(|stack| !stack.own.is_zero()).collect();
    for (position, stack) in profile.stacks.iter().enumerate().rev() {
        if used[position]
            && let Some(parent) = stack.parent
        {
            used[parent as usize] = true;
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::testing::{CaptureBuilder, deep},
        model::View,
    };

    fn tree(builder: &CaptureBuilder, filter: FrameFilter) -> (Profile, FrameTree) {
        let profile = Profile::load(builder, View::HighWaterMark).unwrap();
        let tree = FrameTree::new(&profile, filter);
        (profile, tree)
    }

    fn lines(profile: &Profile, tree: &FrameTree) -> Vec<String> {
        let children = tree.children(Rank::Size);
        let mut pending = vec![(0_u32, 0_usize)];
        let mut lines = Vec::new();
        while let Some((node, depth)) = pending.pop() {
            let Node {
                frame, own, total, ..
            } = tree.nodes[node as usize];
            let name = frame.map_or("root", |frame| profile.frame(frame).function.as_str());
            lines.push(format!(
                "{}{name} {}/{} {}",
                "-".repeat(depth),
                own.bytes,
                total.bytes,
                total.count
            ));
            pending.extend(children.of(node).iter().rev().map(|&child| (child, depth + 1)));
        }
        lines
    }

    #[test]
    fn hidden_frames_give_their_memory_to_the_caller_and_siblings_merge() {
        let mut builder = CaptureBuilder::new();
        builder.allocate(
            &[
                ("run", "<frozen runpy>", 1),
                ("main", "a.py", 1),
                ("leaf", "a.py", 2),
            ],
            30,
            1,
        );
        builder.allocate(
            &[
                ("run", "<frozen runpy>", 2),
                ("main", "a.py", 1),
                ("leaf", "a.py", 2),
            ],
            12,
            1,
        );
        builder.allocate(&[("run", "<frozen runpy>", 2)], 5, 1);
        builder.allocate(&[("main", "a.py", 1), ("other", "a.py", 3)], 50, 1);
        let (profile, all) = tree(&builder, FrameFilter::SHOW_ALL);
        assert_eq!(
            lines(&profile, &all),
            [
                "root 0/97 4",
                "-main 0/50 1",
                "--other 50/50 1",
                "-run 0/30 1",
                "--main 0/30 1",
                "---leaf 30/30 1",
                "-run 5/17 2",
                "--main 0/12 1",
                "---leaf 12/12 1",
            ]
        );
        let (profile, mut relevant) = tree(&builder, FrameFilter::default());
        assert_eq!(
            lines(&profile, &relevant),
            ["root 5/97 4", "-main 0/92 3", "--other 50/50 1", "--leaf 42/42 2",]
        );
        let remainder = relevant.keep_largest(1, Rank::Size);
        assert_eq!(
            remainder,
            Remainder {
                figures: Figures { bytes: 47, count: 3 },
                locations: 2
            }
        );
        assert_eq!(
            lines(&profile, &relevant),
            ["root 0/50 1", "-main 0/50 1", "--other 50/50 1"]
        );
    }

    #[test]
    fn small_nodes_become_part_of_their_callers() {
        let mut builder = CaptureBuilder::new();
        let main = ("main", "a.py", 1);
        builder.allocate(&[main, ("small", "a.py", 2), ("smaller", "a.py", 3)], 4, 1);
        builder.allocate(&[main, ("small", "a.py", 2)], 5, 1);
        builder.allocate(&[main, ("large", "a.py", 4)], 10, 1);
        let (profile, mut tree) = tree(&builder, FrameFilter::SHOW_ALL);
        tree.fold_smaller_than(10);
        assert_eq!(
            lines(&profile, &tree),
            ["root 0/19 3", "-main 9/19 3", "--large 10/10 1"]
        );
    }

    #[test]
    fn deep_stacks_fold_without_recursion() {
        let (_, tree) = tree(&deep(4096), FrameFilter::default());
        assert_eq!(tree.nodes.len(), 4097);
        assert_eq!(
            tree.total(),
            Figures {
                bytes: 4096 * 10,
                count: 4096
            }
        );
        assert_eq!(tree.nodes[4096].total, Figures { bytes: 10, count: 1 });
    }

    #[test]
    fn nothing_is_a_root() {
        let (profile, tree) = tree(&CaptureBuilder::new(), FrameFilter::default());
        assert_eq!(lines(&profile, &tree), ["root 0/0 0"]);
    }
}
