import { expect, test } from "vitest";
import { World, type WorldReport } from "./world.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
/** The first seed; with a number of worlds any part of the long run can be run alone. */
const from = Number(process.env["TIDEMARK_FROM"] ?? 0);
const numWorlds = Number(process.env["TIDEMARK_WORLDS"] ?? (isLong ? 10_000 : 60));

test("whatever is delivered twice, late or never in order, and whoever crashes: all sites end equal and nothing is lost", {
  timeout: isLong ? 3 * 3_600_000 : 300_000,
}, async () => {
  const sum: Record<string, number> = {};
  for (let seed = from; seed < from + numWorlds; seed++) {
    const report = await new World(seed).run().catch((cause: unknown) => {
      throw new Error(`world ${seed} (TIDEMARK_FROM=${seed} TIDEMARK_WORLDS=1): ${String(cause)}`, { cause });
    });
    for (const [name, value] of Object.entries(report)) sum[name] = (sum[name] ?? 0) + value;
  }
  console.log(`worlds ${from} to ${from + numWorlds - 1} ended well: ${JSON.stringify(sum)}`);
  if (numWorlds < 50) return;
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
    "caughtUp",
    "pruned",
    "tooLate",
    "bootstraps",
    "heldBack",
    "lostAnswers",
    "hastyDeletions",
    "takeovers",
    "resumed",
  ];
  for (const what of happened) expect(sum[what], what).toBeGreaterThan(0);
});

test(
  "what was written without an answer is not written again where a user has deleted it",
  async () => {
    let [lost, deleted] = [0, 0];
    for (let seed = from; seed < from + Math.ceil(numWorlds / 2); seed++) {
      const report = await new World(seed, { lost: 0.4, deleted: 0.5 }).run().catch((cause: unknown) => {
        throw new Error(`world ${seed} (TIDEMARK_FROM=${seed} TIDEMARK_WORLDS=1): ${String(cause)}`, { cause });
      });
      lost += report.lostAnswers;
      deleted += report.hastyDeletions;
    }
    console.log(`${lost} answers were lost, users deleted ${deleted} times`);
    if (numWorlds < 50) return;
    expect(lost).toBeGreaterThan(0);
    expect(deleted).toBeGreaterThan(0);
  },
  isLong ? 3_600_000 : 300_000,
);

test("the same seed is the same world", async () => {
  expect(await new World(7).run()).toEqual(await new World(7).run());
});
