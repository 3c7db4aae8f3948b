import type { MomentRows, ReachedCommit, StreamFacts } from "../history/moments.ts";
import { one, type PostgresSession } from "./session.ts";

/** Beyond what the server's type holds is beyond all times. */
const maxTimeMs = 8.64e15;

/** The questions about moments on PostgreSQL. */
export class PostgresMomentRows implements MomentRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  async newest(): Promise<number> {
    const text = "SELECT coalesce(max(pos), 0) AS position FROM versions";
    return (await this.#position("newest", text)) ?? 0;
  }

  byTime(timeMs: number): Promise<number | undefined> {
    const text = "SELECT position FROM commits WHERE committed_at <= $1 ORDER BY committed_at DESC, id DESC LIMIT 1";
    return this.#position("by_time", text, Math.max(Math.min(timeMs, maxTimeMs), -maxTimeMs));
  }

  stream(name: string): Promise<StreamFacts | undefined> {
    const text = "SELECT id, name, kind, epoch, cursor, floor FROM streams WHERE name = $1";
    return one(this.#session, text, [name], "moment_stream");
  }

  async maxFloor(): Promise<number> {
    return (await this.#position("floor", "SELECT coalesce(max(floor), 0) AS position FROM streams")) ?? 0;
  }

  commitAt(stream: number, epoch: number, cursor: string): Promise<ReachedCommit | undefined> {
    return this.#commit("commit_at", "cursor <= $3 ORDER BY cursor DESC, id DESC", stream, epoch, cursor);
  }

  commitAfter(stream: number, epoch: number, cursor: string): Promise<ReachedCommit | undefined> {
    return this.#commit("commit_after", "cursor > $3 ORDER BY cursor, id", stream, epoch, cursor);
  }

  batchAt(
    { after, to }: { readonly after: number; readonly to: number },
    stream: number,
    epoch: number,
    cursor: string,
  ): Promise<number | undefined> {
    const text = `SELECT first_pos + count - 1 AS position FROM batches
      WHERE id > $1 AND id <= $2 AND stream = $3 AND epoch = $4 AND cursor <= $5 ORDER BY id DESC LIMIT 1`;
    return this.#position("batch_at", text, after, to, stream, epoch, cursor);
  }

  async hasVersion(after: number, to: number, stream: number): Promise<boolean> {
    const text = `SELECT v.pos AS position FROM versions v JOIN objects o ON o.id = v.object
      WHERE v.pos > $1 AND v.pos <= $2 AND o.stream = $3 LIMIT 1`;
    return (await this.#position("has_version", text, after, to, stream)) !== undefined;
  }

  #commit(name: string, condition: string, ...values: readonly unknown[]): Promise<ReachedCommit | undefined> {
    const text = `SELECT position, batch, cursor FROM commits WHERE stream = $1 AND epoch = $2 AND ${condition} LIMIT 1`;
    return one(this.#session, text, values, `moment_${name}`);
  }

  async #position(name: string, text: string, ...values: readonly unknown[]): Promise<number | undefined> {
    return (await one<{ readonly position: number }>(this.#session, text, values, `moment_${name}`))?.position;
  }
}
