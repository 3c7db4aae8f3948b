import type Database from "better-sqlite3";
import { isWhole, type Span } from "../key-range.ts";
import { packKeyValue, type StoredKeyValue } from "./commands.ts";
import { type PackedRows, RowWriter } from "./packed-rows.ts";

/** Every read returns it when the asked-for revision was compacted away, instead of anything half right. */
export interface BelowFloor {
  readonly floor: number;
}

export interface GetAnswer {
  readonly revision: number;
  readonly rows: PackedRows;
}

export interface ListQuery {
  readonly span: Span;
  /** Undefined: now. */
  readonly revision: number | undefined;
  readonly maxKeys: number;
  readonly maxBytes: number;
  /** The caller keeps the revision from being removed, so the floor does not matter. */
  readonly isPinned: boolean;
}

export interface ListAnswer {
  readonly revision: number;
  readonly rows: PackedRows;
  readonly count: number;
  /** The last key that was looked at, a deleted one perhaps; undefined: the span's end was reached. */
  readonly scannedTo: Uint8Array | undefined;
}

export interface LogQuery {
  readonly after: number;
  /** At most this revision, which exists. */
  readonly upTo: number;
  readonly span: Span;
  readonly maxBytes: number;
  readonly isPinned: boolean;
}

export interface LogAnswer {
  /** Per change: revision, committed at, key, value. */
  readonly rows: PackedRows;
  /** Everything of the span up to here is contained. */
  readonly through: number;
}

/** How many keys there are, and the bytes of all keys and values. */
export interface SizeAnswer {
  readonly keys: number;
  readonly bytes: number;
}

/** How many keys one list call looks at, deleted ones included, so that no call holds up the others for long. */
const maxScannedKeys = 10_000;

/** How many revisions one log call looks at. */
const maxScannedRevisions = 10_000;

/** Reads on a connection of its own: it never waits for a writer. Every answer comes from one SQL snapshot. */
export class StoreReader {
  readonly #database: Database.Database;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: Database.Database) {
    this.#database = database;
    this.#statements = prepare(database);
  }

  get(key: Uint8Array): GetAnswer {
    return this.#snapshot(() => {
      const rows = new RowWriter();
      const found = this.#statements.current.get(key) as StoredKeyValue | undefined;
      if (found !== undefined) packKeyValue(rows, found);
      return { revision: this.#revision(), rows: rows.finish() };
    });
  }

  list(query: ListQuery): ListAnswer | BelowFloor {
    return this.#snapshot(() => {
      // In the same snapshot as the rows, or a watch from this revision would lose or repeat changes.
      const revision = query.revision ?? this.#revision();
      const floor = this.#floor();
      if (revision < floor && !query.isPinned) return { floor };
      const at = this.#lastChangeAt(revision);
      const { span } = query;
      const found =
        span.end === undefined
          ? this.#statements.listFrom.iterate(at, at, span.start, maxScannedKeys)
          : this.#statements.listBetween.iterate(at, at, span.start, span.end, maxScannedKeys);
      const rows = new RowWriter();
      let count = 0;
      let scanned = 0;
      let scannedTo: Uint8Array | undefined;
      let isFull = false;
      for (const row of found as IterableIterator<ListRow>) {
        scanned++;
        scannedTo = row[0];
        if (row[1] === null) continue;
        rows.bytes(row[0]);
        rows.bytes(row[1]);
        rows.number(row[2]);
        rows.number(row[3]);
        rows.number(row[4]);
        count++;
        isFull = count >= query.maxKeys || rows.byteLength >= query.maxBytes;
        if (isFull) break;
      }
      const isEnd = !isFull && scanned < maxScannedKeys;
      return { revision, rows: rows.finish(), count, scannedTo: isEnd ? undefined : scannedTo };
    });
  }

  /** Undefined: not all of it is counted. */
  size(): SizeAnswer | undefined {
    return this.#statements.size.get() as SizeAnswer | undefined;
  }

  /** Whether no key of an earlier release is left to count. Looks at all of them. */
  isCounted(): boolean {
    return this.#statements.uncounted.get() === undefined;
  }

  log(query: LogQuery): LogAnswer | BelowFloor {
    return this.#snapshot(() => {
      const floor = this.#floor();
      if (query.after < floor && !query.isPinned) return { floor };
      const upTo = Math.min(query.upTo, query.after + maxScannedRevisions);
      const from = this.#lastChangeAt(query.after);
      const to = this.#lastChangeAt(upTo);
      const { span } = query;
      const { logAll, logFrom, logBetween } = this.#statements;
      const found = isWhole(span)
        ? logAll.iterate(from, to)
        : span.end === undefined
          ? logFrom.iterate(from, to, span.start)
          : logBetween.iterate(from, to, span.start, span.end);
      const rows = new RowWriter();
      let through = upTo;
      let current = 0;
      for (const row of found as IterableIterator<[number, number, Uint8Array, Uint8Array | null]>) {
        if (row[0] !== current) {
          // Only between transactions: a batch has whole ones.
          if (rows.byteLength >= query.maxBytes) {
            through = row[0] - 1;
            break;
          }
          current = row[0];
        }
        rows.number(row[0]);
        rows.number(row[1]);
        rows.bytes(row[2]);
        rows.bytes(row[3]);
      }
      return { rows: rows.finish(), through };
    });
  }

  #snapshot<T>(read: () => T): T {
    return this.#database.transaction(read)();
  }

  #revision(): number {
    return this.#statements.revision.get() as number;
  }

  #floor(): number {
    return this.#statements.floor.get() as number;
  }

  #lastChangeAt(revision: number): number {
    return (this.#statements.lastChangeAt.get(revision) as number | undefined) ?? 0;
  }
}

