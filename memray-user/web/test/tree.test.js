import assert from "node:assert/strict";
import { test } from "node:test";
import { FLAGS, childrenOf, foldTree, matchFrames, matchedTotals, pathTo } from "../js/tree.js";

// Frames: 0 run (irrelevant), 1 main, 2 leaf, 3 import.
const strings = ["run", "main", "Leaf", "import", "/src/a.py", "<frozen runpy>"];
const frames = { function: [0, 1, 2, 3], file: [5, 4, 4, 5], line: [1, 2, 3, 4], flags: [FLAGS.irrelevant, 0, 0, FLAGS.importSystem] };
// root -> run -> main -> leaf; root -> main -> leaf; run -> import
const nodes = {
  parent: [0, 0, 1, 2, 0, 4, 1],
  frame: [0, 0, 1, 2, 1, 2, 3],
  bytes: [1, 0, 2, 10, 0, 30, 4],
  count: [1, 0, 1, 1, 0, 3, 1],
};

function outline(tree) {
  const lines = [];
  const pending = [0];
  while (pending.length > 0) {
    const node = pending.pop();
    const name = node === 0 ? "root" : strings[frames.function[tree.frame[node]]];
    lines.push(`${"-".repeat(tree.depth[node])}${name} ${tree.own[node]}/${tree.total[node]} ${tree.count[node]}`);
    pending.push(...childrenOf(tree, node).slice().reverse());
  }
  return lines;
}

test("all frames", () => {
  assert.deepEqual(outline(foldTree(nodes, frames.flags, 0)), [
    "root 1/47 7", "-main 0/30 3", "--Leaf 30/30 3", "-run 0/16 3", "--main 2/12 2", "---Leaf 10/10 1", "--import 4/4 1",
  ]);
});

test("hidden frames give their memory to the caller, and equals merge", () => {
  assert.deepEqual(outline(foldTree(nodes, frames.flags, FLAGS.irrelevant)), [
    "root 1/47 7", "-main 2/42 5", "--Leaf 40/40 4", "-import 4/4 1",
  ]);
  assert.deepEqual(outline(foldTree(nodes, frames.flags, FLAGS.irrelevant | FLAGS.importSystem)), [
    "root 5/47 7", "-main 2/42 5", "--Leaf 40/40 4",
  ]);
});

test("search counts each byte once", () => {
  const tree = foldTree(nodes, frames.flags, 0);
  assert.equal(matchFrames(frames, strings, "  "), null);
  assert.deepEqual([...matchFrames(frames, strings, "LEAF")], [0, 0, 1, 0]);
  assert.deepEqual([...matchFrames(frames, strings, "a.py:2")], [0, 1, 0, 0]);
  const matches = matchFrames(frames, strings, "a.py");
  assert.deepEqual([...matches], [0, 1, 1, 0]);
  assert.deepEqual(matchedTotals(tree, matches, 0), { bytes: 42, nodes: 4 });
  const run = childrenOf(tree, 0)[1];
  assert.deepEqual(matchedTotals(tree, matches, run), { bytes: 12, nodes: 2 });
  assert.deepEqual(matchedTotals(tree, matchFrames(frames, strings, "nothing"), 0), { bytes: 0, nodes: 0 });
});

test("paths begin at the root", () => {
  const tree = foldTree(nodes, frames.flags, 0);
  assert.deepEqual(pathTo(tree, 0), [0]);
  assert.deepEqual(pathTo(tree, 3).map((node) => tree.frame[node]), [-1, 0, 1, 2]);
});

test("thousands of frames, and an empty tree", () => {
  const depth = 20000;
  const chain = { parent: [0], frame: [0], bytes: [0], count: [0] };
  for (let node = 1; node <= depth; node++) {
    chain.parent.push(node - 1);
    chain.frame.push(1);
    chain.bytes.push(1);
    chain.count.push(1);
  }
  const tree = foldTree(chain, frames.flags, 0);
  assert.equal(tree.total[0], depth);
  assert.equal(pathTo(tree, depth).length, depth + 1);
  const empty = foldTree({ parent: [0], frame: [0], bytes: [0], count: [0] }, [], 0);
  assert.equal(empty.total[0], 0);
  assert.equal(childrenOf(empty, 0).length, 0);
});
