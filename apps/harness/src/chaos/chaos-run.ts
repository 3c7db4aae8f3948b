import { type ChaosLoopOptions, type ChaosProgress, chaosLoop, chosenFaults } from "./chaos-loop.ts";
import { type ChaosOptions, createChaosWorld, type Verified } from "./chaos-world.ts";
import { type FaultName, faults } from "./faults.ts";

export type ChaosRunOptions = ChaosOptions & ChaosLoopOptions<FaultName, Verified>;
export type EtcdChaosProgress = ChaosProgress<FaultName, Verified>;

/**
 * Inflicts one fault after the other on a follower of a real etcd, while etcd is written to all the time, and proves again
 * and again that nothing was lost, doubled, invented or reordered, and that exactly the losses are on record that etcd
 * itself made.
 *
 * @throws with the findings, the seed and the faults so far.
 */
export async function runChaos(options: ChaosRunOptions): Promise<EtcdChaosProgress> {
  const chosen = chosenFaults(faults, options.only);
  const { world, lacks } = await createChaosWorld(options, new Set(chosen.flatMap(({ needs }) => needs ?? [])));
  await using subject = world;
  return await chaosLoop(subject, chosen, lacks, options);
}
