import assert from "node:assert/strict";
import { test } from "node:test";
import { processTable } from "../js/page.js";

test("processes become rows of text", () => {
  const { heads, rows } = processTable({
    pid: [700, 701],
    parent_pid: [null, 700],
    origin: ["attached", "forked"],
    python: ["3.12.1", ""],
    peak_bytes: [9_000_000, 12],
    count: [1234, 0],
    live_bytes: [0, 5],
    since_ms: [1_767_323_045_678, null],
    end: ["running", "exit 0"],
    command: ["python3 \u202ea.py", "python3"],
    left_out: 0,
  });
  assert.deepEqual(heads.slice(0, 4), ["Pid", "Parent", "Origin", "Command"]);
  assert.deepEqual(rows, [
    ["700", "–", "attached", "python3 \\u202ea.py", "3.12.1", "9.0 MB", "1,234", "0.0 B", "2026-01-02 03:04:05", "running"],
    ["701", "700", "forked", "python3", "–", "12.0 B", "0", "5.0 B", "–", "exit 0"],
  ]);
});