/** Key; then, null where it does not exist at that revision: value, mod and create revision, version. */
type ListRow = [Uint8Array, Uint8Array | null, number, number, number];

function prepare(database: Database.Database) {
  const list = (bounds: string) =>
    database
      .prepare(
        `SELECT k.key, c.value, c.revision, c.create_revision, c.version
         FROM keys k LEFT JOIN changes c ON c.id = CASE WHEN k.head <= ? THEN k.head ELSE
           (SELECT p.id FROM changes p WHERE p.key = k.key AND p.id <= ? ORDER BY p.id DESC LIMIT 1) END
         WHERE ${bounds} ORDER BY k.key LIMIT ?`,
      )
      .raw();
  // The unary plus keeps SQLite on the order of the log; the index on keys would sort a large result.
  const log = (bounds: string) =>
    database
      .prepare(
        `SELECT c.revision, t.committed_at_ms, c.key, c.value
         FROM changes c CROSS JOIN transactions t ON t.revision = c.revision
         WHERE c.id > ? AND c.id <= ? ${bounds} ORDER BY c.id`,
      )
      .raw();
  return {
    revision: database.prepare("SELECT max(revision) FROM transactions").pluck(),
    floor: database.prepare("SELECT value FROM meta WHERE name = 'floor'").pluck(),
    lastChangeAt: database.prepare("SELECT last_change FROM transactions WHERE revision = ?").pluck(),
    size: database.prepare(
      `SELECT k.value AS keys, b.value AS bytes FROM meta s JOIN meta k ON k.name = 'live_keys'
       JOIN meta b ON b.name = 'live_bytes' WHERE s.name = 'sizes_known' AND s.value = 1`,
    ),
    uncounted: database.prepare("SELECT 1 FROM keys WHERE size IS NULL LIMIT 1"),
    current: database.prepare(
      `SELECT c.key, c.value, c.revision AS modRevision, c.create_revision AS createRevision, c.version
       FROM keys k JOIN changes c ON c.id = k.head WHERE k.key = ? AND c.value IS NOT NULL`,
    ),
    listFrom: list("k.key >= ?"),
    listBetween: list("k.key >= ? AND k.key < ?"),
    logAll: log(""),
    logFrom: log("AND +c.key >= ?"),
    logBetween: log("AND +c.key >= ? AND +c.key < ?"),
  };
}
