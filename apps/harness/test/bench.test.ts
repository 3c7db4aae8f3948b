import { expect, test } from "vitest";
import { allBenches } from "../src/bench/all-benches.ts";
import { packageBenches } from "../src/bench/package-benches.ts";
import { runCli } from "../src/cli.ts";

/** Runs a command and returns what it prints. */
async function printed(args: readonly string[]): Promise<{ readonly code: number; readonly text: string }> {
  let text = "";
  const { write } = process.stdout;
  process.stdout.write = ((chunk: string) => ((text += chunk), true)) as typeof write;
  try {
    return { code: await runCli(args), text };
  } finally {
    process.stdout.write = write;
  }
}

test("every benchmark of every package is in the whole, or in a part of another", () => {
  const names = new Set(allBenches().map(({ name }) => name));
  const missing = packageBenches().filter(({ name }) => !names.has(name));
  expect(missing.map(({ name }) => name)).toEqual(["connect-transport/frames", "stream/buffers", "topic/codec"]);
});

test("benchmarks end in one table, with their goals where they have some", { timeout: 600_000 }, async () => {
  const { code, text } = await printed(["bench", "--quick", "--only", "topics/codec,migrate/start-up"]);
  expect(code).toBe(0);
  expect(text).toMatch(/^\| +\| +result \| +goal \| met \|$/m);
  expect(text).toMatch(/^\| topics\/codec: C1 encode WriteRequest.* \| +[\d.]+ × \| +≥ 7 × \| (yes| no) \|$/m);
  expect(text).toMatch(/^\| migrate\/start-up: 1000 rows +\| +first [\d.]+ ms.* \| +– \| +– \|$/m);
  expect(text).toMatch(/^\d of 6 goals met, 0 benchmarks failed$/m);
});

test("what there is can be listed, and a name that is none is told", async () => {
  expect((await printed(["bench", "--list", "--only", "etcd"])).text.split("\n")).toEqual([
    "etcd/backlog",
    "etcd/live",
    "etcd/memory",
    "etcd/reopen",
    "",
  ]);
  expect((await printed(["bench", "--only", "nothing"])).code).toBe(2);
});
