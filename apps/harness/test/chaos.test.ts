import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { type ChaosProgress, runChaos } from "../src/chaos/chaos-run.ts";
import type { FaultName } from "../src/chaos/faults.ts";
import type { FollowDefect } from "../src/roles/follow-options.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const seed = Number(process.env["TIDEMARK_SEED"] ?? Date.now() % 1_000_000_000);
const timeoutMs = isLong ? 1_800_000 : 120_000;

/** Inflicts these faults in turn, so often in all, and proves each time what the title says. */
async function inflict(only: readonly FaultName[], times: number, signal: AbortSignal): Promise<ChaosProgress> {
  console.info(`seed ${seed}`);
  const isDone = ({ total }: ChaosProgress) => total >= times;
  const progress = await runChaos({ seed, only, inOrder: true, isDone, verifyEvery: isLong ? 10 : 5, signal });
  expect(progress.total).toBe(times);
  // Most of it came by the watch: a snapshot would prove less.
  expect(progress.verified?.streamed).toBeGreaterThan(100);
  return progress;
}

const kills = isLong ? 200 : 10;
const some = isLong ? 20 : 2;

serviceTest("etcd")(
  `a follower that is killed ${kills} times loses nothing and doubles nothing`,
  async ({ signal }) => {
    const { followerKills, verified } = await inflict(["kill-follower"], kills, signal);
    expect(followerKills).toBe(kills);
    // Nothing was compacted, so there is nothing to record.
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "an etcd that is killed and comes back is followed without a gap",
  async ({ signal }) => {
    const { verified } = await inflict(["kill-etcd"], some + 1, signal);
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "an etcd that freezes, and a follower that does, lose nothing",
  async ({ signal }) => {
    const { verified } = await inflict(["freeze-etcd", "freeze-follower"], 2 * some, signal);
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "connections cut at random bytes of a catch-up, black holes and slow links lose nothing",
  async ({ signal }) => {
    const { verified } = await inflict(["cut-catch-up", "black-hole", "slow-link", "cut-catch-up"], 2 * some, signal);
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "what etcd compacts away is a gap, and only that is",
  async ({ signal }) => {
    const { verified } = await inflict(["compact-while-away", "compact-while-live"], 2 * some, signal);
    expect(verified?.gaps).toBeGreaterThanOrEqual(1);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "an etcd that is wiped, and one that is restored, are new epochs of one history",
  async ({ signal }) => {
    const { verified } = await inflict(["wipe", "backup", "restore"], 3 * (isLong ? 10 : 1), signal);
    expect(verified?.epochs).toBeGreaterThanOrEqual(2);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "everything at once, as a seed decides, ends in a replica that is proven",
  async ({ signal }) => {
    console.info(`seed ${seed}`);
    const faults = isLong ? 200 : 8;
    const progress = await runChaos({
      seed,
      isDone: ({ total }) => total >= faults,
      verifyEvery: isLong ? 10 : 4,
      signal,
    });
    expect(progress.total).toBe(faults);
  },
  timeoutMs,
);

/** What the proof says about a follower that is broken on purpose. */
async function foundOut(defect: FollowDefect, only: readonly FaultName[], signal: AbortSignal): Promise<string> {
  const isDone = ({ total }: ChaosProgress) => total >= 3;
  const broken = runChaos({ seed, only, inOrder: true, isDone, defect, signal });
  return broken.then(
    () => "nothing was found",
    (error: Error) => error.message,
  );
}

serviceTest("etcd")(
  "a follower that loses a change, cuts a transaction or hides a gap is found out",
  async ({ signal }) => {
    expect(await foundOut("loses-changes", ["freeze-follower"], signal)).toMatch(/missing: /);
    expect(await foundOut("runs-ahead", ["freeze-follower"], signal)).toMatch(/torn: |missing: /);
    expect(await foundOut("hides-gaps", ["compact-while-away"], signal)).toMatch(/gap: nothing happened/);
  },
  timeoutMs,
);
