import type Database from "better-sqlite3";
import { type Flow, runNow } from "./flow.ts";
import type { AsOfInput, DiffPage, ReaderMethods, VersionPage } from "./methods.ts";
import { MomentTable } from "./moment-table.ts";
import { Moments } from "./moments.ts";
import { openReaderDatabase } from "./open-database.ts";
import { RecordQueries } from "./record-queries.ts";
import { type PackedVersions, packVersions, type VersionRow } from "./version-packing.ts";
import { VersionQueries } from "./version-queries.ts";
import { VersionReads } from "./version-reads.ts";

/** Reads of one connection to SQLite. Every page is read from one snapshot of the database. */
export class HistoryReader {
  /** For checks over the whole database. */
  readonly connection: Database.Database;
  readonly #moments: Moments;
  readonly #queries: VersionQueries;
  readonly #reads: VersionReads;
  readonly records: RecordQueries;

  /** @throws {StoreWatchError} `DATABASE_UNREADABLE` */
  constructor(file: string) {
    this.connection = openReaderDatabase(file);
    this.#moments = new Moments(new MomentTable(this.connection));
    this.#queries = new VersionQueries(this.connection);
    this.#reads = new VersionReads(this.#queries, this.#moments);
    this.records = new RecordQueries(this.connection);
  }

  position(): number {
    return runNow(this.#moments.now());
  }

  get(stream: string, key: Uint8Array, at: AsOfInput | undefined): PackedVersions {
    return this.#read(this.#reads.get(stream, key, at), (row) => this.#pack(row === undefined ? [] : [row]));
  }

  list(input: Parameters<ReaderMethods["list"]>[0]): VersionPage {
    return this.#read(this.#reads.list(input), ({ rows, next }) => ({ versions: this.#pack(rows), next }));
  }

  log(input: Parameters<ReaderMethods["log"]>[0]): VersionPage {
    return this.#read(this.#reads.log(input), ({ rows, next }) => ({ versions: this.#pack(rows), next }));
  }

  changes(input: Parameters<ReaderMethods["changes"]>[0]): ReturnType<ReaderMethods["changes"]> {
    return this.#read(this.#reads.changes(input), ({ rows, ...rest }) => ({ versions: this.#pack(rows), ...rest }));
  }

  diff(input: Parameters<ReaderMethods["diff"]>[0]): DiffPage {
    return this.#read(this.#reads.diff(input), ({ rows, next }) => ({ versions: this.#pack(rows), next }));
  }

  close(): void {
    this.connection.close();
  }

  #read<T, R>(flow: Flow<T>, finish: (result: T) => R): R {
    this.connection.exec("BEGIN");
    try {
      return finish(runNow(flow));
    } finally {
      this.connection.exec("COMMIT");
    }
  }

  #pack(rows: readonly (VersionRow | undefined)[]): PackedVersions {
    return packVersions(rows, this.#queries.edgesOf(rows.flatMap((row) => row?.pos ?? [])));
  }
}
