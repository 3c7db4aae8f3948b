import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { type EtcdChaosProgress, runChaos } from "../src/chaos/chaos-run.ts";
import type { FaultName } from "../src/chaos/faults.ts";
import { whyNoSmallDisk } from "../src/chaos/small-disk.ts";
import type { FollowDefect } from "../src/roles/follow-options.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const seed = Number(process.env["TIDEMARK_SEED"] ?? (isLong ? Date.now() % 1_000_000 : 1));
const timeoutMs = isLong ? 1_800_000 : 900_000;

/** Inflicts these faults in turn, so often in all, and proves each time what the title says. */
async function inflict(only: readonly FaultName[], times: number, signal: AbortSignal): Promise<EtcdChaosProgress> {
  console.info(`seed ${seed}`);
  const isDone = ({ total }: EtcdChaosProgress) => total >= times;
  const progress = await runChaos({ seed, only, inOrder: true, isDone, verifyEvery: isLong ? 10 : 5, signal });
  expect(progress.total).toBe(times);
  // Most of it came by the watch: a snapshot would prove less.
  expect(progress.verified?.streamed).toBeGreaterThan(100);
  return progress;
}

const kills = isLong ? 200 : 6;
const rounds = isLong ? 20 : 1;

serviceTest("etcd")(
  `a follower that is killed ${kills} times loses nothing and doubles nothing`,
  async ({ signal }) => {
    const { counts, verified } = await inflict(["kill-follower"], kills, signal);
    expect(counts["kills of the follower"]).toBe(kills);
    // Nothing was compacted, so there is nothing to record.
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "deaths, freezes, cuts, black holes, wrong or missing bytes over TLS and jumps of a clock lose nothing and leave no gap",
  async ({ signal }) => {
    const only = [
      "kill-etcd",
      "freeze-etcd",
      "freeze-follower",
      "cut-catch-up",
      "corrupt-link",
      "clock-jump",
      "black-hole",
      "slow-link",
      "truncate-link",
    ] as const;
    const { inflicted, verified } = await inflict(only, only.length * rounds, signal);
    expect([...inflicted.keys()].toSorted()).toEqual(only.toSorted());
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "a disk that is full under the replica holds commits up, one under etcd ends it, and nothing that was accepted is lost or doubled",
  async ({ signal, skip }) => {
    const why = await whyNoSmallDisk();
    skip(why !== undefined, why);
    const { verified } = await inflict(["full-disk", "full-etcd-disk"], 2 * rounds, signal);
    expect(verified?.gaps).toBe(0);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "what etcd compacts away is a gap, and only that is",
  async ({ signal }) => {
    const { verified } = await inflict(["compact-while-away", "compact-while-live"], 2 * rounds, signal);
    expect(verified?.gaps).toBeGreaterThanOrEqual(1);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "an etcd that is wiped, and one that is restored, are new epochs of one history",
  async ({ signal }) => {
    const { verified } = await inflict(["wipe", "backup", "restore"], 3 * rounds, signal);
    expect(verified?.epochs).toBeGreaterThanOrEqual(2);
  },
  timeoutMs,
);

serviceTest("etcd")(
  "everything at once, as a seed decides, ends in a replica that is proven",
  async ({ signal }) => {
    console.info(`seed ${seed}`);
    const faults = isLong ? 200 : 6;
    const progress = await runChaos({
      seed,
      isDone: ({ total }) => total >= faults,
      verifyEvery: isLong ? 10 : 3,
      signal,
    });
    expect(progress.total).toBe(faults);
  },
  timeoutMs,
);

/** What the proof says about a follower that is broken on purpose. */
async function foundOut(defect: FollowDefect, only: readonly FaultName[], signal: AbortSignal): Promise<string> {
  const isDone = ({ total }: EtcdChaosProgress) => total >= 3;
  const broken = runChaos({ seed, only, inOrder: true, isDone, verifyEvery: 1, defect, signal });
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
