import type { Clock } from "@tidemark/clock";
import { type Flow, runLater } from "../history/flow.ts";
import type { GraphCore } from "../history/graph-core.ts";
import { isTakenOver, isUnsettled, isWritten } from "../history/graph-mirror.ts";
import { GraphNames } from "../history/graph-names.ts";
import { GraphReads } from "../history/graph-reads.ts";
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
  HistoryGraph,
  StoreResult,
  StoreTransaction,
} from "../history/graph-types.ts";
import { PostgresGraphTables } from "./graph-tables.ts";
import { PostgresTenure } from "./graph-tenure.ts";
import { PostgresMirrorTables } from "./mirror-tables.ts";
import { PostgresRetentionTables } from "./retention-tables.ts";
import type { PostgresSession } from "./session.ts";
import type { OpenedStream, PostgresWriter } from "./writer.ts";

interface GraphPlace {
  readonly writer: PostgresWriter;
  readonly clock: Clock;
  readonly onCommit: () => void;
  /** Runs a write; what went wrong becomes an error for people. */
  readonly write: <T>(work: () => Promise<T>) => Promise<T>;
  /** Runs a read on a connection of its own, on one snapshot. */
  readonly read: <T>(work: (session: PostgresSession) => Promise<T>) => Promise<T>;
  /** Opens the graph anew. */
  readonly open: () => Promise<OpenedStream>;
}

/** One graph on PostgreSQL. It is written in the writer's transactions, and read beside them. */
export class PostgresGraph implements HistoryGraph {
  readonly name: string;
  readonly origin: string;
  readonly tenure: PostgresTenure;
  readonly #place: GraphPlace;
  /** Names of sites by their rows, which reads have seen. */
  readonly #sites = new Map<number, string>();

  constructor(options: { readonly name: string; readonly origin: string }, opened: OpenedStream, place: GraphPlace) {
    this.name = options.name;
    this.origin = options.origin;
    this.tenure = new PostgresTenure(place.writer, opened, place.open);
    this.#place = place;
  }

  async write(edits: readonly GraphEdit[]): Promise<GraphWritten> {
    return this.#told(await this.#change((core, nowMs) => core.edits.write(edits, nowMs)));
  }

  async apply(messages: readonly Uint8Array[]): Promise<GraphApplied> {
    return this.#told(await this.#change((core, nowMs) => core.edits.apply(messages, nowMs)));
  }

  batches(
    afterGeneration: number,
    { maxBytes }: { readonly maxBytes?: number } = {},
  ): Promise<readonly GraphMessage[]> {
    return this.#read((reads) => reads.batches(afterGeneration, maxBytes));
  }

  missing(
    vector: Readonly<Record<string, number>>,
    { maxBytes }: { readonly maxBytes?: number } = {},
  ): Promise<readonly Uint8Array[]> {
    return this.#read((reads) => reads.missing(vector, maxBytes));
  }

  heads(key: Uint8Array): Promise<readonly GraphHead[]> {
    return this.#read((reads) => reads.heads(key));
  }

  conflictGroup(after: number): Promise<ConflictGroup | undefined> {
    return this.#read((reads) => reads.conflictGroup(after));
  }

  status(): Promise<GraphStatus> {
    return this.#read((reads) => reads.status());
  }

  async announce(): Promise<GraphWritten> {
    // What has nothing to say makes no transaction.
    const announced = await this.#read((reads) => reads.alreadyAnnounced());
    return announced ?? this.#change((core, nowMs) => core.retention.announce(nowMs));
  }

  prune(options: GraphPruneOptions): Promise<GraphPruned> {
    return this.#change((core, nowMs) => core.retention.prune(options, nowMs));
  }

  snapshot(after?: string): Promise<GraphSnapshotPart> {
    return this.#read((reads) => reads.snapshot(after));
  }

  async restore(part: Uint8Array, { published }: { readonly published: number }): Promise<GraphRestored> {
    const restored = await this.#change((core, nowMs) => core.snapshots.restore(part, published, nowMs));
    if (restored.isComplete) this.#place.onCommit();
    return restored;
  }

  mirror(source: string): Promise<void> {
    return this.#change((core, nowMs) => core.mirror.start(source, nowMs));
  }

  async ingest(): Promise<GraphIngested> {
    // What has nothing to do makes no transaction.
    if (await this.#ask(isTakenOver)) return { versions: 0, echoes: 0, isEnd: true };
    return this.#told(await this.#change((core, nowMs) => core.mirror.ingest(nowMs)));
  }

  async storeWrites({
    maxTransactions,
  }: {
    readonly maxTransactions?: number;
  } = {}): Promise<readonly StoreTransaction[]> {
    if (await this.#ask(isWritten)) return [];
    return this.#change((core, nowMs) => core.mirror.storeWrites(nowMs, maxTransactions));
  }

  settle(results: readonly StoreResult[]): Promise<void> {
    return this.#change((core, nowMs) => core.mirror.settle(results, nowMs));
  }

  unsettled(): Promise<boolean> {
    return this.#ask(isUnsettled);
  }

  lose(position: string | undefined): Promise<void> {
    return this.#change((core, nowMs) => core.mirror.lose(position, nowMs));
  }

  #told<T extends { readonly versions: number }>(result: T): T {
    if (result.versions > 0) this.#place.onCommit();
    return result;
  }

  #change<T>(flow: (core: GraphCore, nowMs: number) => Flow<T>): Promise<T> {
    const { writer, clock, write } = this.#place;
    return write(() => writer.changeGraph(this.tenure.opened, (core) => flow(core, clock.now())));
  }

  async #read<T>(flow: (reads: GraphReads) => Flow<T>): Promise<T> {
    this.#place.writer.checkNewest(this.tenure.opened);
    return this.#place.read((session) => {
      const tables = new PostgresGraphTables(session);
      const names = new GraphNames(tables, this.name, this.#sites);
      const retained = new PostgresRetentionTables(session);
      const { origin } = this;
      return runLater(flow(new GraphReads({ tables, retained, names, stream: this.tenure.opened.id, origin })));
    });
  }

  async #ask(flow: (mirrors: PostgresMirrorTables, stream: number) => Flow<boolean>): Promise<boolean> {
    this.#place.writer.checkOpening(this.tenure.opened);
    return this.#place.read((session) => runLater(flow(new PostgresMirrorTables(session), this.tenure.opened.id)));
  }
}
