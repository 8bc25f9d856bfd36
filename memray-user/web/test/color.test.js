import assert from "node:assert/strict";
import { test } from "node:test";
import { cssColor, frameColor, hashText } from "../js/color.js";
import { FLAGS } from "../js/tree.js";

test("the hash is FNV-1a", () => {
  assert.equal(hashText(""), 0x811c9dc5);
  assert.equal(hashText("a"), 0xe40c292c);
  assert.equal(hashText("foobar"), 0xbf9cf968);
});

test("a process is gray", () => {
  for (const isDark of [false, true]) {
    assert.ok(frameColor("", FLAGS.process | FLAGS.marker, isDark).saturation <= 10);
    assert.ok(frameColor("", FLAGS.marker, isDark).saturation > 30);
  }
});

test("a file has one color, and its folder's files are near", () => {
  assert.deepEqual(frameColor("/a/b.py", 0, false), frameColor("/a/b.py", 0, false));
  const [one, other] = ["/a/b.py", "/a/c.py"].map((file) => frameColor(file, 0, false).hue);
  const distance = Math.abs(one - other);
  assert.ok(Math.min(distance, 360 - distance) <= 30);
  for (const flags of [0, FLAGS.marker, FLAGS.native, FLAGS.standardLibrary, FLAGS.process | FLAGS.marker]) {
    for (const isDark of [false, true]) {
      assert.match(cssColor(frameColor("x/é.py", flags, isDark)), /^hsl\(\d+ \d+% \d+%\)$/);
    }
  }
});
