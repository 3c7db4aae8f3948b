import type Database from "better-sqlite3";
import type { CommitLog } from "./commit-log.ts";
import { runNow } from "./flow.ts";
import { commitFailed } from "./sqlite-errors.ts";
import type { StreamLog } from "./stream-log.ts";
import type { StreamState } from "./stream-state.ts";
import type { VersionStore } from "./version-store.ts";

/** The writer's transactions, and what it remembers across them. */
export class Transactions {
  readonly #db: Database.Database;
  readonly #store: VersionStore;
  readonly #streams: StreamLog;
  readonly #commits: CommitLog;
  readonly #all: ReadonlyMap<number, StreamState>;
  readonly #begin: Database.Statement;
  readonly #commit: Database.Statement;
  readonly #dataVersion: Database.Statement<[], number>;
  #seenVersion: number;
  /** A transaction failed, and the database could not be read since: what is remembered may not be so. */
  #isStale = false;

  constructor(
    db: Database.Database,
    parts: {
      readonly store: VersionStore;
      readonly streams: StreamLog;
      readonly commits: CommitLog;
      readonly all: ReadonlyMap<number, StreamState>;
    },
  ) {
    this.#db = db;
    this.#store = parts.store;
    this.#streams = parts.streams;
    this.#commits = parts.commits;
    this.#all = parts.all;
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#commit = db.prepare("COMMIT");
    this.#dataVersion = db.prepare<[], number>("PRAGMA data_version").pluck();
    this.#seenVersion = this.#dataVersion.get() as number;
  }

  /**
   * Runs `work` in a transaction. When it fails, nothing of it is in the database, and memory is as the database says
   * before anything else is written.
   *
   * @throws {StoreWatchError} `COMMIT_FAILED` for what SQLite says about itself; errors about the data as they are.
   */
  run<T>(stream: StreamState | undefined, work: () => T): T {
    try {
      if (this.#isStale) this.#recover();
      this.#begin.run();
    } catch (error) {
      throw commitFailed(error);
    }
    const before = stream && { isAfterGap: stream.isAfterGap, isRepair: stream.isRepair, ownGap: stream.ownGap };
    try {
      this.#noticeOthers();
      const result = work();
      this.#commit.run();
      return result;
    } catch (error) {
      if (stream !== undefined) Object.assign(stream, before);
      this.#isStale = true;
      try {
        this.#recover();
      } catch {
        // The next transaction tries again, and says what is wrong.
      }
      throw error;
    }
  }

  /** After a failed transaction. Nothing may be written before it worked. */
  #recover(): void {
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
    this.#reload();
    this.#isStale = false;
  }

  /** Takes everything that is remembered from the database again. */
  #reload(): void {
    this.#store.reset();
    runNow(this.#commits.load());
    for (const stream of this.#all.values()) {
      stream.cache.clear();
      Object.assign(stream, runNow(this.#streams.load(stream.id)));
    }
  }

  /** A person with a SQLite tool may have written: what we remember may no longer be so. */
  #noticeOthers(): void {
    const version = this.#dataVersion.get() as number;
    if (version === this.#seenVersion) return;
    this.#seenVersion = version;
    this.#reload();
  }
}
