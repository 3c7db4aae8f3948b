import type Database from "better-sqlite3";
import type { TimelineEntry } from "../timeline.ts";
import {
  packOutcome,
  type StoredKeyValue,
  type StoredOp,
  unpackCommand,
  type WriteCommand,
  type WriteOutcome,
} from "./commands.ts";
import { type PackedRows, RowReader, RowWriter } from "./packed-rows.ts";

/** What the store's owner must know when it opens. */
export interface StoreFacts {
  readonly storeId: string;
  readonly revision: number;
  readonly floor: number;
  /** Whether a compaction is not done removing yet. */
  readonly hasLeftovers: boolean;
  /** False: an earlier release wrote keys whose sizes are not counted yet. */
  readonly areSizesKnown: boolean;
  readonly timeline: readonly TimelineEntry[];
}

interface HeadRow {
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly isDeleted: number;
  /** Null: not counted yet. */
  readonly size: number | null;
}

interface LogRow {
  readonly id: number;
  readonly revision: number;
  readonly key: Uint8Array;
  readonly isDeleted: number;
}

/**
 * The only code that changes a store. It runs in one thread, so commit order, revision order and log order are one: a
 * revision is handed out inside the SQL transaction that carries it, and nobody hears of it before that committed.
 */
export class StoreWriter {
  readonly #database: Database.Database;
  readonly #incarnation: string;
  readonly #statements: ReturnType<typeof prepare>;
  #revision = 0;
  #lastChange = 0;
  #committedAtMs = 0;
  #isIncarnationStored = false;
  /** What the group under way adds to the sums. */
  #addedKeys = 0;
  #addedBytes = 0;
  /** A transaction failed, and the file could not be read since: what is remembered may not be so. */
  #isStale = false;

  constructor(database: Database.Database, incarnation: string) {
    this.#database = database;
    this.#incarnation = incarnation;
    this.#statements = prepare(database);
    this.#load();
  }

  facts(): StoreFacts {
    const floor = this.#meta("floor") as number;
    const timeline = this.#database
      .prepare("SELECT first_revision AS firstRevision, name AS incarnation FROM incarnations ORDER BY first_revision")
      .all() as TimelineEntry[];
    return {
      storeId: this.#meta("store_id") as string,
      revision: this.#revision,
      floor,
      hasLeftovers: this.#lastChangeAt(floor) > (this.#meta("removed_change") as number),
      areSizesKnown: this.#meta("sizes_known") === 1,
      timeline,
    };
  }

  /** From now on the sums are those of all keys. */
  markSizesKnown(): void {
    this.#setMeta("sizes_known", 1);
  }

  /** Applies a group of commands in order, each at a revision of its own, all of them durable or none. */
  write(group: PackedRows, nowMs: number): { readonly outcomes: PackedRows; readonly committedAtMs: number } {
    if (this.#isStale) this.#recover();
    const committedAtMs = Math.max(nowMs, this.#committedAtMs);
    const outcomes = new RowWriter();
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const rows = new RowReader(group);
      while (rows.hasMore) packOutcome(outcomes, this.#apply(unpackCommand(rows), committedAtMs));
      this.#addToSums();
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#isStale = true;
      try {
        this.#recover();
      } catch {
        // The next write tries again, and says what is wrong.
      }
      throw error;
    }
    this.#committedAtMs = committedAtMs;
    return { outcomes: outcomes.finish(), committedAtMs };
  }

  /** Forbids reads below a revision, durably, before anything is removed. Returns the floor. */
  raiseFloor(revision: number): number {
    const floor = Math.max(this.#meta("floor") as number, revision);
    this.#setMeta("floor", floor);
    return floor;
  }

  /**
   * Removes a bounded part of what states at `target` and later do not need. True: there is more to do. Goes through the
   * log once: a change makes the one of its key before it superfluous, and a deletion in addition itself.
   */
  removeStep(target: number, maxChanges: number): boolean {
    const { logPart, previous, removeChange, removeKey, removeTransactions } = this.#statements;
    const upTo = this.#lastChangeAt(target);
    let hasMore = false;
    const step = this.#database.transaction(() => {
      const after = this.#meta("removed_change") as number;
      const part = logPart.all(after, upTo, maxChanges) as LogRow[];
      for (const change of part) {
        const before = previous.get(change.key, change.id) as number | undefined;
        if (before !== undefined) removeChange.run(before);
        if (change.isDeleted === 1) {
          removeChange.run(change.id);
          removeKey.run(change.key, change.id);
        }
      }
      const last = part.at(-1);
      if (last !== undefined) this.#setMeta("removed_change", last.id);
      hasMore = part.length === maxChanges;
      // The row of the target stays: reads at the target need its last change.
      removeTransactions.run(hasMore && last !== undefined ? last.revision : target);
    });
    // At once a writer: somebody else's write between its first read and its first write would refuse it.
    step.immediate();
    return hasMore;
  }

  #apply(command: WriteCommand, committedAtMs: number): WriteOutcome {
    for (const compare of command.compares) {
      const head = this.#head(compare.key);
      const found = head === undefined || head.isDeleted === 1 ? 0 : head.modRevision;
      if (found !== compare.expectedModRevision) {
        const actual = this.#current((command.compares[0] ?? compare).key);
        return { succeeded: false, ownRevision: 0, revision: this.#revision, effective: [], actual };
      }
    }
    const revision = this.#revision + 1;
    const effective = command.ops.map((op) => this.#change(op, revision));
    if (!effective.includes(true)) {
      return { succeeded: true, ownRevision: 0, revision: this.#revision, effective, actual: undefined };
    }
    if (!this.#isIncarnationStored) {
      this.#statements.insertIncarnation.run(revision, this.#incarnation);
      this.#isIncarnationStored = true;
    }
    this.#statements.insertTransaction.run(revision, committedAtMs, this.#lastChange);
    this.#revision = revision;
    return { succeeded: true, ownRevision: revision, revision, effective, actual: undefined };
  }

  /** False: nothing to delete. */
  #change(op: StoredOp, revision: number): boolean {
    const head = this.#head(op.key);
    const exists = head !== undefined && head.isDeleted === 0;
    if (op.value === undefined && !exists) return false;
    const id = this.#lastChange + 1;
    const isPut = op.value !== undefined;
    const createRevision = !isPut ? 0 : exists ? head.createRevision : revision;
    const version = !isPut ? 0 : exists ? head.version + 1 : 1;
    this.#statements.insertChange.run(id, revision, createRevision, version, op.key, op.value ?? null);
    const size = op.value === undefined ? 0 : op.key.length + op.value.length;
    // What is not counted yet is not in the sums, and from now on its migration has nothing to do with this key.
    const before = head?.size ?? 0;
    this.#addedKeys += Math.sign(size) - Math.sign(before);
    this.#addedBytes += size - before;
    this.#statements.setHead.run(op.key, id, size);
    this.#lastChange = id;
    return true;
  }

  /** Adds, because a migration adds to them, too. */
  #addToSums(): void {
    if (this.#addedKeys !== 0 || this.#addedBytes !== 0) {
      this.#statements.addToSums.run(this.#addedKeys, this.#addedBytes);
    }
    this.#addedKeys = 0;
    this.#addedBytes = 0;
  }

  #head(key: Uint8Array): HeadRow | undefined {
    return this.#statements.head.get(key) as HeadRow | undefined;
  }

