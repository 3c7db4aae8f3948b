import type { Later } from "../history/flow.ts";
import type { NewQuarantine, QuarantineRow, QuarantineRows } from "../history/quarantine-log.ts";
import { givenText, keptText } from "./any-text.ts";
import { all, one, type PostgresSession, run } from "./session.ts";

/** The statements about changes in quarantine on PostgreSQL. */
export class PostgresQuarantineRows implements QuarantineRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  async has({ stream, key, epoch, version, cursor, value }: NewQuarantine): Promise<boolean> {
    const text = `SELECT 1 FROM quarantine WHERE stream = $1 AND substr(key, 1, 1000) = substr($2::bytea, 1, 1000) AND key = $2
      AND epoch = $3 AND version IS NOT DISTINCT FROM $4
      AND (version IS NOT NULL OR (cursor = $5 AND value IS NOT DISTINCT FROM $6)) LIMIT 1`;
    const values = [stream, key, epoch, withoutNul(version), cursor, value];
    return (await one(this.#session, text, values)) !== undefined;
  }

  async add(change: NewQuarantine): Promise<void> {
    const text = `INSERT INTO quarantine
        (id, stream, key, value, version, attributes, source_time, epoch, cursor, position, error, at)
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM quarantine), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`;
    const values = [
      change.stream,
      change.key,
      change.value,
      withoutNul(change.version),
      keptText(change.attributes),
      change.sourceTime,
      change.epoch,
      change.cursor,
      change.position,
      withoutNul(change.error),
      change.at,
    ];
    await this.#session.query("SAVEPOINT quarantine");
    try {
      await this.#session.query({ text, values });
    } catch (error) {
      await this.#session.query("ROLLBACK TO quarantine").catch(() => undefined);
      throw error;
    }
    await run(this.#session, "RELEASE quarantine");
  }

  open(stream: number): Promise<{ readonly id: number; readonly key: Buffer }[]> {
    const text = "SELECT id, key FROM quarantine WHERE stream = $1 AND state = 'open' ORDER BY id";
    return all(this.#session, text, [stream]);
  }

  async byId(id: number): Promise<QuarantineRow | undefined> {
    const row = await one<QuarantineRow>(this.#session, "SELECT * FROM quarantine WHERE id = $1", [id]);
    return row && { ...row, attributes: givenText(row.attributes) };
  }

  resolve(id: number, state: string, resolution: string): Later<void> {
    const text = "UPDATE quarantine SET state = $1, resolution = $2 WHERE id = $3";
    return run(this.#session, text, [state, resolution, id]);
  }

  blame(id: number, error: string): Later<void> {
    return run(this.#session, "UPDATE quarantine SET error = $1 WHERE id = $2", [error, id]);
  }
}

/** PostgreSQL's text has no 0x00. What was refused for that reason must not be refused here again. */
function withoutNul(text: string | null): string | null {
  return text === null ? null : text.replaceAll("\0", "\u2400");
}
