import { type Flow, type Later, wait } from "./flow.ts";
import type { GroupContext } from "./group-applier.ts";
import type { Savepoints } from "./object-rows.ts";
import type { StreamState } from "./stream-state.ts";

/** A change that could not be applied. */
export interface QuarantinedChange {
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string | null;
  readonly attributes: string | null;
  readonly sourceTime: number | null;
  readonly error: string;
}

/** One as it is recorded. */
export interface NewQuarantine extends QuarantinedChange {
  readonly stream: number;
  readonly epoch: number;
  readonly cursor: string;
  /** The last one before it. */
  readonly position: number;
  readonly at: number;
}

export interface QuarantineRow {
  readonly id: number;
  readonly stream: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string | null;
  readonly attributes: string | null;
  readonly source_time: number | null;
  readonly epoch: number;
  readonly cursor: string;
  readonly position: number;
  readonly state: "open" | "retried" | "skipped";
}

/** The statements about changes in quarantine, on the writer's connection. */
export interface QuarantineRows {
  /** Whether a change is there already, whatever was decided about it. */
  has(change: NewQuarantine): Later<boolean>;
  /** What the database refuses leaves the transaction as it was. */
  add(change: NewQuarantine): Later<void>;
  /** Those nobody has decided about, oldest first. */
  open(stream: number): Later<readonly { readonly id: number; readonly key: Buffer }[]>;
  byId(id: number): Later<QuarantineRow | undefined>;
  resolve(id: number, state: "retried" | "skipped", resolution: string): Later<void>;
  /** It was tried again and failed, for this reason. */
  blame(id: number, error: string): Later<void>;
}

/** Puts changes aside, in the transaction that moves the cursor past them. */
export class QuarantineLog {
  readonly #rows: QuarantineRows;
  readonly #savepoints: Savepoints;

  constructor(rows: QuarantineRows, savepoints: Savepoints) {
    this.#rows = rows;
    this.#savepoints = savepoints;
  }

  /**
   * Closes what a later deletion made void. Without this, a retry would bring back a key that never had a version here
   * and so has no tombstone either.
   */
  *supersede(stream: StreamState, isVoid: (key: Buffer) => Flow<boolean>, resolution: string): Flow<void> {
    if (stream.quarantined === 0) return;
    for (const { id, key } of yield* wait(this.#rows.open(stream.id))) {
      if (!(yield* isVoid(key))) continue;
      yield* wait(this.#rows.resolve(id, "skipped", resolution));
      stream.quarantined--;
    }
  }

  /** `position` is the last one before it. A change that is there already is a duplicate (V1). */
  *add(context: GroupContext, position: number, change: QuarantinedChange): Flow<void> {
    const { stream, epoch, cursor, stats, now } = context;
    const row: NewQuarantine = { ...change, stream: stream.id, epoch, cursor, position, at: now };
    if (yield* wait(this.#rows.has(row))) {
      stats.duplicates++;
      return;
    }
    try {
      yield* wait(this.#rows.add(row));
    } catch (error) {
      // Too big even here: that it existed must not get lost.
      if (this.#savepoints.refusalOf(error) === undefined || change.value === null) throw error;
      const what = `${change.error}; its value of ${change.value.length} bytes could not be kept`;
      yield* wait(this.#rows.add({ ...row, value: null, error: what }));
    }
    stream.quarantined++;
    stats.quarantined++;
  }
}
