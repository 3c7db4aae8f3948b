import { join } from "node:path";
import type { SeededRng } from "@tidemark/clock";
import type { ChaosWorld } from "./chaos-world.ts";

/** Something bad that happens. It leaves everything running again, but not caught up. */
export interface Fault {
  readonly name: FaultName;
  /** What it needs from before, or it is not chosen. */
  readonly isPossible?: (world: ChaosWorld) => boolean;
  inflict(world: ChaosWorld, rng: SeededRng): Promise<void>;
}

export type FaultName =
  | "kill-follower"
  | "kill-etcd"
  | "freeze-etcd"
  | "freeze-follower"
  | "cut-catch-up"
  | "black-hole"
  | "compact-while-away"
  | "compact-while-live"
  | "slow-link"
  | "backup"
  | "wipe"
  | "restore";

/** SIGKILL at a random moment of its life: while it starts, connects, reads its snapshot or its past, or is live. */
async function killFollower({ follower, workload }: ChaosWorld, rng: SeededRng): Promise<void> {
  switch (rng.int(0, 4)) {
    case 0:
      await workload.after(rng.int(0, 800));
      break;
    case 1:
      await follower.in("live");
      await workload.after(rng.int(0, 100));
      break;
    case 2:
      for (let commits = rng.int(1, 12); commits > 0; commits--)
        await follower.next(({ type }) => type === "committed");
      break;
    default:
      await follower.next(() => true);
  }
  await follower.kill();
  await workload.after(rng.int(0, 300));
  follower.start();
}

/** Away, as far as etcd's history is concerned: the follower is dead, or its way is blocked. */
async function whileAway(world: ChaosWorld, rng: SeededRng, work: () => Promise<void>): Promise<void> {
  const { follower, proxy } = world;
  if (rng.float() < 0.5) {
    await follower.kill();
    await work();
    follower.start();
  } else {
    proxy.refuse();
    await work();
    proxy.heal();
  }
}

/**
 * Puts another store in the place of the one that is followed, and waits until it is followed as another. A follower that
 * was away in the same process finds out by itself, also when the new store has meanwhile come past where it was. One that
 * was killed cannot always (see the README of `source-etcd`), so in that case nobody writes until it has looked.
 */
async function replaceStore(world: ChaosWorld, rng: SeededRng, replace: () => Promise<void>): Promise<void> {
  const { follower, proxy, workload } = world;
  await follower.in("live");
  await workload.after(rng.int(20, 300));
  await follower.next(({ type }) => type === "committed");
  const { epoch } = follower;
  const replaceNow = async () => {
    await workload.pause();
    await world.whileDown(replace);
    workload.storeChanged();
  };
  switch (rng.int(0, 3)) {
    case 0:
      await replaceNow();
      workload.resume();
      break;
    case 1:
      proxy.refuse();
      await replaceNow();
      workload.resume();
      // Often more than the old store ever had.
      await workload.after(rng.int(0, 3_000));
      proxy.heal();
      break;
    default:
      await follower.kill();
      await replaceNow();
      follower.start();
      await follower.inEpochAfter(epoch);
      workload.resume();
  }
  await follower.inEpochAfter(epoch);
}

export const faults: readonly Fault[] = [
  { name: "kill-follower", inflict: killFollower },
  {
    name: "kill-etcd",
    async inflict(world, rng) {
      const { etcd, follower, workload } = world;
      await workload.after(rng.int(0, 300));
      await world.whileDown(async () => {
        await etcd.kill9();
        if (follower.isRunning && rng.float() < 0.5) await follower.in("reconnecting");
        await etcd.start();
      });
    },
  },
  {
    name: "freeze-etcd",
    async inflict({ etcd, follower, workload }, rng) {
      await follower.in("live");
      await workload.after(rng.int(0, 100));
      etcd.freeze();
      await follower.in("reconnecting");
      etcd.thaw();
    },
  },
  {
    name: "freeze-follower",
    async inflict({ follower, workload }, rng) {
      await follower.in("live");
      await workload.after(rng.int(0, 200));
      await follower.freeze();
      await workload.after(rng.int(50, 1_500));
      await follower.thaw();
    },
  },
  {
    name: "cut-catch-up",
    async inflict({ follower, proxy, workload }, rng) {
      await follower.in("live");
      proxy.refuse();
      await workload.after(rng.int(500, 2_000));
      // Each time it gets a little further, or not even that.
      for (let cuts = rng.int(1, 5); cuts > 0; cuts--) {
        proxy.heal();
        await proxy.cutAfter(rng.int(1, 400_000));
      }
      proxy.heal();
    },
  },
  {
    name: "black-hole",
    async inflict({ follower, proxy, workload }, rng) {
      await follower.in("live");
      await workload.after(rng.int(0, 100));
      proxy.blackHole();
      await follower.in("reconnecting");
      proxy.heal();
    },
  },
  {
    name: "compact-while-away",
    async inflict(world, rng) {
      const { etcd, follower, ledger, workload } = world;
      await follower.in("live");
      await workload.after(rng.int(50, 300));
      await follower.next(({ type }) => type === "committed");
      await whileAway(world, rng, async () => {
        await workload.after(rng.int(1, 600));
        const revision = await etcd.client.revision();
        await workload.after(rng.int(0, 200));
        ledger.compacted(revision);
        await etcd.compact(revision);
        await workload.after(rng.int(0, 200));
      });
    },
  },
  {
    name: "compact-while-live",
    async inflict({ etcd, follower, ledger, workload }, rng) {
      await follower.in("live");
      await workload.after(rng.int(50, 300));
      await follower.next(({ type }) => type === "committed");
      const revision = await etcd.client.revision();
      ledger.compacted(revision);
      await etcd.compact(revision);
    },
  },
  {
    name: "slow-link",
    async inflict({ proxy, workload }, rng) {
      proxy.limit(rng.int(50_000, 500_000));
      await workload.after(rng.int(100, 1_000));
      proxy.heal();
    },
  },
  {
    name: "backup",
    isPossible: (world) => world.backup === undefined,
    async inflict(world) {
      const { etcd, folder, ledger, workload } = world;
      await workload.pause();
      const file = join(folder, `backup-${workload.acknowledged}`);
      await etcd.saveBackup(file);
      world.backup = { file, era: ledger.era, revision: await etcd.client.revision() };
      workload.resume();
    },
  },
  {
    name: "wipe",
    async inflict(world, rng) {
      const { etcd, ledger } = world;
      await replaceStore(world, rng, async () => {
        await etcd.wipe();
        ledger.wiped();
      });
    },
  },
  {
    name: "restore",
    isPossible: ({ backup }) => backup !== undefined,
    async inflict(world, rng) {
      const { etcd, ledger, backup } = world;
      if (backup === undefined) return;
      await replaceStore(world, rng, async () => {
        await etcd.restoreBackup(backup.file);
        ledger.restored(backup.era, backup.revision);
        world.backup = undefined;
      });
    },
  },
];

export function faultNamed(name: FaultName): Fault {
  return faults.find((fault) => fault.name === name) as Fault;
}
