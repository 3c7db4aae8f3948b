import type { Later } from "../history/flow.ts";
import type { StoreWatchError } from "../errors.ts";
import type { GapRow, NewGap, StreamRow, StreamRows } from "../history/stream-log.ts";
import type { StreamState } from "../history/stream-state.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import { one, type PostgresSession, run } from "./session.ts";

/** One open stream as its writer knows it. What has a column in `streams` is reloaded after a rollback. */
export interface PostgresStreamState extends StreamState {
  /** Pieces of the open group that are in `stage`. */
  staged: number;
  /** Why nobody may go on before the stream is opened again, although nobody has opened it. */
  isVoid: StoreWatchError | undefined;
}

const select = `SELECT s.id, s.name, s.capabilities, s.kind, s.scope, s.epoch, e.identity, s.cursor, s.keys, s.versions,
  s.gaps, s.quarantined, s.last_commit_at FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`;

/** The statements about streams, their epochs and their gaps on PostgreSQL. */
export class PostgresStreamRows implements StreamRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  byName(name: string): Promise<StreamRow | undefined> {
    return one(this.#session, `${select} WHERE s.name = $1`, [name]);
  }

  async byId(id: number): Promise<StreamRow> {
    return (await one<StreamRow>(this.#session, `${select} WHERE s.id = $1`, [id])) as StreamRow;
  }

  add({ name, kind, description, scope, capabilities }: OpenStreamOptions): Promise<number> {
    const values = [name, kind, description, scope, JSON.stringify(capabilities)];
    return this.#insert("streams", "name, kind, description, scope, capabilities", values);
  }

  describe(id: number, { kind, description, scope, capabilities }: OpenStreamOptions): Later<void> {
    const text = "UPDATE streams SET kind = $1, description = $2, scope = $3, capabilities = $4 WHERE id = $5";
    return run(this.#session, text, [kind, description, scope, JSON.stringify(capabilities), id]);
  }

  save(stream: StreamState): Later<void> {
    const values = [
      stream.epoch?.id ?? null,
      stream.cursor ?? null,
      stream.keys,
      stream.versions,
      stream.gaps,
      stream.quarantined,
      stream.lastCommitAt ?? null,
      stream.id,
    ];
    const text = `UPDATE streams SET epoch = $1, cursor = $2, keys = $3, versions = $4, gaps = $5, quarantined = $6,
      last_commit_at = $7 WHERE id = $8`;
    return run(this.#session, text, values, "save_stream");
  }

  addEpoch(stream: number, identity: string, now: number, reason: string): Promise<number> {
    return this.#insert("epochs", "stream, identity, began_at, reason", [stream, identity, now, reason]);
  }

  async hasGap({ stream, epoch, reason, from, to, position }: GapRow, isExact: boolean): Promise<boolean> {
    const text = `SELECT 1 FROM gaps WHERE stream = $1 AND epoch IS NOT DISTINCT FROM $2 AND reason = $3
      AND from_cursor IS NOT DISTINCT FROM $4 AND to_cursor IS NOT DISTINCT FROM $5 AND ($6::boolean OR position = $7) LIMIT 1`;
    return (await one(this.#session, text, [stream, epoch, reason, from, to, isExact, position])) !== undefined;
  }

  addGap({ stream, epoch, reason, detail, from, to, position }: GapRow, now: number): Promise<number> {
    const columns = "stream, epoch, reason, detail, from_cursor, to_cursor, position, at";
    return this.#insert("gaps", columns, [stream, epoch, reason, detail, from, to, position, now]);
  }

  explainGap(id: number, { detail, from, to }: NewGap): Later<void> {
    const text = "UPDATE gaps SET detail = $1, from_cursor = coalesce($2, from_cursor), to_cursor = $3 WHERE id = $4";
    return run(this.#session, text, [detail, from ?? null, to ?? null, id]);
  }

  async #insert(table: string, columns: string, values: readonly unknown[]): Promise<number> {
    const places = values.map((_, index) => `$${index + 1}`).join(", ");
    const text = `INSERT INTO ${table} (id, ${columns})
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM ${table}), ${places}) RETURNING id`;
    return ((await one<{ readonly id: number }>(this.#session, text, values)) as { readonly id: number }).id;
  }
}
