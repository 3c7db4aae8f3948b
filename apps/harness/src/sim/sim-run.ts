import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SimChoice } from "./plan.ts";
import { World, type WorldResult } from "./world.ts";

/** How one world ended. */
export type SimOutcome =
  | { readonly isSound: true; readonly result: WorldResult }
  | {
      readonly isSound: false;
      /** `O1` … `O9`, `V7`, or the name of an error that no oracle expected. */
      readonly oracle: string;
      readonly message: string;
      readonly error: unknown;
      readonly digest: string;
    };

/** Files of simulated processes, in memory where the system has a place for that. */
export function simFolder(): { readonly path: string; remove(): void } {
  const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const path = mkdtempSync(join(base, "tidemark-sim-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs the world of a choice; never throws. */
export async function runChoice(
  choice: SimChoice,
  folder: string,
  onTrace?: (lines: readonly string[]) => void,
): Promise<SimOutcome> {
  const world = new World(choice, folder);
  try {
    return { isSound: true, result: await world.run(onTrace) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const named = /^(O\d|V\d+):/.exec(message)?.[1];
    const oracle = named ?? (error instanceof Error ? error.name : "Error");
    return { isSound: false, oracle, message, error, digest: world.simulation.trace.digest() };
  }
}
