import { rmSync, statSync } from "node:fs";
import { systemClock } from "@tidemark/clock";
import type Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
import { FrameReader } from "../frame-layout.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import { toErrorRecord } from "../worker/error-record.ts";
import { Appender } from "./appender.ts";
import { CommitLog } from "./commit-log.ts";
import { CommitTable } from "./commit-table.ts";
import { runNow } from "./flow.ts";
import { GroupApplier } from "./group-applier.ts";
import { graphStream } from "./graph-stream.ts";
import { GraphWriter } from "./graph-writer.ts";
import type { GraphOptions } from "./graph-types.ts";
import { type Lease, takeLease } from "./lease.ts";
import type { AppendInput, AppendOutput, GraphInput, OpenedGraph, OpenedStream, WriterMethods } from "./methods.ts";
import { sqliteSavepoints, StoredValues } from "./held-values.ts";
import { ObjectLookup } from "./object-lookup.ts";
import { checkFile, openError, openWriterDatabase } from "./open-database.ts";
import { MomentTable } from "./moment-table.ts";
import { PrunedTable } from "./pruned-table.ts";
import { Pruner } from "./pruner.ts";
import { QuarantineResolver } from "./quarantine-resolver.ts";
import { QuarantineLog } from "./quarantine-log.ts";
import { QuarantineTable } from "./quarantine-table.ts";
import { classifySqliteError, commitFailed } from "./sqlite-errors.ts";
import { Stage, type StagedStreamState } from "./stage.ts";
import { resumeOf, StreamLog } from "./stream-log.ts";
import { StreamTable } from "./stream-table.ts";
import { Transactions } from "./transactions.ts";
import { VersionStore } from "./version-store.ts";

/** For the objects that each stream remembers: some 60,000 are certain to be found again. */
const defaultCacheBytes = 24 * 1024 * 1024;
/** So many are read at the start, so that every other key is known to be new. */
const fewObjects = 4096;
/** Pages in the WAL after which it is copied back. */
const checkpointPages = 4096;
/** Frames whose keys are resolved together. */
const windowFrames = 256;
/** A WAL larger than this after a commit is cut. */
const maxWalBytes = 128 * 1024 * 1024;

/** The only connection that writes, with everything that happens on its thread. */
export class HistoryWriter {
  readonly #file: string;
  readonly #lease: Lease;
  readonly #db: Database.Database;
  readonly #states = new Map<number, StagedStreamState>();
  readonly #graphs = new Map<number, GraphWriter>();
  readonly #store: VersionStore;
  readonly #streams: StreamLog;
  readonly #commits: CommitLog;
  readonly #transactions: Transactions;
  readonly #appender: Appender;
  readonly #resolver: QuarantineResolver;
  readonly #pruner: Pruner;
  readonly #lookup: ObjectLookup;
  readonly #walPages: Database.Statement<[], [busy: number, log: number, checkpointed: number]>;
  readonly #cacheBytes: number;
  #nextWalBytes = maxWalBytes;
  readonly origin: string;

  /**
   * Takes the lease on the file and opens it. `origin` is the identity of a new database.
   *
   * @throws {StoreWatchError} `DATABASE_UNREADABLE`, `DATABASE_LOCKED`, `SCHEMA_NEWER`
   */
  constructor(options: Parameters<WriterMethods["open"]>[0] & { readonly cacheBytes?: number }) {
    const { file, synchronous } = options;
    this.#file = file;
    this.#cacheBytes = options.cacheBytes ?? defaultCacheBytes;
    checkFile(file);
    this.#lease = leaseOf(file);
    let db: Database.Database | undefined;
    try {
      db = openWriterDatabase(file, synchronous);
      this.origin = identify(db, options.origin);
      const store = new VersionStore(db);
      const streams = new StreamLog(new StreamTable(db));
      const commits = new CommitLog(new CommitTable(db));
      runNow(commits.load());
      const transactions = new Transactions(db, { store, streams, commits, all: this.#states });
      const [objects, savepoints, quarantine] = [new ObjectLookup(db), sqliteSavepoints(db), new QuarantineTable(db)];
      const groups = new GroupApplier({
        store,
        objects,
        values: new StoredValues(store),
        savepoints,
        quarantine: new QuarantineLog(quarantine, savepoints),
        windowFrames,
      });
      this.#appender = new Appender({ store, groups, streams, commits, transactions });
      const stateOf = (id: number) => this.#states.get(id) ?? this.#newState(id);
      this.#resolver = new QuarantineResolver({ store, streams, commits, objects, quarantine, stateOf });
      this.#pruner = new Pruner({
        rows: new PrunedTable(db),
        moments: new MomentTable(db),
        position: () => store.position,
        onRemoved: (stream, removed) => {
          const state = this.#states.get(stream);
          if (state !== undefined) state.versions -= removed;
        },
        inTransaction: (work) => transactions.run(undefined, () => runNow(work())),
      });
      this.#db = db;
      this.#walPages = db.prepare<[], [number, number, number]>("PRAGMA wal_checkpoint(NOOP)").raw();
      this.#lookup = objects;
      this.#store = store;
      this.#streams = streams;
      this.#commits = commits;
      this.#transactions = transactions;
    } catch (error) {
      db?.close();
      this.#lease.release();
      throw openError(file, error);
    }
  }

  openStream(options: OpenStreamOptions, nowMs: number): OpenedStream {
    const stream = this.#transactions.run(undefined, () => {
      const { id, previous } = runNow(this.#streams.open(options));
      const old = this.#states.get(id);
      const opened: StagedStreamState = {
        ...this.#newState(id),
        ...(old !== undefined && { cache: old.cache, stage: old.stage, spare: old.spare, token: old.token + 1 }),
      };
      const begin = () => this.#commits.begin(nowMs);
      runNow(this.#streams.enterScope(opened, previous, options, this.#store.position, begin));
      return opened;
    });
    this.#states.set(stream.id, stream);
    // What an earlier writer left open comes again.
    stream.stage.truncate(0);
    return { id: stream.id, token: stream.token, resume: resumeOf(stream) };
  }

