import { type ChaosOptions, type ChaosWorld, createChaosWorld, type Verified } from "./chaos-world.ts";
import { type Fault, type FaultName, faultNamed, faults } from "./faults.ts";

export interface ChaosRunOptions extends ChaosOptions {
  /** The faults to choose from. @default all */
  readonly only?: readonly FaultName[];
  /** Faults in this order, again and again, instead of a choice by seed. */
  readonly inOrder?: boolean;
  /** When to stop: asked before every fault. */
  readonly isDone: (progress: ChaosProgress) => boolean;
  /** Everything is compared after so many faults, and in the end. @default 10 */
  readonly verifyEvery?: number;
  readonly onProgress?: (progress: ChaosProgress) => void;
}

export interface ChaosProgress {
  readonly seed: number;
  readonly elapsedMs: number;
  /** How often each fault was inflicted. */
  readonly inflicted: ReadonlyMap<FaultName, number>;
  readonly total: number;
  readonly followerKills: number;
  readonly operations: number;
  readonly verifications: number;
  /** What the last verification found. */
  readonly verified: Verified | undefined;
}

/**
 * Inflicts one fault after the other on a follower of a real etcd, while etcd is written to all the time, and proves again
 * and again that nothing was lost, doubled, invented or reordered, and that exactly the losses are on record that etcd
 * itself made. Equal seeds choose the same faults; what the machine does in between is its own affair.
 *
 * @throws with the findings, the seed and the faults so far.
 */
export async function runChaos(options: ChaosRunOptions): Promise<ChaosProgress> {
  const { verifyEvery = 10 } = options;
  const startedMs = performance.now();
  const inflicted = new Map<FaultName, number>();
  await using world = await createChaosWorld(options);
  let total = 0;
  let verifications = 0;
  let verified: Verified | undefined;
  const progress = (): ChaosProgress => ({
    seed: options.seed,
    elapsedMs: performance.now() - startedMs,
    inflicted,
    total,
    followerKills: world.follower.kills,
    operations: world.workload.acknowledged,
    verifications,
    verified,
  });
  const verify = async () => {
    verified = await world.step("verify", () => world.verify());
    verifications++;
    options.onProgress?.(progress());
  };
  try {
    // The first snapshot finds something.
    await world.step("first writes", () => world.workload.after(50));
    world.follower.start();
    const choose = chooser(world, options);
    while (!options.isDone(progress())) {
      const fault = choose();
      await world.step(fault.name, () => fault.inflict(world, world.rng.fork(`${fault.name} ${total}`)));
      total++;
      inflicted.set(fault.name, (inflicted.get(fault.name) ?? 0) + 1);
      if (total % verifyEvery === 0) await verify();
      else options.onProgress?.(progress());
    }
    // Faults in quick succession may leave all of it to the first snapshot, and that would prove little of the watch.
    await world.step("last writes", async () => {
      await world.follower.in("live");
      await world.workload.after(150);
    });
    await verify();
    await world.step("close", () => world.follower.close());
    return progress();
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    const faultsSoFar = world.log.slice(-30).join(", ");
    throw new Error(`seed ${options.seed}: ${said}\nlast steps: ${faultsSoFar}`, { cause: error });
  }
}

/** The next fault that is possible now. */
function chooser(world: ChaosWorld, { only, inOrder = false }: ChaosRunOptions): () => Fault {
  const among = only === undefined ? faults : only.map(faultNamed);
  const rng = world.rng.fork("faults");
  let turn = 0;
  return () => {
    for (;;) {
      const fault = inOrder ? among[turn++ % among.length] : rng.pick(among);
      if (fault !== undefined && (fault.isPossible?.(world) ?? true)) return fault;
      if (inOrder && turn > 10_000) throw new Error("none of these faults is possible");
    }
  };
}
