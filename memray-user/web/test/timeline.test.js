import assert from "node:assert/strict";
import { test } from "node:test";
import { niceTicks, pointAt, stepPath } from "../js/timeline.js";

test("ticks are round and reach the highest value", () => {
  assert.deepEqual(niceTicks(0, 3), [0]);
  assert.deepEqual(niceTicks(30, 3), [0, 10, 20, 30]);
  assert.deepEqual(niceTicks(30.7, 3), [0, 20, 40]);
  assert.deepEqual(niceTicks(1, 3), [0, 0.5, 1]);
  for (const highest of [1, 7, 99, 12345, 8e18]) {
    const ticks = niceTicks(highest, 3);
    assert.ok(ticks.length >= 2 && ticks.length <= 5 && ticks[ticks.length - 1] >= highest, `${highest}: ${ticks}`);
  }
});

test("values hold until the next point, and highs are spikes", () => {
  const same = (value) => value;
  assert.equal(stepPath([], [], [], same, same, 9), "");
  assert.equal(stepPath([0, 5], [2, 8], [1, 3], same, same, 9), "M0 2.0V1.0H5V8.0V3.0H9.0");
  assert.equal(stepPath([0, 5.1, 5.2], [1, 9, 2], [1, 4, 2], same, same, 9), "M0 1.0H5V9.0V2.0H9.0");
  assert.equal(stepPath([0, 1], [null, 3], [null, 3], same, same, 9), "M1 3.0H9.0");
});

test("points by time", () => {
  assert.deepEqual([-1, 0, 4, 5, 99].map((time) => pointAt([0, 5, 10], time)), [-1, 0, 0, 1, 2]);
  assert.equal(pointAt([], 3), -1);
});