  #current(key: Uint8Array): StoredKeyValue | undefined {
    return this.#statements.current.get(key) as StoredKeyValue | undefined;
  }

  #lastChangeAt(revision: number): number {
    return (this.#statements.lastChangeAt.get(revision) as number | undefined) ?? 0;
  }

  #meta(name: string): unknown {
    return this.#statements.meta.get(name);
  }

  #setMeta(name: string, value: number): void {
    this.#statements.setMeta.run(value, name);
  }

  /** After a failed transaction. Nothing may be written before it worked. */
  #recover(): void {
    if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    this.#load();
    this.#isStale = false;
  }

  /** Reads back where the file is. */
  #load(): void {
    const last = this.#statements.lastTransaction.get() as {
      revision: number;
      committedAtMs: number;
      lastChange: number;
    };
    this.#revision = last.revision;
    this.#lastChange = last.lastChange;
    this.#committedAtMs = last.committedAtMs;
    this.#isIncarnationStored = this.#statements.newestIncarnation.get() === this.#incarnation;
    this.#addedKeys = 0;
    this.#addedBytes = 0;
  }
}

// Plain prepared statements on purpose: this is the hot path, and a query builder costs a third of it.
function prepare(database: Database.Database) {
  return {
    meta: database.prepare("SELECT value FROM meta WHERE name = ?").pluck(),
    setMeta: database.prepare("UPDATE meta SET value = ? WHERE name = ?"),
    lastTransaction: database.prepare(
      `SELECT revision, committed_at_ms AS committedAtMs, last_change AS lastChange
       FROM transactions ORDER BY revision DESC LIMIT 1`,
    ),
    lastChangeAt: database.prepare("SELECT last_change FROM transactions WHERE revision = ?").pluck(),
    newestIncarnation: database.prepare("SELECT name FROM incarnations ORDER BY first_revision DESC LIMIT 1").pluck(),
    insertIncarnation: database.prepare("INSERT INTO incarnations (first_revision, name) VALUES (?, ?)"),
    head: database.prepare(
      `SELECT c.revision AS modRevision, c.create_revision AS createRevision, c.version, c.value IS NULL AS isDeleted,
         k.size
       FROM keys k JOIN changes c ON c.id = k.head WHERE k.key = ?`,
    ),
    current: database.prepare(
      `SELECT c.key, c.value, c.revision AS modRevision, c.create_revision AS createRevision, c.version
       FROM keys k JOIN changes c ON c.id = k.head WHERE k.key = ? AND c.value IS NOT NULL`,
    ),
    insertChange: database.prepare(
      "INSERT INTO changes (id, revision, create_revision, version, key, value) VALUES (?, ?, ?, ?, ?, ?)",
    ),
    setHead: database.prepare(
      `INSERT INTO keys (key, head, size) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET head = excluded.head, size = excluded.size`,
    ),
    addToSums: database.prepare(
      `UPDATE meta SET value = value + CASE name WHEN 'live_keys' THEN ? ELSE ? END
       WHERE name IN ('live_keys', 'live_bytes')`,
    ),
    insertTransaction: database.prepare(
      "INSERT INTO transactions (revision, committed_at_ms, last_change) VALUES (?, ?, ?)",
    ),
    logPart: database.prepare(
      `SELECT id, revision, key, value IS NULL AS isDeleted FROM changes
       WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`,
    ),
    previous: database.prepare("SELECT id FROM changes WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1").pluck(),
    removeChange: database.prepare("DELETE FROM changes WHERE id = ?"),
    removeKey: database.prepare("DELETE FROM keys WHERE key = ? AND head = ?"),
    removeTransactions: database.prepare("DELETE FROM transactions WHERE revision < ?"),
  };
}
