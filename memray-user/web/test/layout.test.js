import assert from "node:assert/strict";
import { test } from "node:test";
import { foldTree } from "../js/tree.js";
import { boxAt, boxOf, layoutTree, rowOf } from "../js/layout.js";

// root(0) -> a(1) 60, b(2) 30, c(3) 10 own each; a -> d(4) 40
const nodes = { parent: [0, 0, 0, 0, 1], frame: [0, 0, 1, 2, 3], bytes: [0, 20, 30, 10, 40], count: [0, 1, 1, 1, 1] };
const tree = foldTree(nodes, [0, 0, 0, 0], 0);

function boxes(layout) {
  return layout.node.map((node, box) => [node, layout.x[box], layout.w[box]]);
}

test("widths are shares", () => {
  const layout = layoutTree(tree, 0, 100, 0.5);
  assert.deepEqual(boxes(layout), [[0, 0, 100], [1, 0, 60], [2, 60, 30], [3, 90, 10], [4, 0, 40]]);
  assert.deepEqual(layout.rowStart, [0, 1, 4, 5]);
  assert.equal(layout.rows, 3);
});

test("a zoomed frame fills the width below its callers", () => {
  const layout = layoutTree(tree, 1, 90, 0.5);
  assert.deepEqual(boxes(layout), [[0, 0, 90], [1, 0, 90], [4, 0, 60]]);
  assert.equal(layout.focusRow, 1);
});

test("what is too small is left out", () => {
  assert.deepEqual(boxes(layoutTree(tree, 0, 4, 0.5)).map(([node]) => node), [0, 1, 2, 4]);
});

test("points find boxes", () => {
  const layout = layoutTree(tree, 0, 100, 0.5);
  const nodeAt = (row, x) => layout.node[boxAt(layout, row, x)];
  assert.deepEqual([nodeAt(0, 5), nodeAt(1, 59.9), nodeAt(1, 60), nodeAt(1, 99), nodeAt(2, 39)], [0, 1, 2, 3, 4]);
  assert.deepEqual([nodeAt(2, 41), nodeAt(3, 0), nodeAt(-1, 0), nodeAt(0, 101)], [undefined, undefined, undefined, undefined]);
  assert.equal(boxOf(layout, 4), 4);
  assert.deepEqual([0, 1, 3, 4].map((box) => rowOf(layout, box)), [0, 1, 1, 2]);
  assert.equal(boxOf(layoutTree(tree, 2, 100, 0.5), 4), -1);
});

test("an empty tree is its root", () => {
  const empty = foldTree({ parent: [0], frame: [0], bytes: [0], count: [0] }, [], 0);
  assert.deepEqual(boxes(layoutTree(empty, 0, 100, 0.5)), [[0, 0, 100]]);
});

test("a large tree is laid out at once", () => {
  const big = { parent: [0], frame: [0], bytes: [0], count: [0] };
  for (let node = 1; node < 80000; node++) {
    big.parent.push(node < 300 ? 0 : node - 300 + (node % 7));
    big.frame.push(node % 4);
    big.bytes.push(node % 1000);
    big.count.push(1);
  }
  const layout = layoutTree(foldTree(big, [0, 0, 0, 0], 0), 0, 1400, 0.5);
  for (let row = 0; row < layout.rows; row++) {
    assert.ok(layout.rowStart[row + 1] - layout.rowStart[row] <= 2800);
  }
});
