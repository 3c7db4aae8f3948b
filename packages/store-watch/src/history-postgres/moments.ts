import { StoreWatchError } from "../errors.ts";
import type { StreamFacts } from "../history/as-of.ts";
import type { AsOfInput } from "../history/methods.ts";
import type { PostgresClient } from "./driver.ts";

interface CommitRow {
  readonly position: number;
  readonly batch: number;
  readonly cursor: string;
}

/** Finds the position behind a moment, as `history/as-of.ts` does on SQLite. */
export class Moments {
  readonly #client: PostgresClient;

  constructor(client: PostgresClient) {
    this.#client = client;
  }

  /** The newest position. */
  async now(): Promise<number> {
    return (
      (await this.#one<{ position: number | null }>("now", "SELECT max(pos) AS position FROM versions"))?.position ?? 0
    );
  }

  /** @throws {StoreWatchError} `NOT_FOUND` */
  async stream(name: string): Promise<StreamFacts> {
    const text = "SELECT id, name, kind, epoch, cursor, floor FROM streams WHERE name = $1";
    const found = await this.#one<StreamFacts>("stream", text, name);
    if (found !== undefined) return found;
    throw new StoreWatchError("NOT_FOUND", `there is no stream ${JSON.stringify(name)} in this history`);
  }

  /** Below this, the history of the stream (of any stream) is incomplete. */
  async floor(stream: StreamFacts | undefined): Promise<number> {
    if (stream !== undefined) return stream.floor;
    return (await this.#one<{ floor: number | null }>("floor", "SELECT max(floor) AS floor FROM streams"))?.floor ?? 0;
  }

  /**
   * The position whose state the moment shows; undefined: now.
   *
   * @throws {StoreWatchError} `OPTIONS_INVALID`, `NOT_REACHED`, `TOO_OLD`
   */
  async resolve(at: AsOfInput | undefined, stream: StreamFacts | undefined): Promise<number | undefined> {
    const position = await this.find(at, stream);
    const floor = await this.floor(stream);
    if (position === undefined || position >= floor) return position;
    // Nothing of the stream changed up to the floor, so there it shows the same. The newest version of each object at
    // or below the floor is never pruned, so a change leaves a trace.
    if (stream !== undefined) {
      const changed = await this.#one(
        "changed",
        `SELECT 1 FROM versions v JOIN objects o ON o.id = v.object
          WHERE v.pos > $1 AND v.pos <= $2 AND o.stream = $3 LIMIT 1`,
        position,
        floor,
        stream.id,
      );
      if (changed === undefined) return floor;
    }
    throw new StoreWatchError(
      "TOO_OLD",
      `the state at position ${position} was pruned; the oldest that is complete is at position ${floor}`,
    );
  }

  /** Like {@link resolve}, also below the floor. */
  async find(at: AsOfInput | undefined, stream: StreamFacts | undefined): Promise<number | undefined> {
    if (at === undefined) return undefined;
    const given = Object.values(at).filter((value) => value !== undefined).length;
    if (given > 1) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of takes one of timeMs, position and cursor, got several");
    }
    if (at.timeMs !== undefined) {
      const text = "SELECT position FROM commits WHERE committed_at <= $1 ORDER BY committed_at DESC, id DESC LIMIT 1";
      // Beyond what the server's type holds is beyond all times.
      const timeMs = Math.max(Math.min(Math.floor(at.timeMs), 8.64e15), -8.64e15);
      return (await this.#one<{ position: number }>("by_time", text, timeMs))?.position ?? 0;
    }
    if (at.position !== undefined) return this.#checkPosition(at.position);
    return at.cursor === undefined ? undefined : this.#atCursor(at.cursor, stream);
  }

  async #checkPosition(position: number): Promise<number> {
    const now = await this.now();
    if (position <= now) return position;
    const message = `the history is at position ${now}, position ${position} is still to come`;
    throw new StoreWatchError("NOT_REACHED", message, { retryable: true });
  }

  async #atCursor(cursor: string, stream: StreamFacts | undefined): Promise<number> {
    if (stream === undefined) {
      throw new StoreWatchError("OPTIONS_INVALID", "as-of a cursor needs the stream that the cursor belongs to");
    }
    const { id, name, epoch } = stream;
    const commit = "SELECT position, batch, cursor FROM commits WHERE stream = $1 AND epoch = $2 AND";
    const at = await this.#one<CommitRow>(
      "commit_at",
      `${commit} cursor <= $3 ORDER BY cursor DESC, id DESC LIMIT 1`,
      id,
      epoch,
      cursor,
    );
    const after = await this.#one<CommitRow>(
      "commit_after",
      `${commit} cursor > $3 ORDER BY cursor, id LIMIT 1`,
      id,
      epoch,
      cursor,
    );
    // The transaction after it can hold batches up to it.
    const within =
      after &&
      (await this.#one<{ position: number }>(
        "batch_at",
        `SELECT first_pos + count - 1 AS position FROM batches
          WHERE id > $1 AND id <= $2 AND stream = $3 AND epoch = $4 AND cursor <= $5 ORDER BY id DESC LIMIT 1`,
        at?.batch ?? 0,
        after.batch,
        id,
        epoch,
        cursor,
      ));
    if (within !== undefined) return within.position;
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

  async #one<Row>(name: string, text: string, ...values: readonly unknown[]): Promise<Row | undefined> {
    return (await this.#client.query<Row>({ name: `tidemark_moment_${name}`, text, values })).rows[0];
  }
}
