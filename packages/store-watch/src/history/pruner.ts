import type { Clock } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import { graphKind } from "./ddl.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import type { AsOfInput } from "./methods.ts";
import { type MomentRows, Moments } from "./moments.ts";

/** Positions, or batches, looked at in one transaction, so that commits get in between. */
const atOnce = 5000;

/** Of ids; null where there are none. */
export interface IdRange {
  readonly first: number | null;
  readonly last: number | null;
}

/** What is looked at in one transaction: (from, to]. */
export interface PrunedRange {
  readonly from: number;
  readonly to: number;
  readonly floor: number;
  /** Null: every stream but graphs, on whose old versions another site may still build. */
  readonly stream: number | null;
}

/** The statements about what is kept of streams, on the writer's connection. */
export interface PrunedRows {
  setConsumer(name: string, position: number, now: number): Later<void>;
  removeConsumer(name: string): Later<void>;
  /** The lowest position that a consumer is at; null without any. */
  floorOfConsumers(): Later<number | null>;
  /** Never lowers it. Null: of every stream but graphs. */
  raiseFloor(stream: number | null, floor: number): Later<void>;
  /** What may be below a floor. */
  versionRange(floor: number): Later<IdRange>;
  batchRange(floor: number): Later<IdRange>;
  commitRange(floor: number): Later<IdRange>;
  /** Each stream's newest at or below the floor, which says what cursor and time its state there has. */
  keptCommits(floor: number): Later<readonly number[]>;
  /**
   * Removes versions that are superseded at the floor: something newer of the same object is at or below it. Says how many
   * each stream lost.
   */
  removeVersions(range: PrunedRange): Later<readonly { readonly stream: number; readonly removed: number }[]>;
  /** Removes those without a version. One that the floor's state comes from has one left. */
  removeBatches(range: PrunedRange): Later<unknown>;
  removeCommits(range: PrunedRange, kept: readonly number[]): Later<unknown>;
}

interface PrunerParts {
  readonly rows: PrunedRows;
  readonly moments: MomentRows;
  /** The newest position. */
  readonly position: () => number;
  /** Is told in the transaction how many versions a stream lost. */
  readonly onRemoved: (stream: number, removed: number) => void;
  readonly inTransaction: <T>(work: () => Flow<T>) => Later<T>;
}

/** Removes superseded versions, never what a consumer still needs (V9). */
export class Pruner {
  readonly #parts: PrunerParts;
  readonly #rows: PrunedRows;
  readonly #moments: Moments;

  constructor(parts: PrunerParts) {
    this.#parts = parts;
    this.#rows = parts.rows;
    this.#moments = new Moments(parts.moments);
  }

  /** Within a transaction. @throws {StoreWatchError} `TOO_OLD` below a floor, `NOT_REACHED` beyond the end. */
  *setConsumer(name: string, position: number | undefined, nowMs: number): Flow<void> {
    if (position === undefined) {
      yield* wait(this.#rows.removeConsumer(name));
      return;
    }
    const floor = yield* this.#moments.floor(undefined);
    if (position < floor) {
      throw new StoreWatchError(
        "TOO_OLD",
        `a consumer at position ${position} needs versions that were pruned; the floor is ${floor}`,
      );
    }
    yield* this.#moments.find({ position }, undefined);
    yield* wait(this.#rows.setConsumer(name, position, Math.floor(nowMs)));
  }

  /** @throws {StoreWatchError} `NOT_FOUND`, `NOT_REACHED`, `OPTIONS_INVALID` */
  async prune(
    before: AsOfInput,
    streamName: string | undefined,
    clock: Clock,
  ): Promise<{ readonly removed: number; readonly floor: number }> {
    const rows = this.#rows;
    const { inTransaction, onRemoved } = this.#parts;
    const { floor, stream } = await inTransaction(this.#raiseFloor.bind(this, before, streamName));
    const inPieces = async (range: IdRange, piece: (range: PrunedRange) => Flow<void>) => {
      const { first, last } = range;
      if (first === null || last === null) return;
      for (let from = first - 1; from < last; from += atOnce) {
        const to = Math.min(from + atOnce, last);
        await inTransaction(() => piece({ from, to, floor, stream }));
        // Commits of the streams get their turn.
        await new Promise<void>((resolve) => clock.setImmediate(resolve));
      }
    };
    let removed = 0;
    await inPieces(await inTransaction(() => wait(rows.versionRange(floor))), function* (range): Flow<void> {
      for (const lost of yield* wait(rows.removeVersions(range))) {
        onRemoved(lost.stream, lost.removed);
        removed += lost.removed;
      }
    });
    await inPieces(await inTransaction(() => wait(rows.batchRange(floor))), function* (range): Flow<void> {
      yield* wait(rows.removeBatches(range));
    });
    const kept = await inTransaction(() => wait(rows.keptCommits(floor)));
    await inPieces(await inTransaction(() => wait(rows.commitRange(floor))), function* (range): Flow<void> {
      yield* wait(rows.removeCommits(range, kept));
    });
    return { removed, floor };
  }

  /** In a transaction of its own, before anything is removed: whoever reads below it is told so (V9). */
  *#raiseFloor(
    before: AsOfInput,
    streamName: string | undefined,
  ): Flow<{ readonly floor: number; readonly stream: number | null }> {
    const facts = streamName === undefined ? undefined : yield* this.#moments.stream(streamName);
    if (facts?.kind === graphKind) {
      throw new StoreWatchError(
        "OPTIONS_INVALID",
        `${JSON.stringify(facts.name)} is a graph, whose old versions other sites may still build on; name another stream`,
      );
    }
    const wanted = (yield* this.#moments.find(before, facts)) ?? this.#parts.position();
    const floor = Math.min(wanted, (yield* wait(this.#rows.floorOfConsumers())) ?? wanted);
    const stream = facts?.id ?? null;
    yield* wait(this.#rows.raiseFloor(stream, floor));
    return { floor, stream };
  }
}
