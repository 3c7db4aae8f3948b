import type { SeededRng } from "@tidemark/clock";
import type { Steps } from "./steps.ts";

/** What a fault needs of the machine; where that is missing it is left out. */
export type FaultNeed = "tls" | "small-disk" | "store-disk";

/** Something bad that happens to a world. It leaves everything running again, but not caught up. */
export interface Fault<World, Name extends string> {
  readonly name: Name;
  readonly needs?: FaultNeed;
  /** What has to have happened before, or it is not chosen. */
  readonly isPossible?: (world: World) => boolean;
  inflict(world: World, rng: SeededRng): Promise<void>;
}

/** Everything that faults are done to, and that can tell whether it got over them. */
export interface ChaosSubject<Verified> extends AsyncDisposable {
  readonly rng: SeededRng;
  readonly steps: Steps;
  /** Starts what is to get over it, with something to do. */
  begin(): Promise<void>;
  /** Compares everything that is there with everything that was done. @throws with everything that was found */
  verify(): Promise<Verified>;
  /** Faults in quick succession may leave little to prove: waits until all of it was at work once more. */
  settle(): Promise<void>;
  /** Ends as an owner would. */
  end(): Promise<void>;
  /** Of this run, for its table. */
  counts(): Readonly<Record<string, number>>;
}

export interface ChaosLoopOptions<Name extends string, Verified> {
  readonly seed: number;
  /** The faults to choose from. @default all */
  readonly only?: readonly Name[];
  /** Faults in this order, again and again, instead of a choice by seed. */
  readonly inOrder?: boolean;
  /** When to stop: asked before every fault. */
  readonly isDone: (progress: ChaosProgress<Name, Verified>) => boolean;
  /** Everything is compared after so many faults, and in the end. @default 10 */
  readonly verifyEvery?: number;
  readonly onProgress?: (progress: ChaosProgress<Name, Verified>) => void;
}

export interface ChaosProgress<Name extends string, Verified> {
  readonly seed: number;
  readonly elapsedMs: number;
  /** How often each fault was inflicted. */
  readonly inflicted: ReadonlyMap<Name, number>;
  readonly total: number;
  readonly verifications: number;
  /** What the last verification found. */
  readonly verified: Verified | undefined;
  readonly counts: Readonly<Record<string, number>>;
}

/** The faults that are chosen from. @throws {Error} for a name that is none */
export function chosenFaults<F extends { readonly name: string }>(
  all: readonly F[],
  only?: readonly string[],
): readonly F[] {
  if (only === undefined) return all;
  return only.map((name) => {
    const found = all.find((fault) => fault.name === name);
    if (found === undefined) throw new Error(`there is no fault "${name}"`);
    return found;
  });
}

/**
 * Inflicts one fault after the other on a world, and has it prove again and again that it got over them. Equal seeds
 * choose the same faults; what the machine does in between is its own affair.
 *
 * @param lacks which needs this machine does not meet
 * @throws with the findings, the seed and the faults so far.
 */
export async function chaosLoop<World extends ChaosSubject<Verified>, Name extends string, Verified>(
  world: World,
  faults: readonly Fault<World, Name>[],
  lacks: ReadonlySet<FaultNeed>,
  options: ChaosLoopOptions<Name, Verified>,
): Promise<ChaosProgress<Name, Verified>> {
  const { verifyEvery = 10 } = options;
  const { steps } = world;
  const startedMs = performance.now();
  const inflicted = new Map<Name, number>();
  let total = 0;
  let verifications = 0;
  let verified: Verified | undefined;
  const progress = (): ChaosProgress<Name, Verified> => ({
    seed: options.seed,
    elapsedMs: performance.now() - startedMs,
    inflicted,
    total,
    verifications,
    verified,
    counts: world.counts(),
  });
  const verify = async () => {
    verified = await steps.run("verify", () => world.verify());
    verifications++;
    options.onProgress?.(progress());
  };
  try {
    await steps.run("begin", () => world.begin());
    const choose = chooser(world, faults, lacks, options.inOrder ?? false);
    while (!options.isDone(progress())) {
      const fault = choose();
      await steps.run(fault.name, () => fault.inflict(world, world.rng.fork(`${fault.name} ${total}`)));
      total++;
      inflicted.set(fault.name, (inflicted.get(fault.name) ?? 0) + 1);
      if (total % verifyEvery === 0) await verify();
      else options.onProgress?.(progress());
    }
    await steps.run("settle", () => world.settle());
    await verify();
    await steps.run("end", () => world.end());
    return progress();
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${options.seed}: ${said}\nlast steps: ${steps.log.slice(-30).join(", ")}`, { cause: error });
  }
}

/** The next fault that is possible now. */
function chooser<World extends ChaosSubject<unknown>, Name extends string>(
  world: World,
  faults: readonly Fault<World, Name>[],
  lacks: ReadonlySet<FaultNeed>,
  inOrder: boolean,
): () => Fault<World, Name> {
  const among = faults.filter(({ needs }) => needs === undefined || !lacks.has(needs));
  if (among.length === 0) throw new Error("this machine meets the needs of none of these faults");
  const rng = world.rng.fork("faults");
  let turn = 0;
  return () => {
    for (let tries = 0; tries < 10_000; tries++) {
      const fault = inOrder ? among[turn++ % among.length] : rng.pick(among);
      if (fault !== undefined && (fault.isPossible?.(world) ?? true)) return fault;
    }
    throw new Error("none of these faults is possible now");
  };
}
