import { join } from "node:path";
import type { SeededRng } from "@tidemark/clock";
import type { Fault } from "./chaos-loop.ts";
import type { ChaosWorld } from "./chaos-world.ts";
import type { Spoiling } from "./spoiler.ts";

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
  | "restore"
  | "corrupt-link"
  | "truncate-link"
  | "full-disk"
  | "full-etcd-disk"
  | "clock-jump";

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

/** A byte that is another, or bytes that are missing: over TLS both are noticed, and are the end of the connection. */
async function spoilLink({ follower, spoiler }: ChaosWorld, rng: SeededRng, how: Spoiling): Promise<void> {
  await follower.in("live");
  const direction = rng.float() < 0.8 ? "down" : "up";
  // Upwards there is little: requests, pings and credit.
  const afterBytes = rng.int(0, direction === "down" ? 200_000 : 200);
  await spoiler?.spoil({ how, direction, afterBytes, missingBytes: rng.int(1, 2_000) });
  // At once: it may be back soon.
  await follower.in("reconnecting");
}

/** @throws what is no full disk */
function isFull(error: unknown): void {
  if (!String(error).includes("no space left")) throw error;
}

export const faults: readonly Fault<ChaosWorld, FaultName>[] = [
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
  {
    name: "corrupt-link",
    needs: "tls",
    inflict: (world, rng) => spoilLink(world, rng, "corrupt"),
  },
  {
    name: "truncate-link",
    needs: "tls",
    inflict: (world, rng) => spoilLink(world, rng, "truncate"),
  },
  {
    name: "full-disk",
    needs: "small-disk",
    async inflict({ disk, follower, workload }, rng) {
      await follower.in("live");
      await workload.after(rng.int(0, 200));
      const failed = follower.next(({ type }) => type === "commit-failed");
      await disk?.fill(rng.int(0, 100_000));
      await failed;
      await workload.after(rng.int(0, 500));
      const dies = rng.float() < 0.3;
      if (dies) await follower.kill();
      await disk?.free();
      if (dies) follower.start();
    },
  },
  {
    // etcd has an alarm for its quota; of the disk it knows nothing, and ends at the first write that it cannot keep.
    name: "full-etcd-disk",
    needs: "store-disk",
    async inflict(world, rng) {
      const { storeDisk, etcd, follower, workload } = world;
      await follower.in("live");
      await workload.after(rng.int(0, 200));
      await world.whileDown(async () => {
        await storeDisk?.fill(rng.int(0, 100_000));
        await follower.in("reconnecting");
        // Whoever restarts it without making room: it comes up if it has nothing to write, or ends again.
        if (rng.float() < 0.5) await etcd.restart().catch(isFull);
        await storeDisk?.free();
        await etcd.restart();
      });
    },
  },
  {
    name: "clock-jump",
    async inflict({ follower, workload }, rng) {
      await follower.in("live");
      await follower.jumpClock(rng.pick([-86_400_000, -3_600_000, -1_000, 1_000, 3_600_000, 86_400_000]));
      await workload.after(rng.int(50, 500));
    },
  },
];
