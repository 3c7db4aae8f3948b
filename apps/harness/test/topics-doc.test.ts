// docs/topics.md names tests: what it names is there.

import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("../../../", import.meta.url);
const page = readFileSync(new URL("docs/topics.md", root), "utf8");

test("docs/topics.md names files that exist, and tests by words of their titles", () => {
  const named = [...page.matchAll(/`([a-z-]+\/test\/[^`]+\.ts)`((?:,? "[^"]+")*)/g)];
  expect(named.length).toBeGreaterThan(60);
  const wrong: string[] = [];
  for (const [, file = "", titles = ""] of named) {
    const url = new URL(`packages/${file}`, root);
    if (!existsSync(url)) {
      wrong.push(`${file} is not there`);
      continue;
    }
    const source = readFileSync(url, "utf8");
    for (const [, title = ""] of titles.matchAll(/"([^"]+)"/g)) {
      if (!titlesOf(source).some((each) => each.includes(title))) wrong.push(`${file} has no test "${title}"`);
    }
  }
  expect(wrong).toEqual([]);
});

/** What follows `test(` and its like, up to the end of the string. */
function titlesOf(source: string): readonly string[] {
  return [...source.matchAll(/\b(?:test|it)\b[^"`]*["`]([^"`]*)/g)].map(([, title = ""]) => title);
}
