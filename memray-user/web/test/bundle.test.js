import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Script } from "node:vm";

// The pages join the modules as text (`src/report/html/script.rs`): what that needs of them.
const folder = new URL("../js/", import.meta.url);
const modules = readdirSync(folder).map((name) => ({ name, text: readFileSync(new URL(name, folder), "utf8") }));
const entries = ["flamegraph.js", "table.js"];

for (const entry of entries) {
  test(`${entry}: names are unique among all modules of a page`, () => {
    const others = entries.filter((name) => name !== entry);
    const text = modules
      .filter(({ name }) => !others.includes(name))
      .map(({ text }) => text.replace(/^import .*$/gm, "").replace(/^export /gm, ""))
      .join("\n");
    assert.doesNotThrow(() => new Script(`(() => {"use strict";${text}})`));
  });
}

test("imports and exports have the forms that joining knows", () => {
  for (const { name, text } of modules) {
    for (const line of text.split("\n").filter((line) => /^\s*import\b/.test(line))) {
      assert.match(line, /^import \{ [\w, ]+ \} from "\.\/[a-z]+\.js";$/, `${name}: ${line}`);
    }
    for (const line of text.split("\n").filter((line) => /^\s*export\b/.test(line))) {
      assert.match(line, /^export (function|const|class) /, `${name}: ${line}`);
    }
  }
});
