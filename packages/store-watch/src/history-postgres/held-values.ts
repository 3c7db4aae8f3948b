import { createHash } from "node:crypto";
import type { HeldValues, Savepoints } from "../history/object-rows.ts";
import { givenText } from "./any-text.ts";
import { numberArray } from "./array-literals.ts";
import { classifyPostgresError, messageOf } from "./postgres-errors.ts";
import { all, type PostgresSession } from "./session.ts";
import type { VersionRows } from "./version-rows.ts";
import type { WriterSession } from "./writer-session.ts";

/** What is known of the value at a position. */
type KnownValue = { readonly attributes: string | null } & (
  | { readonly digest: Buffer }
  | { readonly value: Buffer | null }
);

/** Compares with what the database has by digests, so that large values need not come here. */
export class DigestedValues implements HeldValues {
  readonly #session: PostgresSession;
  readonly #rows: VersionRows;
  readonly #known = new Map<number, KnownValue>();
  readonly isAhead = true;

  constructor(session: PostgresSession, rows: VersionRows) {
    this.#session = session;
    this.#rows = rows;
  }

  async readAhead(stream: number, positions: readonly number[]): Promise<void> {
    this.#known.clear();
    if (positions.length === 0) return;
    await this.#rows.flush(stream);
    const text = `SELECT pos, sha256(value) AS digest, attributes FROM versions
      WHERE pos = ANY ($1::bigint[]) AND value IS NOT NULL`;
    const rows = await all<{ readonly pos: number; readonly digest: Buffer; readonly attributes: string | null }>(
      this.#session,
      text,
      [numberArray([...new Set(positions)])],
      "digests",
    );
    for (const { pos, digest, attributes } of rows) {
      this.#known.set(pos, { digest, attributes: givenText(attributes) });
    }
  }

  add(position: number, value: Buffer | null, attributes: string | null): void {
    this.#known.set(position, { value, attributes });
  }

  isSame(position: number, value: Buffer): boolean {
    const known = this.#known.get(position);
    if (known === undefined) return false;
    if ("digest" in known) return createHash("sha256").update(value).digest().equals(known.digest);
    return known.value !== null && value.equals(known.value);
  }

  hasAttributes(position: number, attributes: string | null): boolean {
    const known = this.#known.get(position);
    return known !== undefined && known.attributes === attributes;
  }
}

export function postgresSavepoints(session: WriterSession): Savepoints {
  return {
    async begin() {
      // What is refused from here on is about what comes from here on.
      await session.answered();
      await session.post("SAVEPOINT change");
    },
    check: () => session.answered(),
    async rollBack() {
      session.recover();
      await session.query("ROLLBACK TO change");
    },
    release: () => session.post("RELEASE change"),
    refusalOf: (error) => (classifyPostgresError(error) === "data" ? messageOf(error) : undefined),
  };
}
