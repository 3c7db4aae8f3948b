import { expect, onTestFinished, test } from "vitest";
import { planOf } from "../src/sim/plan.ts";
import { argumentsOf, shrinkChoice } from "../src/sim/shrink.ts";
import { renderSim, simulate } from "../src/sim/sim-command.ts";
import { runChoice, simFolder } from "../src/sim/sim-run.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const seeds = isLong ? 1000 : 25;

test(`O1–O9: ${seeds} whole systems hold what they promise, under every fault, and end equal`, {
  timeout: isLong ? 3 * 3_600_000 : 900_000,
}, async () => {
  const lines: string[] = [];
  const report = await simulate({
    seeds,
    choice: { seed: 1 },
    isTraced: false,
    isShrinking: true,
    maxFailures: 3,
    say: (line) => lines.push(line),
  });
  expect(report.failures, lines.join("\n")).toEqual([]);
  // What was to be survived did happen.
  const { totals } = report;
  for (const what of [
    "crashes",
    "partitions",
    "restarts",
    "jumps",
    "conflicts",
    "merges",
    "gaps",
    "trimmed",
    "refused",
    "early",
    "pruned",
    "bootstraps",
  ]) {
    expect(totals[what], what).toBeGreaterThan(0);
  }
  console.log(renderSim(report));
});

test("worlds that the time does not suffice for are left, and the arguments of the rest are known", async () => {
  const say = () => {};
  const options = { choice: { seed: 5 }, isTraced: false, isShrinking: false, maxFailures: 1, say };
  const report = await simulate({ ...options, seeds: 7, limitMs: 0 });
  expect(report).toMatchObject({ seeds: 0, left: 7, failures: [] });
  expect(argumentsOf({ seed: 5 }, 7)).toBe("sim --seeds 7 --seed 5");
});

test("the plan of a seed does not change when something is taken away", () => {
  const whole = planOf({ seed: 4 });
  const less = planOf({ seed: 4, without: ["crash"], followers: 0 });
  expect(less.link).toEqual(whole.link);
  expect(less.sites.map(({ policy }) => policy)).toEqual(whole.sites.map(({ policy }) => policy));
  expect(less.everyMs.crash).toBe(Number.POSITIVE_INFINITY);
  expect(less.followers).toEqual([]);
});

test("what does not fail in the same way is not smaller, and arguments say how to run a world again", {
  timeout: 600_000,
}, async () => {
  const folder = simFolder();
  onTestFinished(() => folder.remove());
  const choice = { seed: 3, followers: 0, edits: 3 };
  const before = await runChoice(choice, folder.path);
  expect(before.isSound).toBe(true);
  const shrunk = await shrinkChoice(choice, "O4", folder.path, 3);
  expect(shrunk.choice).toEqual(choice);
  expect(argumentsOf({ seed: 3, without: ["crash", "link"], followers: 0, edits: 2 })).toBe(
    "sim --seeds 1 --seed 3 --without crash,link --followers 0 --edits 2",
  );
});
