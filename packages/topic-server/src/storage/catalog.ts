import { closeSync, fdatasync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { TopicServerError } from "../topic-server-error.ts";
import type { PartitionDefinition, TopicDefinition } from "./definition.ts";
import { diskError } from "./log-files.ts";
import type { SegmentMeta } from "./segment.ts";

export interface TopicRow {
  readonly id: number;
  readonly createdAtMs: number;
  readonly definition: TopicDefinition;
}

export interface PartitionRow extends PartitionDefinition {
  readonly startOffset: number;
  readonly checkpointOffset: number;
}

export interface ProducerRow {
  readonly producer: string;
  readonly lastSeqNo: bigint;
  readonly lastWrittenAtMs: number;
}

export interface OffsetRow {
  readonly topicId: number;
  readonly consumer: string;
  readonly partition: number;
  readonly offset: number;
}

/** Where a producer of a topic writes. */
export interface ProducerBinding {
  readonly topicId: number;
  readonly producer: string;
  readonly partition: number;
}

/** A write of a committed transaction that is not in the log yet. */
export interface TxWrite {
  readonly topicId: number;
  readonly partition: number;
  /** The log's end when it was committed: if it is in the log, then behind. */
  readonly fromOffset: number;
  readonly producer: string;
  readonly meta: Uint8Array;
  readonly frame: Uint8Array;
}

export interface TxWriteRow extends TxWrite {
  readonly id: number;
}

const schema = `
  CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, created_at_ms INTEGER NOT NULL, definition TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS partitions (
    topic_id INTEGER NOT NULL, id INTEGER NOT NULL, definition TEXT NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0, checkpoint_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS segments (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, base_offset INTEGER NOT NULL, end_offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL, first_ms REAL NOT NULL, last_ms REAL NOT NULL, sparse_index BLOB NOT NULL,
    PRIMARY KEY (topic_id, partition, base_offset)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS offsets (
    topic_id INTEGER NOT NULL, consumer TEXT NOT NULL, partition INTEGER NOT NULL, committed INTEGER NOT NULL,
    PRIMARY KEY (topic_id, consumer, partition)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS producer_partitions (
    topic_id INTEGER NOT NULL, producer TEXT NOT NULL, partition INTEGER NOT NULL, PRIMARY KEY (topic_id, producer)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS producers (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, producer TEXT NOT NULL,
    last_seq_no INTEGER NOT NULL, last_ms REAL NOT NULL, PRIMARY KEY (topic_id, partition, producer)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS tx_writes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic_id INTEGER NOT NULL, partition INTEGER NOT NULL,
    from_offset INTEGER NOT NULL, producer TEXT NOT NULL, meta BLOB NOT NULL, frame BLOB NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
`;
const countStart = "INSERT INTO counters VALUES ('starts', 1) ON CONFLICT DO UPDATE SET value = value + 1;";
const formatVersion = 1;

interface DatabaseTopic {
  id: number;
  created_at_ms: number;
  definition: string;
}

/**
 * What is not a message: topics, offsets, producers, transactions. Changes get to the disk in their order; `sync()` says when,
 * and off this thread: nothing that cannot be taken back may happen before.
 */
export class Catalog {
  /** How often it was opened, this time included. */
  readonly starts: number;
  readonly #db: Database.Database;
  /** SQLite's log, where everything is on the disk first. */
  readonly #wal: number | undefined;
  readonly #statements = new Map<string, Database.Statement>();
  /** A sync failed. */
  #syncError: TopicServerError | undefined;

  /** @throws {TopicServerError} `LOCKED` when another process has it open. */
  constructor(folder: string | undefined) {
    if (folder !== undefined) mkdirSync(folder, { recursive: true });
    this.#db = new Database(folder === undefined ? ":memory:" : join(folder, "catalog.db"), { timeout: 0 });
    try {
      this.#db.pragma("locking_mode = EXCLUSIVE");
      this.#db.pragma("journal_mode = WAL");
      // A commit writes to the log and leaves waiting for the disk to `sync`.
      this.#db.pragma("synchronous = NORMAL");
      const found = this.#db.pragma("user_version", { simple: true }) as number;
      if (found > formatVersion) {
        throw new TopicServerError(
          "OPTIONS_INVALID",
          `The data has format ${found}, expected at most ${formatVersion}`,
        );
      }
      this.#db.exec(`BEGIN EXCLUSIVE; ${schema} ${countStart} PRAGMA user_version = ${formatVersion}; COMMIT`);
      if (folder !== undefined) this.#wal = openSync(join(folder, "catalog.db-wal"), "r+");
      this.starts = this.#sql("SELECT value FROM counters WHERE name = 'starts'").pluck().get() as number;
    } catch (error) {
      this.close();
      const code = (error as { code?: string }).code ?? "";
      if (!code.startsWith("SQLITE_BUSY")) throw sqliteError(error);
      throw new TopicServerError("LOCKED", `${folder} is in use by another process. Stop it, or take another folder`, {
        cause: error,
      });
    }
  }

  /** All or nothing. */
  transaction<T>(work: () => T): T {
    if (this.#db.inTransaction) return work();
    try {
      return this.#db.transaction(work)();
    } catch (error) {
      throw sqliteError(error);
    }
  }

  topics(): TopicRow[] {
    const rows = this.#sql("SELECT id, created_at_ms, definition FROM topics ORDER BY id").all() as DatabaseTopic[];
    return rows.map((row) => ({
      id: row.id,
      createdAtMs: row.created_at_ms,
      definition: JSON.parse(row.definition) as TopicDefinition,
    }));
  }

  createTopic(definition: TopicDefinition, partitions: readonly PartitionDefinition[], nowMs: number): number {
    return this.transaction(() => {
      const insert = this.#sql("INSERT INTO topics (path, created_at_ms, definition) VALUES (?, ?, ?)");
      const id = Number(insert.run(definition.path, nowMs, JSON.stringify(definition)).lastInsertRowid);
      this.savePartitions(id, partitions);
      return id;
    });
  }

  updateTopic(id: number, definition: TopicDefinition): void {
    this.transaction(() => {
      this.#sql("UPDATE topics SET definition = ? WHERE id = ?").run(JSON.stringify(definition), id);
      const names = new Set(definition.consumers.map(({ name }) => name));
      const known = this.#sql("SELECT DISTINCT consumer FROM offsets WHERE topic_id = ?").pluck().all(id) as string[];
      for (const name of known.filter((each) => !names.has(each))) {
        this.#sql("DELETE FROM offsets WHERE topic_id = ? AND consumer = ?").run(id, name);
      }
    });
  }

  deleteTopic(id: number): void {
    this.transaction(() => {
      this.#sql("DELETE FROM topics WHERE id = ?").run(id);
      for (const table of ["partitions", "segments", "offsets", "producer_partitions", "producers", "tx_writes"]) {
        this.#sql(`DELETE FROM ${table} WHERE topic_id = ?`).run(id);
      }
    });
  }

  savePartitions(topicId: number, partitions: readonly PartitionDefinition[]): void {
    this.transaction(() => {
      for (const { id, isActive, parents, children, fromBound, toBound } of partitions) {
        this.#sql(
          "INSERT INTO partitions (topic_id, id, definition) VALUES (?, ?, ?) " +
            "ON CONFLICT DO UPDATE SET definition = excluded.definition",
        ).run(topicId, id, JSON.stringify({ id, isActive, parents, children, fromBound, toBound }));
      }
    });
  }

  partitions(topicId: number): PartitionRow[] {
    const rows = this.#sql(
      "SELECT definition, start_offset, checkpoint_offset FROM partitions WHERE topic_id = ? ORDER BY id",
    ).all(topicId) as { definition: string; start_offset: number; checkpoint_offset: number }[];
    return rows.map((row) => {
      const { id, isActive, parents, children, fromBound, toBound } = JSON.parse(row.definition) as PartitionDefinition;
      const definition = { id, isActive, parents, children, fromBound, toBound };
      return { ...definition, startOffset: row.start_offset, checkpointOffset: row.checkpoint_offset };
    });
  }

  segments(topicId: number, partition: number): SegmentMeta[] {
    const rows = this.#sql(
      "SELECT base_offset AS baseOffset, end_offset AS endOffset, bytes, first_ms AS firstWrittenAtMs, " +
        'last_ms AS lastWrittenAtMs, sparse_index AS "index" FROM segments ' +
        "WHERE topic_id = ? AND partition = ? ORDER BY base_offset",
    ).all(topicId, partition);
    return rows as SegmentMeta[];
  }

  addSegment(topicId: number, partition: number, meta: SegmentMeta): void {
    const { baseOffset, endOffset, bytes, firstWrittenAtMs, lastWrittenAtMs, index } = meta;
    this.#run(
      "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      topicId,
      partition,
      baseOffset,
      endOffset,
      bytes,
      firstWrittenAtMs,
      lastWrittenAtMs,
      index,
    );
  }

  /** The partition's log starts at `offset`. */
  trim(topicId: number, partition: number, offset: number): void {
    this.transaction(() => {
      this.#sql("UPDATE partitions SET start_offset = ? WHERE topic_id = ? AND id = ?").run(offset, topicId, partition);
      const gone = "DELETE FROM segments WHERE topic_id = ? AND partition = ? AND end_offset <= ?";
      this.#sql(gone).run(topicId, partition, offset);
    });
  }

  /** Producers' last sequence numbers as of `offset`: what is before needs not be read after a crash. */
  checkpoint(topicId: number, partition: number, offset: number, producers: readonly ProducerRow[]): void {
    this.transaction(() => {
      const upsert = this.#sql(
        "INSERT INTO producers VALUES (?, ?, ?, ?, ?) " +
          "ON CONFLICT DO UPDATE SET last_seq_no = excluded.last_seq_no, last_ms = excluded.last_ms",
      );
      for (const row of producers) upsert.run(topicId, partition, row.producer, row.lastSeqNo, row.lastWrittenAtMs);
      const update = this.#sql("UPDATE partitions SET checkpoint_offset = ? WHERE topic_id = ? AND id = ?");
      update.run(offset, topicId, partition);
    });
  }

  producers(topicId: number, partition: number): ProducerRow[] {
    return this.#sql(
      "SELECT producer, last_seq_no AS lastSeqNo, last_ms AS lastWrittenAtMs FROM producers " +
        "WHERE topic_id = ? AND partition = ?",
    )
      .safeIntegers()
      .all(topicId, partition) as ProducerRow[];
  }

  forgetProducers(topicId: number, partition: number, beforeMs: number): void {
    this.#run(
      "DELETE FROM producers WHERE topic_id = ? AND partition = ? AND last_ms < ?",
      topicId,
      partition,
      beforeMs,
    );
  }

  partitionOf(topicId: number, producer: string): number | undefined {
    const select = this.#sql("SELECT partition FROM producer_partitions WHERE topic_id = ? AND producer = ?");
    return select.pluck().get(topicId, producer) as number | undefined;
  }

  /** Offsets and bindings, all or nothing. Not on the disk when it returns: `sync()` says when it is. */
  commit(offsets: readonly OffsetRow[], bindings: readonly ProducerBinding[]): void {
    this.#db.pragma("synchronous = NORMAL");
    try {
      this.transaction(() => {
        this.setOffsets(offsets);
        const bind = this.#sql("INSERT OR REPLACE INTO producer_partitions VALUES (?, ?, ?)");
        for (const { topicId, producer, partition } of bindings) bind.run(topicId, producer, partition);
      });
    } finally {
      // A commit writes to the log and leaves waiting for the disk to `sync`.
      this.#db.pragma("synchronous = NORMAL");
    }
  }

  /**
   * What was committed before the call is on the disk when it resolves; the disk is waited for off this thread.
   *
   * @throws {TopicServerError} also for as long as it is open after it threw once: the system may have let go of what it
   * could not write, calls the next sync good, and what is behind a hole of SQLite's log is not found after a crash.
   */
  sync(): Promise<void> {
    const wal = this.#wal;
    if (wal === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (this.#syncError !== undefined) {
        reject(this.#syncError);
        return;
      }
      fdatasync(wal, (error) => {
        if (error !== null) this.#syncError ??= diskError(error, "sync the catalogue, which has to be opened anew");
        // One that was asked for before another one failed may say that it went well.
        if (this.#syncError === undefined) resolve();
        else reject(this.#syncError);
      });
    });
  }

  offsets(topicId: number): OffsetRow[] {
    return this.#sql(
      "SELECT topic_id AS topicId, consumer, partition, committed AS offset FROM offsets WHERE topic_id = ?",
    ).all(topicId) as OffsetRow[];
  }

  setOffsets(rows: readonly OffsetRow[]): void {
    this.transaction(() => {
      const upsert = this.#sql("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)");
      for (const row of rows) upsert.run(row.topicId, row.consumer, row.partition, row.offset);
    });
  }

  /** A transaction's offsets and writes, decided at once. @returns the writes' ids. */
  commitTransaction(offsets: readonly OffsetRow[], writes: readonly TxWrite[]): number[] {
    return this.transaction(() => {
      this.setOffsets(offsets);
      const insert = this.#sql(
        "INSERT INTO tx_writes (topic_id, partition, from_offset, producer, meta, frame) VALUES (?, ?, ?, ?, ?, ?)",
      );
      return writes.map((write) =>
        Number(
          insert.run(write.topicId, write.partition, write.fromOffset, write.producer, write.meta, write.frame)
            .lastInsertRowid,
        ),
      );
    });
  }

  txWrites(): TxWriteRow[] {
    return this.#sql(
      "SELECT id, topic_id AS topicId, partition, from_offset AS fromOffset, producer, meta, frame " +
        "FROM tx_writes ORDER BY id",
    ).all() as TxWriteRow[];
  }

  deleteTxWrites(ids: readonly number[]): void {
    this.transaction(() => {
      for (const id of ids) this.#sql("DELETE FROM tx_writes WHERE id = ?").run(id);
    });
  }

  /** A value that is made once and kept. */
  secret(name: string, make: () => Uint8Array): Uint8Array {
    return this.transaction(() => {
      const found = this.#sql("SELECT value FROM secrets WHERE name = ?").pluck().get(name) as Uint8Array | undefined;
      if (found !== undefined) return found;
      const made = make();
      this.#sql("INSERT INTO secrets VALUES (?, ?)").run(name, made);
      return made;
    });
  }

  close(): void {
    this.#db.close();
    if (this.#wal !== undefined) closeSync(this.#wal);
  }

  #run(sql: string, ...values: unknown[]): void {
    try {
      this.#sql(sql).run(...values);
    } catch (error) {
      throw sqliteError(error);
    }
  }

  #sql(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

function sqliteError(error: unknown): unknown {
  const code = (error as { code?: string }).code;
  if (typeof code !== "string" || !code.startsWith("SQLITE")) return error;
  // What SQLite makes of ENOSPC (`unixWrite` in os_unix.c). It has one code for all other errors of a write.
  if (code === "SQLITE_FULL") {
    const message = `No room on the disk for the catalogue (${code}). Make room, or shorten retention`;
    return new TopicServerError("DISK_FULL", message, { cause: error, retryable: true });
  }
  if (code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB") {
    return new TopicServerError("CORRUPT", "The catalogue is not an intact SQLite database", { cause: error });
  }
  return new TopicServerError("DISK_FAILED", `The catalogue cannot be written or read: ${code}`, { cause: error });
}
