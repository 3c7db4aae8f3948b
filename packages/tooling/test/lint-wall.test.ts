// The lint wall: outside `clock` and the apps, no source reads ambient time or randomness.

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../..");

/** One offence a line; each must be found where it stands. */
const forbidden = [
  "Date.now();",
  "const readClock = Date.now;",
  "const { now } = Date;",
  "new Date();",
  "Date();",
  "performance.now();",
  "process.hrtime.bigint();",
  "process.uptime();",
  "setTimeout(() => {}, 1);",
  "setInterval(() => {}, 1);",
  "setImmediate(() => {});",
  "globalThis.setTimeout(() => {}, 1);",
  "globalThis.Date.now();",
  "AbortSignal.timeout(1);",
  "Math.random();",
  "crypto.randomUUID();",
  "crypto.getRandomValues(new Uint8Array(1));",
  "globalThis.crypto.randomUUID();",
  'import { setTimeout as wait } from "node:timers/promises";',
  'import timers from "node:timers";',
  'import "timers";',
  'const later = import("node:timers/promises");',
  'import { randomUUID } from "node:crypto";',
  'import { randomBytes as noise } from "crypto";',
  'import * as everything from "node:crypto";',
  'import { performance as stopwatch } from "node:perf_hooks";',
];

const allowed = [
  "new Date(0).toISOString();",
  'Date.parse("2026-01-01");',
  "Math.floor(0.5);",
  'import { createHash } from "node:crypto";',
  "const options = { setTimeout: 1 }; options.setTimeout;",
];

interface Finding {
  readonly code: string;
  readonly filename: string;
  readonly labels: readonly { readonly span: { readonly line: number } }[];
}

const wall = /^(eslint\(no-restricted-(globals|properties|imports)\)|ambient\()/;

function lint(files: Record<string, readonly string[]>): Record<string, ReadonlySet<number>> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-lint-"));
  try {
    cpSync(join(root, ".oxlintrc.json"), join(folder, ".oxlintrc.json"));
    cpSync(join(root, "scripts/lint"), join(folder, "scripts/lint"), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    for (const [name, lines] of Object.entries(files)) {
      mkdirSync(join(folder, name, ".."), { recursive: true });
      writeFileSync(join(folder, name), `${lines.join("\n")}\n`);
    }
    const oxlint = join(root, "node_modules/.bin/oxlint");
    const done = spawnSync(oxlint, ["--format", "json", ...Object.keys(files)], { cwd: folder, encoding: "utf8" });
    const { diagnostics } = JSON.parse(done.stdout) as { readonly diagnostics: readonly Finding[] };
    const found: Record<string, Set<number>> = Object.fromEntries(Object.keys(files).map((name) => [name, new Set()]));
    for (const { filename, labels } of diagnostics.filter((each) => wall.test(each.code))) {
      found[filename]?.add(labels[0]?.span.line ?? -1);
    }
    return found;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("lint finds every way to ambient time and randomness, and only those", () => {
  const files = {
    "packages/stream/src/bad.ts": forbidden,
    "packages/store-watch/src/deep/bad.ts": forbidden,
    "packages/stream/src/good.ts": allowed,
    "packages/clock/src/any.ts": forbidden,
    "apps/daemon/src/any.ts": forbidden,
    "packages/stream/test/any.test.ts": forbidden,
  };
  const found = lint(files);
  for (const name of ["packages/stream/src/bad.ts", "packages/store-watch/src/deep/bad.ts"]) {
    expect(forbidden.filter((_, index) => !found[name]?.has(index + 1))).toEqual([]);
  }
  for (const name of Object.keys(files).filter((each) => !each.endsWith("bad.ts"))) {
    expect([name, [...(found[name] ?? [])]]).toEqual([name, []]);
  }
});
