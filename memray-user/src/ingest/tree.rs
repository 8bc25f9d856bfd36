//! The prefix tree of stacks: a node is an outer node and one more frame.
//!
//! Nodes get public ids when an event first names them, outermost first, so a parent's id is smaller than its
//! children's and a stack that nothing names leaves no row.

use rustc_hash::FxHashMap;

use super::frames::{FrameIndex, Frames};
use crate::model::{StackId, StackRow};

/// Index of a node inside `ingest`; not the public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node(u32);

impl Node {
    /// The empty stack: parent of the outermost frames, without a row.
    pub const ROOT: Self = Self(0);
}

#[derive(Clone, Copy, Debug)]
struct NodeData {
    parent: Node,
    frame: FrameIndex,
    depth: u32,
    /// 0 until an event names the node.
    stack_id: StackId,
}

/// See the module.
#[derive(Debug)]
pub struct Tree {
    most: usize,
    nodes: Vec<NodeData>,
    children: FxHashMap<(Node, FrameIndex), Node>,
    path: Vec<Node>,
    published: StackId,
    new: Vec<StackRow>,
}

impl Tree {
    /// `most` is the number of nodes beyond which only markers are added.
    pub fn new(most: usize) -> Self {
        let root = NodeData {
            parent: Node::ROOT,
            frame: 0,
            depth: 0,
            stack_id: 0,
        };
        Self {
            most,
            nodes: vec![root],
            children: FxHashMap::default(),
            path: Vec::new(),
            published: 0,
            new: Vec::new(),
        }
    }

    /// The stack that goes on inwards from `parent` with a frame; none if it is new and beyond the bound.
    pub fn child(&mut self, parent: Node, frame: FrameIndex) -> Option<Node> {
        if let Some(&node) = self.children.get(&(parent, frame)) {
            return Some(node);
        }
        (self.nodes.len() < self.most).then(|| self.add(parent, frame))
    }

    /// The stack that is only a marker, of which there are few.
    pub fn marker(&mut self, frame: FrameIndex) -> Node {
        match self.children.get(&(Node::ROOT, frame)) {
            Some(&node) => node,
            None => self.add(Node::ROOT, frame),
        }
    }

    fn add(&mut self, parent: Node, frame: FrameIndex) -> Node {
        let node = Node(u32::try_from(self.nodes.len()).expect("2^32 stacks do not fit in memory"));
        let depth = self.nodes[parent.0 as usize].depth + 1;
        self.nodes.push(NodeData {
            parent,
            frame,
            depth,
            stack_id: 0,
        });
        self.children.insert((parent, frame), node);
        node
    }

    /// The public id of a stack other than the empty one; the first call gives ids to it and to what is outside
    /// of it.
    pub fn publish(&mut self, node: Node, frames: &mut Frames) -> StackId {
        let known = self.nodes[node.0 as usize].stack_id;
        if known != 0 {
            return known;
        }
        let mut current = node;
        while current != Node::ROOT && self.nodes[current.0 as usize].stack_id == 0 {
            self.path.push(current);
            current = self.nodes[current.0 as usize].parent;
        }
        while let Some(next) = self.path.pop() {
            self.published += 1;
            let data = &mut self.nodes[next.0 as usize];
            data.stack_id = self.published;
            let data = *data;
            let parent = self.nodes[data.parent.0 as usize].stack_id;
            self.new.push(StackRow {
                stack_id: data.stack_id,
                parent_id: (parent != 0).then_some(parent),
                frame_id: frames.publish(data.frame),
                depth: data.depth,
            });
        }
        self.nodes[node.0 as usize].stack_id
    }

    /// Rows of the stacks that were published since the last call, in order of id.
    pub fn take_rows(&mut self) -> Vec<StackRow> {
        std::mem::take(&mut self.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_has_rows_and_parents_come_first() {
        let (mut frames, mut tree) = (Frames::new(9, 999), Tree::new(5));
        let [outer, middle, inner] = ["outer", "middle", "inner"].map(|name| frames.marker(name));
        let first = tree.child(Node::ROOT, outer).unwrap();
        let second = tree.child(first, middle).unwrap();
        let third = tree.child(second, inner).unwrap();
        assert_eq!(tree.child(first, middle), Some(second));
        assert_eq!(tree.take_rows(), []);

        assert_eq!(tree.publish(second, &mut frames), 2);
        assert_eq!(tree.publish(third, &mut frames), 3);
        let rows: Vec<_> = tree
            .take_rows()
            .iter()
            .map(|row| (row.stack_id, row.parent_id, row.frame_id, row.depth))
            .collect();
        assert_eq!(rows, [(1, None, 1, 1), (2, Some(1), 2, 2), (3, Some(2), 3, 3)]);
        assert_eq!(frames.take_rows().len(), 3);
        assert_eq!(tree.publish(first, &mut frames), 1);
        assert_eq!(tree.take_rows(), []);
    }

    #[test]
    fn beyond_the_bound_only_markers_are_added() {
        let (mut frames, mut tree) = (Frames::new(9, 999), Tree::new(2));
        let [outer, other] = ["outer", "other"].map(|name| frames.marker(name));
        let known = tree.child(Node::ROOT, outer);
        assert!(known.is_some());
        assert_eq!(tree.child(Node::ROOT, other), None);
        assert_eq!(tree.child(Node::ROOT, outer), known);
        let marker = tree.marker(other);
        assert_eq!(tree.marker(other), marker);
        assert_eq!(tree.child(Node::ROOT, other), Some(marker));
    }
}
