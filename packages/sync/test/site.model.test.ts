import fc from "fast-check";
import { expect, test } from "vitest";
import { World, type WorldReport } from "./world.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
// TIDEMARK_WORLDS: another number of them; TIDEMARK_SEED: one of them first.
const numRuns = Number(process.env["TIDEMARK_WORLDS"] ?? (isLong ? 10_000 : 100));

test("whatever is delivered twice, late or never in order, and whoever crashes: all sites end equal and nothing is lost", {
  timeout: isLong ? 3 * 3_600_000 : 120_000,
}, async () => {
  const sum: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(fc.noShrink(fc.integer({ min: 0, max: 2 ** 31 - 1 })), async (seed) => {
      const report = await new World(seed).run();
      for (const [name, value] of Object.entries(report)) sum[name] = (sum[name] ?? 0) + value;
    }),
    { numRuns, ...(process.env["TIDEMARK_SEED"] && { examples: [[Number(process.env["TIDEMARK_SEED"])]] }) },
  );
  // What was to be survived did happen.
  const happened: (keyof WorldReport)[] = [
    "edits",
    "crashes",
    "conflicts",
    "links",
    "merges",
    "open",
    "stores",
    "missed",
  ];
  for (const what of happened)
    expect({ what, count: sum[what] }).toEqual({ what, count: expect.any(Number) as number });
  for (const what of happened) expect(sum[what], what).toBeGreaterThan(0);
  console.log(`${numRuns} worlds: ${JSON.stringify(sum)}`);
});

test("the same seed is the same world", async () => {
  expect(await new World(7).run()).toEqual(await new World(7).run());
});
