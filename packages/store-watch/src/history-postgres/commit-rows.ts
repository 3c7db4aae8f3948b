import type { Later } from "../history/flow.ts";
import type { CommitRows, NewCommit } from "../history/commit-log.ts";
import { one, type PostgresSession, run } from "./session.ts";

/** The statements about commits on PostgreSQL. */
export class PostgresCommitRows implements CommitRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  add({ stream, epoch, cursor, position, batch, committedAt }: NewCommit): Later<void> {
    const text = `INSERT INTO commits (id, stream, epoch, cursor, position, batch, committed_at)
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM commits), $1, $2, $3, $4, $5, $6)`;
    return run(this.#session, text, [stream, epoch, cursor, position, batch, committedAt], "commit_row");
  }

  async lastMs(): Promise<number> {
    const text = "SELECT coalesce(max(committed_at), 0) AS ms FROM commits";
    return (await one<{ readonly ms: number }>(this.#session, text))?.ms ?? 0;
  }

  async lastCursor(stream: number, epoch: number): Promise<string | null> {
    const text = "SELECT max(cursor) AS cursor FROM commits WHERE stream = $1 AND epoch = $2";
    return (await one<{ readonly cursor: string | null }>(this.#session, text, [stream, epoch]))?.cursor ?? null;
  }
}
