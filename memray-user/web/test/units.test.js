import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as units from "../js/units.js";

const cases = JSON.parse(readFileSync(new URL("cases.json", import.meta.url), "utf8"));

function check(table, inputs, ...formats) {
  test(table, () => {
    assert.ok(cases[table].length > 3);
    for (const row of cases[table]) {
      const results = formats.map((format) => format(...row.slice(0, inputs)));
      assert.deepEqual(results, row.slice(inputs), JSON.stringify(row));
    }
  });
}

check("sizes", 1, units.sizeText, units.sizeShort);
check("percents", 2, units.percentText);
check("counts", 1, units.countText);
check("durations", 1, units.durationText);
check("times", 1, units.timeText);
check("names", 1, units.printable);

test("numbers and texts give the same", () => {
  assert.equal(units.sizeText(1062500), units.sizeText("1062500"));
  assert.equal(units.percentText(1, 3), "33.33");
});