  openGraph(options: GraphOptions, nowMs: number): OpenedGraph {
    const opened = this.openStream({ ...graphStream, ...options }, nowMs);
    const state = this.#states.get(opened.id) as StagedStreamState;
    const parts = {
      store: this.#store,
      streams: this.#streams,
      commits: this.#commits,
      transactions: this.#transactions,
    };
    this.#graphs.set(opened.id, new GraphWriter(this.#db, parts, state, this.origin, nowMs));
    return { stream: opened.id, token: opened.token, origin: this.origin };
  }

  /** @throws {StoreWatchError} `STREAM_BUSY` when the graph was opened again. */
  graph({ stream, token }: GraphInput): GraphWriter {
    const state = this.#states.get(stream);
    const graph = this.#graphs.get(stream);
    if (graph !== undefined && state?.token === token) return graph;
    throw new StoreWatchError(
      "STREAM_BUSY",
      `the graph ${JSON.stringify(state?.name ?? stream)} was opened again; only its newest opening may go on`,
    );
  }

  /** Gives the buffer's memory back in any case. */
  append(input: AppendInput): AppendOutput {
    const { parts } = input;
    try {
      const stream = this.#states.get(input.stream);
      if (stream === undefined || stream.token !== input.token) {
        throw new StoreWatchError(
          "STREAM_BUSY",
          `the stream ${JSON.stringify(stream?.name ?? input.stream)} was opened again; only its newest writer may append`,
        );
      }
      const appended = this.#appender.append(stream, new FrameReader(parts), input.nowMs);
      return { parts, ...appended, resume: resumeOf(stream) };
    } catch (error) {
      return { parts, error: toErrorRecord(commitFailed(error)) };
    }
  }

  /** Copies the WAL back once it has grown: to be called when the answer to an append is out, so that nobody waits for it. */
  settle(): void {
    try {
      const [, pages, copied] = this.#walPages.get() as [number, number, number];
      if (pages - copied >= checkpointPages) this.#db.pragma("wal_checkpoint(PASSIVE)");
      this.#limitWal();
    } catch {
      // Nothing is lost. If the disk is the reason, the next commit tells.
    }
  }

  /** @throws {StoreWatchError} `COMMIT_FAILED` when it fails again, and the record shows the new error. */
  retryQuarantined(id: number, nowMs: number): void {
    try {
      this.#transactions.run(undefined, () => runNow(this.#resolver.retry(id, nowMs)));
    } catch (error) {
      if (classifySqliteError(error) === "data") {
        const message = error instanceof Error ? error.message : String(error);
        this.#transactions.run(undefined, () => runNow(this.#resolver.blame(id, message)));
      }
      throw commitFailed(error);
    }
  }

  skipQuarantined(id: number, reason: string): void {
    this.#transactions.run(undefined, () => runNow(this.#resolver.skip(id, reason)));
  }

  setConsumer(name: string, position: number | undefined, nowMs: number): void {
    this.#transactions.run(undefined, () => runNow(this.#pruner.setConsumer(name, position, nowMs)));
  }

  prune(input: Parameters<WriterMethods["prune"]>[0]): Promise<{ readonly removed: number; readonly floor: number }> {
    return this.#pruner.prune(input.before, input.stream, systemClock);
  }

  close(): void {
    for (const stream of this.#states.values()) {
      stream.stage.close();
      stream.spare.close();
    }
    this.#db.close();
    this.#lease.release();
  }

  #newState(id: number): StagedStreamState {
    return {
      id,
      ...runNow(this.#streams.load(id)),
      cache: this.#lookup.cacheOf(id, fewObjects, this.#cacheBytes),
      token: 1,
      open: undefined,
      stage: new Stage(this.#stagePath(id, 1)),
      spare: new Stage(this.#stagePath(id, 2)),
      isAfterGap: false,
      isRepair: false,
      ownGap: undefined,
    };
  }

  #stagePath(stream: number, number: 1 | 2): string {
    const path = `${this.#file}-stage-${stream}-${number}`;
    rmSync(path, { force: true });
    return path;
  }

  /**
   * SQLite copies the WAL back as it goes, but readers can keep it from starting over: then it waits for them, a little
   * and not again before it has grown as much once more.
   */
  #limitWal(): void {
    const bytes = statSync(`${this.#file}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (bytes < this.#nextWalBytes) {
      this.#nextWalBytes = Math.min(this.#nextWalBytes, Math.max(maxWalBytes, bytes + maxWalBytes));
      return;
    }
    this.#db.pragma("busy_timeout = 200");
    this.#db.pragma("wal_checkpoint(TRUNCATE)");
    this.#db.pragma("busy_timeout = 5000");
    const left = statSync(`${this.#file}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    this.#nextWalBytes = left + maxWalBytes;
  }
}

function leaseOf(file: string): Lease {
  try {
    return takeLease(file);
  } catch (error) {
    throw openError(file, error);
  }
}

function identify(db: Database.Database, origin: string): string {
  const known = db.prepare("SELECT value FROM meta WHERE key = 'origin'").pluck().get() as string | undefined;
  if (known !== undefined) return known;
  db.transaction(() => {
    db.prepare("INSERT INTO meta (key, value) VALUES ('origin', ?)").run(origin);
    db.prepare("INSERT INTO origins (id, name) VALUES (1, ?)").run(origin);
  })();
  return origin;
}
