import assert from "node:assert/strict";
import { test } from "node:test";
import { filterRows, sortRows, visibleRows } from "../js/rows.js";

test("numbers and texts, both ways, equals in order", () => {
  assert.deepEqual([...sortRows([5, 9, 5, 1], null, 1)], [3, 0, 2, 1]);
  assert.deepEqual([...sortRows([5, 9, 5, 1], null, -1)], [1, 0, 2, 3]);
  const strings = ["pear", "apple", "fig"];
  assert.deepEqual([...sortRows([0, 1, 2, 1], strings, 1)], [1, 3, 2, 0]);
  assert.deepEqual([...sortRows([0, 1, 2, 1], strings, -1)], [0, 2, 1, 3]);
  assert.deepEqual([...sortRows([], null, 1)], []);
});

test("every word must be in the text", () => {
  const texts = ["main at a.py malloc", "leaf at a.py calloc", "main at b.py calloc"];
  const rows = (query) => [...filterRows(Int32Array.of(2, 1, 0), (row) => texts[row], query)];
  assert.deepEqual(rows(""), [2, 1, 0]);
  assert.deepEqual(rows("A.py"), [1, 0]);
  assert.deepEqual(rows(" main  calloc "), [2]);
  assert.deepEqual(rows("nothing"), []);
});

test("a window of a long list", () => {
  assert.deepEqual(visibleRows(0, 100, 10, 1000), { first: 0, last: 15 });
  assert.deepEqual(visibleRows(5000, 100, 10, 1000), { first: 495, last: 515 });
  assert.deepEqual(visibleRows(99999, 100, 10, 1000), { first: 1000, last: 1000 });
  assert.deepEqual(visibleRows(0, 100, 10, 0), { first: 0, last: 0 });
});
