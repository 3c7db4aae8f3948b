import type { Clock } from "@tidemark/clock";
import type { HistoryThread } from "../worker/local-thread.ts";
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
} from "./graph-types.ts";
import type { OpenedGraph, WriterMethods } from "./methods.ts";

/** One graph's way into the writer's thread. */
export class SqliteGraph implements HistoryGraph {
  readonly name: string;
  readonly origin: string;
  readonly #opened: OpenedGraph;
  readonly #writer: HistoryThread<WriterMethods>;
  readonly #clock: Clock;
  readonly #onCommit: () => void;

  constructor(
    name: string,
    opened: OpenedGraph,
    parts: {
      readonly writer: HistoryThread<WriterMethods>;
      readonly clock: Clock;
      readonly onCommit: () => void;
    },
  ) {
    this.name = name;
    this.origin = opened.origin;
    this.#opened = opened;
    this.#writer = parts.writer;
    this.#clock = parts.clock;
    this.#onCommit = parts.onCommit;
  }

  async write(edits: readonly GraphEdit[]): Promise<GraphWritten> {
    const written = await this.#writer.call("graphWrite", { ...this.#opened, edits, nowMs: this.#clock.now() });
    if (written.versions > 0) this.#onCommit();
    return written;
  }

  async apply(messages: readonly Uint8Array[]): Promise<GraphApplied> {
    const applied = await this.#writer.call("graphApply", { ...this.#opened, messages, nowMs: this.#clock.now() });
    if (applied.versions > 0) this.#onCommit();
    return applied;
  }

  async batches(
    afterGeneration: number,
    options: { readonly maxBytes?: number } = {},
  ): Promise<readonly GraphMessage[]> {
    const { maxBytes } = options;
    return this.#writer.call("graphBatches", { ...this.#opened, after: afterGeneration, maxBytes });
  }

  async missing(
    vector: Readonly<Record<string, number>>,
    options: { readonly maxBytes?: number } = {},
  ): Promise<readonly Uint8Array[]> {
    const { maxBytes } = options;
    return this.#writer.call("graphMissing", { ...this.#opened, vector, maxBytes });
  }

  async heads(key: Uint8Array): Promise<readonly GraphHead[]> {
    return this.#writer.call("graphHeads", { ...this.#opened, key });
  }

  async conflictGroup(after: number): Promise<ConflictGroup | undefined> {
    return this.#writer.call("graphConflict", { ...this.#opened, after });
  }

  async status(): Promise<GraphStatus> {
    return this.#writer.call("graphStatus", this.#opened);
  }

  async announce(): Promise<GraphWritten> {
    return this.#writer.call("graphAnnounce", { ...this.#opened, nowMs: this.#clock.now() });
  }

  async prune(options: GraphPruneOptions): Promise<GraphPruned> {
    return this.#writer.call("graphPrune", { ...this.#opened, options, nowMs: this.#clock.now() });
  }

  async snapshot(after?: string): Promise<GraphSnapshotPart> {
    return this.#writer.call("graphSnapshot", { ...this.#opened, after });
  }

  async restore(part: Uint8Array, { published }: { readonly published: number }): Promise<GraphRestored> {
    const input = { ...this.#opened, part, published, nowMs: this.#clock.now() };
    const restored = await this.#writer.call("graphRestore", input);
    if (restored.isComplete) this.#onCommit();
    return restored;
  }

  async mirror(source: string): Promise<void> {
    await this.#writer.call("graphMirror", { ...this.#opened, source, nowMs: this.#clock.now() });
  }

  async ingest(): Promise<GraphIngested> {
    const ingested = await this.#writer.call("graphIngest", { ...this.#opened, nowMs: this.#clock.now() });
    if (ingested.versions > 0) this.#onCommit();
    return ingested;
  }

  async storeWrites(options: { readonly maxTransactions?: number } = {}): Promise<readonly StoreTransaction[]> {
    const { maxTransactions } = options;
    const input = { ...this.#opened, maxTransactions, nowMs: this.#clock.now() };
    return this.#writer.call("graphStoreWrites", input);
  }

  async settle(results: readonly StoreResult[]): Promise<void> {
    await this.#writer.call("graphSettle", { ...this.#opened, results, nowMs: this.#clock.now() });
  }

  async unsettled(): Promise<boolean> {
    return this.#writer.call("graphUnsettled", this.#opened);
  }

  async lose(position: string | undefined): Promise<void> {
    await this.#writer.call("graphLose", { ...this.#opened, position, nowMs: this.#clock.now() });
  }
}
