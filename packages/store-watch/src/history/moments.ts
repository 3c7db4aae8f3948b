import { StoreWatchError } from "../errors.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import type { AsOfInput } from "./methods.ts";

/** The stream that a read is about. */
export interface StreamFacts {
  readonly id: number;
  readonly name: string;
  readonly kind: string;
  readonly epoch: number | null;
  readonly cursor: string | null;
  readonly floor: number;
}

export interface ReachedCommit {
  readonly position: number;
  readonly batch: number;
  readonly cursor: string;
}

/** The questions about moments, on any connection. */
export interface MomentRows {
  /** The newest position; 0 without any. */
  newest(): Later<number>;
  /** The position that was reached at a time. */
  byTime(timeMs: number): Later<number | undefined>;
  stream(name: string): Later<StreamFacts | undefined>;
  maxFloor(): Later<number>;
  /** The last commit at or before a cursor. */
  commitAt(stream: number, epoch: number, cursor: string): Later<ReachedCommit | undefined>;
  /** The first commit after a cursor. */
  commitAfter(stream: number, epoch: number, cursor: string): Later<ReachedCommit | undefined>;
  /** The last position of the last batch in (after, to] that is at or before a cursor. */
  batchAt(
    range: { readonly after: number; readonly to: number },
    stream: number,
    epoch: number,
    cursor: string,
  ): Later<number | undefined>;
  /** Whether the stream has a version with a position in (after, to]. */
  hasVersion(after: number, to: number, stream: number): Later<boolean>;
}

/** Finds the position behind a moment. */
export class Moments {
  readonly #rows: MomentRows;

  constructor(rows: MomentRows) {
    this.#rows = rows;
  }

  /** The newest position. */
  now(): Flow<number> {
    return wait(this.#rows.newest());
  }

  /** @throws {StoreWatchError} `NOT_FOUND` */
  *stream(name: string): Flow<StreamFacts> {
    const found = yield* wait(this.#rows.stream(name));
    if (found !== undefined) return found;
    throw new StoreWatchError("NOT_FOUND", `there is no stream ${JSON.stringify(name)} in this history`);
  }

  /** Below this, the history of the stream (of any stream) is incomplete. */
  *floor(stream: StreamFacts | undefined): Flow<number> {
    return stream?.floor ?? (yield* wait(this.#rows.maxFloor()));
  }

  /**
   * The position whose state the moment shows; undefined: now.
   *
   * @throws {StoreWatchError} `OPTIONS_INVALID`, `NOT_REACHED`, `TOO_OLD`
   */
  *resolve(at: AsOfInput | undefined, stream: StreamFacts | undefined): Flow<number | undefined> {
    const position = yield* this.find(at, stream);
    const floor = yield* this.floor(stream);
    if (position === undefined || position >= floor) return position;
    // Nothing of the stream changed up to the floor, so there it shows the same. The newest version of each object at
    // or below the floor is never pruned, so a change leaves a trace.
    if (stream !== undefined && !(yield* wait(this.#rows.hasVersion(position, floor, stream.id)))) return floor;
    throw new StoreWatchError(
      "TOO_OLD",
      `the state at position ${position} was pruned; the oldest that is complete is at position ${floor}`,
    );
  }

  /** Like {@link resolve}, also below the floor. */
  *find(at: AsOfInput | undefined, stream: StreamFacts | undefined): Flow<number | undefined> {
    if (at === undefined) return undefined;
    const given = Object.values(at).filter((value) => value !== undefined).length;
    if (given > 1) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of takes one of timeMs, position and cursor, got several");
    }
    if (at.timeMs !== undefined) return (yield* wait(this.#rows.byTime(Math.floor(at.timeMs)))) ?? 0;
    if (at.position !== undefined) return yield* this.#checkPosition(at.position);
    return at.cursor === undefined ? undefined : yield* this.#atCursor(at.cursor, stream);
  }

  *#checkPosition(position: number): Flow<number> {
    const now = yield* this.now();
    if (position <= now) return position;
    const message = `the history is at position ${now}, position ${position} is still to come`;
    throw new StoreWatchError("NOT_REACHED", message, { retryable: true });
  }

  *#atCursor(cursor: string, stream: StreamFacts | undefined): Flow<number> {
    if (stream === undefined) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of a cursor needs the stream that the cursor belongs to");
    }
    const { id, name, epoch } = stream;
    const at = epoch === null ? undefined : yield* wait(this.#rows.commitAt(id, epoch, cursor));
    const after = epoch === null ? undefined : yield* wait(this.#rows.commitAfter(id, epoch, cursor));
    if (epoch !== null && after !== undefined) {
      // The transaction after it can hold batches up to it.
      const range = { after: at?.batch ?? 0, to: after.batch };
      const within = yield* wait(this.#rows.batchAt(range, id, epoch, cursor));
      if (within !== undefined) return within;
    }
    if (at !== undefined) {
      if (after !== undefined || cursor <= (stream.cursor ?? at.cursor)) return at.position;
      const message = `the stream ${name} has not reached cursor ${cursor} yet`;
      throw new StoreWatchError("NOT_REACHED", message, { retryable: true });
    }
    if (after === undefined) {
      const message = `the stream ${name} has not committed anything in its present epoch`;
      throw new StoreWatchError("NOT_REACHED", message, { retryable: true });
    }
    throw new StoreWatchError("TOO_OLD", `nothing is known of stream ${name} at cursor ${cursor}; it starts later`);
  }
}
