import type Database from "better-sqlite3";
import type { CommitLog } from "./commit-log.ts";
import { type Flow, runNow } from "./flow.ts";
import { GraphCore } from "./graph-core.ts";
import { isTakenOver, isUnsettled, isWritten } from "./graph-mirror.ts";
import type {
  ConflictGroup,
  GraphApplied,
  GraphEdit,
  GraphHead,
  GraphIngested,
  GraphMessage,
  GraphPruned,
  GraphPruneOptions,
  GraphRestored,
  GraphSnapshotPart,
  GraphStatus,
  GraphWritten,
  StoreResult,
  StoreTransaction,
} from "./graph-types.ts";
import { SqliteGraphTables } from "./sqlite-graph-tables.ts";
import { MomentTable } from "./moment-table.ts";
import { SqliteMirrorTables } from "./sqlite-mirror-tables.ts";
import { SqliteRetentionTables } from "./sqlite-retention-tables.ts";
import { commitFailed } from "./sqlite-errors.ts";
import type { StreamLog } from "./stream-log.ts";
import type { StagedStreamState } from "./stage.ts";
import type { Transactions } from "./transactions.ts";
import type { VersionStore } from "./version-store.ts";

/** One graph on SQLite, on the writer's connection. */
export class GraphWriter {
  readonly #core: GraphCore;
  readonly #tables: SqliteGraphTables;
  readonly #mirrors: SqliteMirrorTables;
  readonly #transactions: Transactions;
  readonly #state: StagedStreamState;

  /** `state` is the stream of the graph; `origin` the identity of the history. */
  constructor(
    db: Database.Database,
    parts: {
      readonly store: VersionStore;
      readonly streams: StreamLog;
      readonly commits: CommitLog;
      readonly transactions: Transactions;
    },
    state: StagedStreamState,
    origin: string,
    nowMs: number,
  ) {
    const { store, streams, commits } = parts;
    this.#mirrors = new SqliteMirrorTables(db);
    this.#tables = new SqliteGraphTables(db);
    this.#core = new GraphCore({
      tables: this.#tables,
      mirrors: this.#mirrors,
      retained: new SqliteRetentionTables(db),
      moments: new MomentTable(db),
      store,
      streams,
      commits,
      state,
      origin,
    });
    this.#transactions = parts.transactions;
    this.#state = state;
    this.#change(this.#core.open(nowMs));
  }

  write(edits: readonly GraphEdit[], nowMs: number): GraphWritten {
    return this.#change(this.#core.edits.write(edits, nowMs));
  }

  apply(messages: readonly Uint8Array[], nowMs: number): GraphApplied {
    return this.#change(this.#core.edits.apply(messages, nowMs));
  }

  batches(afterGeneration: number, maxBytes?: number): GraphMessage[] {
    return runNow(this.#core.reads.batches(afterGeneration, maxBytes));
  }

  missing(vector: Readonly<Record<string, number>>, maxBytes?: number): Uint8Array[] {
    return runNow(this.#core.reads.missing(vector, maxBytes));
  }

  heads(key: Uint8Array): GraphHead[] {
    return runNow(this.#core.reads.heads(key));
  }

  conflictGroup(after: number): ConflictGroup | undefined {
    return runNow(this.#core.reads.conflictGroup(after));
  }

  status(): GraphStatus {
    return runNow(this.#core.reads.status());
  }

  announce(nowMs: number): GraphWritten {
    const announced = runNow(this.#core.reads.alreadyAnnounced());
    return announced ?? this.#change(this.#core.retention.announce(nowMs));
  }

  prune(options: GraphPruneOptions, nowMs: number): GraphPruned {
    const pruned = runNow(this.#core.retention.alreadyPruned(options));
    return pruned ?? this.#change(this.#core.retention.prune(options, nowMs));
  }

  snapshot(after: string | undefined): GraphSnapshotPart {
    return runNow(this.#core.reads.snapshot(after));
  }

  restore(part: Uint8Array, published: number, nowMs: number): GraphRestored {
    return this.#change(this.#core.snapshots.restore(part, published, nowMs));
  }

  mirror(source: string, nowMs: number): void {
    this.#change(this.#core.mirror.start(source, nowMs));
  }

  ingest(nowMs: number): GraphIngested {
    if (runNow(isTakenOver(this.#mirrors, this.#state.id))) return { versions: 0, echoes: 0, isEnd: true };
    return this.#change(this.#core.mirror.ingest(nowMs));
  }

  storeWrites(nowMs: number, maxTransactions?: number): StoreTransaction[] {
    if (runNow(isWritten(this.#mirrors, this.#state.id))) return [];
    return this.#change(this.#core.mirror.storeWrites(nowMs, maxTransactions));
  }

  settle(results: readonly StoreResult[], nowMs: number): void {
    this.#change(this.#core.mirror.settle(results, nowMs));
  }

  unsettled(): boolean {
    return runNow(isUnsettled(this.#mirrors, this.#state.id));
  }

  lose(position: string | undefined, nowMs: number): void {
    this.#change(this.#core.mirror.lose(position, nowMs));
  }

  /** @throws {StoreWatchError} */
  #change<T>(flow: Flow<T>): T {
    try {
      return this.#transactions.run(this.#state, () => runNow(flow));
    } catch (error) {
      this.#tables.forget();
      this.#core.forget();
      throw commitFailed(error);
    }
  }
}
