import type Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
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

/** Finds the position behind a moment. Works on any connection. */
export class Moments {
  readonly #position: Database.Statement<[], number | null>;
  readonly #byTime: Database.Statement<unknown[], number>;
  readonly #stream: Database.Statement<unknown[], StreamFacts>;
  readonly #maxFloor: Database.Statement<[], number | null>;
  readonly #commitAt: Database.Statement<unknown[], CommitRow>;
  readonly #commitAfter: Database.Statement<unknown[], CommitRow>;
  readonly #batchAt: Database.Statement<unknown[], number>;
  readonly #changed: Database.Statement<unknown[], number>;

  constructor(db: Database.Database) {
    this.#position = db.prepare<[], number | null>("SELECT max(pos) FROM versions").pluck();
    this.#byTime = db
      .prepare<unknown[], number>(
        "SELECT position FROM commits WHERE committed_at <= ? ORDER BY committed_at DESC, id DESC LIMIT 1",
      )
      .pluck();
    this.#stream = db.prepare("SELECT id, name, kind, epoch, cursor, floor FROM streams WHERE name = ?");
    this.#maxFloor = db.prepare<[], number | null>("SELECT max(floor) FROM streams").pluck();
    const commit = "SELECT position, batch, cursor FROM commits WHERE stream = ? AND epoch = ?";
    this.#commitAt = db.prepare(`${commit} AND cursor <= ? ORDER BY cursor DESC, id DESC LIMIT 1`);
    this.#commitAfter = db.prepare(`${commit} AND cursor > ? ORDER BY cursor, id LIMIT 1`);
    this.#batchAt = db
      .prepare<unknown[], number>(
        `SELECT first_pos + count - 1 FROM batches
         WHERE id > ? AND id <= ? AND stream = ? AND epoch = ? AND cursor <= ? ORDER BY id DESC LIMIT 1`,
      )
      .pluck();
    // The newest version of each object at or below the floor is never pruned, so a change leaves a trace.
    this.#changed = db
      .prepare<unknown[], number>(
        `SELECT 1 FROM versions v JOIN objects o ON o.id = v.object
         WHERE v.pos > ? AND v.pos <= ? AND o.stream = ? LIMIT 1`,
      )
      .pluck();
  }

  /** The newest position. */
  now(): number {
    return this.#position.get() ?? 0;
  }

  /** @throws {StoreWatchError} `NOT_FOUND` */
  stream(name: string): StreamFacts {
    const found = this.#stream.get(name);
    if (found !== undefined) return found;
    throw new StoreWatchError("NOT_FOUND", `there is no stream ${JSON.stringify(name)} in this history`);
  }

  /** Below this, the history of the stream (of any stream) is incomplete. */
  floor(stream: StreamFacts | undefined): number {
    return stream?.floor ?? this.#maxFloor.get() ?? 0;
  }

  /**
   * The position whose state the moment shows; undefined: now.
   *
   * @throws {StoreWatchError} `OPTIONS_INVALID`, `NOT_REACHED`, `TOO_OLD`
   */
  resolve(at: AsOfInput | undefined, stream: StreamFacts | undefined): number | undefined {
    const position = this.find(at, stream);
    const floor = this.floor(stream);
    if (position === undefined || position >= floor) return position;
    // Nothing of the stream changed up to the floor, so there it shows the same.
    if (stream !== undefined && this.#changed.get(position, floor, stream.id) === undefined) return floor;
    throw new StoreWatchError(
      "TOO_OLD",
      `the state at position ${position} was pruned; the oldest that is complete is at position ${floor}`,
    );
  }

  /** Like {@link resolve}, also below the floor. */
  find(at: AsOfInput | undefined, stream: StreamFacts | undefined): number | undefined {
    if (at === undefined) return undefined;
    const given = Object.values(at).filter((value) => value !== undefined).length;
    if (given > 1) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of takes one of timeMs, position and cursor, got several");
    }
    if (at.timeMs !== undefined) return this.#byTime.get(Math.floor(at.timeMs)) ?? 0;
    if (at.position !== undefined) return this.#checkPosition(at.position);
    return at.cursor === undefined ? undefined : this.#atCursor(at.cursor, stream);
  }

  #checkPosition(position: number): number {
    const now = this.now();
    if (position <= now) return position;
    throw new StoreWatchError(
      "NOT_REACHED",
      `the history is at position ${now}, position ${position} is still to come`,
      {
        retryable: true,
      },
    );
  }

  #atCursor(cursor: string, stream: StreamFacts | undefined): number {
    if (stream === undefined) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of a cursor needs the stream that the cursor belongs to");
    }
    const { id, name, epoch } = stream;
    const at = epoch === null ? undefined : this.#commitAt.get(id, epoch, cursor);
    const after = epoch === null ? undefined : this.#commitAfter.get(id, epoch, cursor);
    // The transaction after it can hold batches up to it.
    const within = after && this.#batchAt.get(at?.batch ?? 0, after.batch, id, epoch, cursor);
    if (within !== undefined) return within;
    if (at !== undefined) {
      if (after !== undefined || cursor <= (stream.cursor ?? at.cursor)) return at.position;
      throw new StoreWatchError("NOT_REACHED", `the stream ${name} has not reached cursor ${cursor} yet`, {
        retryable: true,
      });
    }
    if (after === undefined) {
      throw new StoreWatchError("NOT_REACHED", `the stream ${name} has not committed anything in its present epoch`, {
        retryable: true,
      });
    }
    throw new StoreWatchError("TOO_OLD", `nothing is known of stream ${name} at cursor ${cursor}; it starts later`);
  }
}

interface CommitRow {
  readonly position: number;
  readonly batch: number;
  readonly cursor: string;
}
