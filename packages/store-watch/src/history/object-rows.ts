import type { Later } from "./flow.ts";
import type { CachedObject } from "./object-cache.ts";

export interface FoundObject {
  readonly key: Buffer;
  readonly object: CachedObject;
}

/** The questions about objects, on the writer's connection. */
export interface ObjectRows {
  /** Finds objects by their keys (told as Latin-1 text). */
  find(stream: number, keys: readonly Buffer[], found: (key: string, object: CachedObject) => void): Later<void>;
  /** The ids of live objects in (after, before), in order. */
  liveIds(range: {
    readonly stream: number;
    readonly after: number;
    readonly before: number;
    readonly limit: number;
  }): Later<readonly number[]>;
  byIds(ids: readonly number[]): Later<readonly FoundObject[]>;
}

/** Tells whether a change brings what is here already. */
export interface HeldValues {
  /** Whether {@link readAhead} has to be told which values will be compared. */
  readonly isAhead: boolean;
  /** Reads what comparing with the heads at these positions needs; what was read before is forgotten. */
  readAhead(stream: number, positions: readonly number[]): Later<void>;
  /** A version that has just come into being, and is not written yet. */
  add(position: number, value: Buffer | null, attributes: string | null): void;
  isSame(position: number, value: Buffer): boolean;
  hasAttributes(position: number, attributes: string | null): boolean;
}

/** Parts of a transaction that can be undone alone. */
export interface Savepoints {
  begin(): Later<void>;
  /** @throws what the database refused since it began, and has not said yet */
  check(): Later<void>;
  rollBack(): Later<void>;
  release(): Later<void>;
  /** What is wrong with the data, as a sentence; undefined: something else went wrong. */
  refusalOf(error: unknown): string | undefined;
}
