import { type ErrorRecord, fromErrorRecord, WorkerClient, workerFile } from "@tidemark/store-watch/internal";
import { type Bytes, compareBytes, copyBytes, successor, toBytes } from "./bytes.ts";
import { checkedKey, toCommand, toRevision } from "./commands-from.ts";
import { Compactor } from "./compactor.ts";
import { unpackKeyValues, type WriteCommand, type WriteOutcome } from "./database/commands.ts";
import type { BelowFloor, ListAnswer, ListQuery } from "./database/store-reader.ts";
import type { ReaderMethods, StoreWorkerData, WriterMethods } from "./database/store-worker.ts";
import type { StoreFacts } from "./database/store-writer.ts";
import { transferablesOf } from "./database/packed-rows.ts";
import { GroupCommit } from "./group-commit.ts";
import { type Span, toSpan } from "./key-range.ts";
import { toKeyValue } from "./key-value.ts";
import { StoreError, type StoreErrorCode } from "./store-error.ts";
import { resolveStore, type StoreOptions } from "./store-options.ts";
import type {
  CallOptions,
  CompareAndPutResult,
  DeleteResult,
  GetResult,
  KeyValue,
  KeyValueStore,
  ListOptions,
  ListResult,
  PutResult,
  StoreSize,
  StoreStatus,
  TxnRequest,
  TxnResult,
  WatchEvent,
  WatchOptions,
} from "./store-types.ts";
import { Tail } from "./tail.ts";
import { Timeline } from "./timeline.ts";
import { Watcher, type WatcherHost } from "./watcher.ts";

const defaultListLimit = 1000;
const maxListLimit = 10_000;
const maxListBytes = 4 * 1024 * 1024;

/**
 * A key-value store in one SQLite file that can be watched. What a write acknowledged is on disk. Every transaction has
 * one revision; revisions are dense, start at 1, and are the order in which every watcher sees them.
 */
export interface Store extends KeyValueStore, AsyncDisposable {
  /** Names the data: new when the file was deleted. */
  readonly storeId: string;
  /** Names this run of the store: new whenever it is opened. */
  readonly incarnation: string;
  /** Of the newest transaction; 0n for an empty store. */
  revision(): bigint;
  /**
   * Follows a range from a marker on, in commit order, without loss, at the pace of whoever iterates. Breaking out of the
   * loop ends it.
   *
   * @throws StoreError `ARGUMENT_INVALID` here; from the iteration `TOO_OLD`, `STORE_REPLACED`, `CLOSED`, `STORE_FAILED`.
   */
  watch(options?: WatchOptions): AsyncIterableIterator<WatchEvent>;
  /** Watches that are going on. */
  readonly watchers: number;
  /** Undefined while keys that an earlier release wrote are not counted: see {@link finishUpgrade}. */
  size(options?: CallOptions): Promise<StoreSize | undefined>;
  /**
   * Whether an earlier release wrote the file, and the migrations of `@tidemark/watch-server/migrations` have yet to be run
   * on it with `@tidemark/migrate`. Until then everything works but {@link size}.
   */
  readonly isUpgrading: boolean;
  /**
   * Takes what those migrations did into use, once they are done: call it behind `requireDone()`. False: something is left
   * to do. Reads every key once; writes do not wait for it.
   */
  finishUpgrade(options?: CallOptions): Promise<boolean>;
  /** Finishes the writes that were accepted, ends every watch with `CLOSED`, closes the file. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens a store, and creates the file if it is missing. SQL runs in two threads, one that writes and one that reads.
 *
 * @throws StoreError `OPTIONS_INVALID`, `FILE_UNUSABLE`, `SCHEMA_NEWER`, `STORE_LOCKED` (another process has it).
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const resolved = resolveStore(options);
  const { file, rng } = resolved;
  const incarnation = Buffer.from(rng.bytes(8)).toString("hex");
  let store: EmbeddedStore | undefined;
  const onDied = (error: StoreError) => store?.fail(error);
  const writer = startThread<WriterMethods>({ role: "writer", file, storeId: rng.uuid(), incarnation }, onDied);
  const reader = startThread<ReaderMethods>({ role: "reader", file }, onDied);
  try {
    // The writer first: it creates what is missing.
    const facts = await writer.call("open", undefined);
    await reader.call("open", undefined);
    store = new EmbeddedStore(resolved, incarnation, facts, writer, reader);
    return store;
  } catch (error) {
    await Promise.all([writer.close(), reader.close()]);
    throw error;
  }
}

class EmbeddedStore implements Store, WatcherHost {
  readonly storeId: string;
  readonly incarnation: string;
  readonly timeline: Timeline;
  readonly tail: Tail;
  readonly active = new Set<Watcher>();
  readonly #options: Required<StoreOptions>;
  readonly #writer: WorkerClient<WriterMethods>;
  readonly #reader: WorkerClient<ReaderMethods>;
  readonly #commits: GroupCommit;
  readonly #compactor: Compactor;
  #head: number;
  /** The newest that a read was told of: it may see what the writer has committed and not reported yet. */
  #newestRead = 0;
  #isUpgrading: boolean;
  #closing: Promise<void> | undefined;

  constructor(
    options: Required<StoreOptions>,
    incarnation: string,
    facts: StoreFacts,
    writer: WorkerClient<WriterMethods>,
    reader: WorkerClient<ReaderMethods>,
  ) {
    this.#options = options;
    this.#writer = writer;
    this.#reader = reader;
    this.#head = facts.revision;
    this.#isUpgrading = !facts.areSizesKnown;
    this.storeId = facts.storeId;
    this.incarnation = incarnation;
    this.timeline = new Timeline([...facts.timeline, { firstRevision: facts.revision + 1, incarnation }]);
    this.tail = new Tail(options.tailBytes);
    this.#commits = new GroupCommit({
      clock: options.clock,
      maxPendingBytes: options.maxPendingBytes,
      write: (group) =>
        writer.call("write", { group, nowMs: options.clock.now() }, { transfer: transferablesOf(group) }),
      onCommitted: (...committed) => this.#publish(...committed),
      onGroup: () => {
        for (const watcher of this.active) watcher.wake();
      },
    });
    this.#compactor = new Compactor(facts.floor, facts.hasLeftovers, {
      removeStep: (target, maxChanges) => writer.call("removeStep", { target, maxChanges }),
    });
    this.#compactor.kick();
  }

  get clock() {
    return this.#options.clock;
  }

  get head(): number {
    return this.#head;
  }

  get floor(): number {
    return this.#compactor.floor;
  }

  get watchers(): number {
    return this.active.size;
  }

  get isUpgrading(): boolean {
    return this.#isUpgrading;
  }

  revision(): bigint {
    return BigInt(this.#head);
  }

  async put(key: Bytes, value: Bytes, options?: CallOptions): Promise<PutResult> {
    const outcome = await this.#write({ ops: [{ type: "put", key, value }] }, options);
    return { revision: BigInt(outcome.revision) };
  }

  async delete(key: Bytes, options?: CallOptions): Promise<DeleteResult> {
    const outcome = await this.#write({ ops: [{ type: "delete", key }] }, options);
    return { revision: BigInt(outcome.revision), existed: outcome.effective[0] === true };
  }

  async compareAndPut(
    key: Bytes,
    value: Bytes,
    expectedModRevision: bigint,
    options?: CallOptions,
  ): Promise<CompareAndPutResult> {
    const request: TxnRequest = { compares: [{ key, expectedModRevision }], ops: [{ type: "put", key, value }] };
    const { succeeded, revision, actual } = await this.#write(request, options);
    return { succeeded, revision: BigInt(revision), actual: actual && toKeyValue(actual) };
  }

  async txn(request: TxnRequest, options?: CallOptions): Promise<TxnResult> {
    const { succeeded, revision } = await this.#write(request, options);
    return { succeeded, revision: BigInt(revision) };
  }

  async get(key: Bytes, options?: CallOptions): Promise<GetResult> {
    this.#checkOpen();
    const answer = await this.#reader.call("get", copyBytes(checkedKey(key, this.#options)), {
      signal: options?.signal,
    });
    this.#newestRead = Math.max(this.#newestRead, answer.revision);
    const [kv] = unpackKeyValues(answer.rows);
    return { kv: kv && toKeyValue(kv), revision: BigInt(answer.revision) };
  }

  async list(options: ListOptions = {}): Promise<ListResult> {
    this.#checkOpen();
    const { limit = defaultListLimit, signal } = options;
    if (!Number.isInteger(limit) || limit < 1 || limit > maxListLimit) {
      throw new StoreError("ARGUMENT_INVALID", `limit must be a whole number in [1, ${maxListLimit}], got ${limit}`);
    }
    const bounds = toSpan(options.range);
    const span = pageSpan(bounds, options.after);
    const query = { span, maxKeys: limit, maxBytes: maxListBytes };
    if (options.revision !== undefined) {
      return this.#list({ ...query, revision: this.#reachedRevision(options.revision), isPinned: false }, signal);
    }
    // Pinned before anything is read: what is there now stays until all of it was read, whatever is compacted meanwhile.
    const pin = this.pin(this.#head);
    try {
      return await this.#list({ ...query, revision: undefined, isPinned: true }, signal);
    } finally {
      this.unpin(pin);
    }
  }

  async #list(query: ListQuery, signal: AbortSignal | undefined): Promise<ListResult> {
    const { maxKeys, maxBytes } = query;
    let { revision } = query;
    let span: Span | undefined = query.span;
    const kvs: KeyValue[] = [];
    let bytes = 0;
    // A call looks at a bounded number of keys, many of which may be deleted.
    do {
      const rest: ListQuery = { ...query, span, revision, maxKeys: maxKeys - kvs.length, maxBytes: maxBytes - bytes };
      const answer: ListAnswer | BelowFloor = await this.#reader.call("list", rest, { signal });
      if ("floor" in answer) throw this.#belowFloor(answer.floor, revision);
      revision = answer.revision;
      this.#newestRead = Math.max(this.#newestRead, revision);
      bytes += answer.rows.bytes.length;
      for (const stored of unpackKeyValues(answer.rows)) kvs.push(toKeyValue(stored));
      span = answer.scannedTo && { start: successor(answer.scannedTo), end: query.span.end };
    } while (span !== undefined && kvs.length < maxKeys && bytes < maxBytes);
    return { kvs, hasMore: span !== undefined, revision: BigInt(revision ?? this.#head) };
  }

  watch(options: WatchOptions = {}): AsyncIterableIterator<WatchEvent> {
    this.#checkOpen();
    return new Watcher(this, options);
  }

  async compact(revision: bigint, options?: CallOptions): Promise<{ readonly floor: bigint }> {
    this.#checkOpen();
    const wanted = this.#reachedRevision(revision);
    const signal = options?.signal;
    signal?.throwIfAborted();
    // Whoever stops waiting does not stop it, so what comes of it must be known in any case.
    const raised = this.#writer.call("raiseFloor", wanted).then((floor) => {
      this.#compactor.raise(floor);
      return { floor: BigInt(floor) };
    });
    return signal === undefined ? raised : abortable(raised, signal);
  }

  async status(): Promise<StoreStatus> {
    this.#checkOpen();
    return {
      storeId: this.storeId,
      incarnation: this.incarnation,
      revision: BigInt(this.#head),
      marker: this.timeline.marker(this.#head),
      floor: BigInt(this.floor),
      oldestMarker: this.timeline.marker(this.floor),
    };
  }

  async size(options?: CallOptions): Promise<StoreSize | undefined> {
    this.#checkOpen();
    return this.#reader.call("size", undefined, { signal: options?.signal });
  }

  async finishUpgrade(options?: CallOptions): Promise<boolean> {
    this.#checkOpen();
    const { signal } = options ?? {};
    if (!this.#isUpgrading) return true;
    if (!(await this.#reader.call("isCounted", undefined, { signal }))) return false;
    // None is written without its size any more, so it stays so.
    await this.#writer.call("markSizesKnown", undefined, { signal });
    this.#isUpgrading = false;
    return true;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  attach(watcher: Watcher): void {
    this.#checkOpen();
    // Nobody would wake it: those that were there were stopped when the thread died.
    const died = this.#writer.ended ?? this.#reader.ended;
    if (died !== undefined) throw died;
    this.active.add(watcher);
  }

  detach(watcher: Watcher): void {
    this.active.delete(watcher);
  }

  pin(revision: number) {
    const pin = { revision };
    this.#compactor.pins.add(pin);
    return pin;
  }

  unpin(pin: { revision: number }): void {
    this.#compactor.release(pin);
  }

  readList: WatcherHost["readList"] = (query) => this.#reader.call("list", query);

  readLog: WatcherHost["readLog"] = (query) => this.#reader.call("log", query);

  async #write(request: TxnRequest, options: CallOptions | undefined): Promise<WriteOutcome> {
    this.#checkOpen();
    const signal = options?.signal;
    if (signal === undefined) return this.#commits.submit(toCommand(request, this.#options));
    signal.throwIfAborted();
    return abortable(this.#commits.submit(toCommand(request, this.#options)), signal);
  }

  #publish(revision: number, command: WriteCommand, outcome: WriteOutcome, committedAtMs: number): void {
    this.#head = revision;
    this.tail.push(revision, {
      revision: BigInt(revision),
      marker: this.timeline.marker(revision),
      committedAtMs,
      changes: command.ops.filter((_, index) => outcome.effective[index]),
    });
  }

  /** @throws StoreError `ARGUMENT_INVALID` for a revision that does not exist yet. */
  #reachedRevision(revision: bigint): number {
    const wanted = toRevision("revision", revision);
    const newest = Math.max(this.#head, this.#newestRead);
    if (wanted > newest) {
      const expected = `revision must be one that exists, at most ${newest}`;
      throw new StoreError("ARGUMENT_INVALID", `${expected}, got ${revision}`);
    }
    return wanted;
  }

  #belowFloor(floor: number, revision: number | undefined): StoreError {
    return new StoreError(
      "TOO_OLD",
      `the state at revision ${revision} was compacted away, the oldest is ${floor}. List without a revision first`,
      { oldestMarker: this.timeline.marker(floor), incarnation: this.incarnation },
    );
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw closedError();
  }

  /** A thread died: whoever waits hears of it, as every call from now on does. */
  fail(error: StoreError): void {
    for (const watcher of this.active) watcher.stop(error);
  }

  async #close(): Promise<void> {
    for (const watcher of this.active) watcher.stop(closedError());
    // A disk that hangs must not hang us: what it has not acknowledged by then is refused, and its thread ends when it can.
    const { clock, closeTimeoutMs } = this.#options;
    const { promise: timeIsUp, resolve } = Promise.withResolvers<void>();
    const limit = clock.setTimer(closeTimeoutMs, () => {
      void Promise.all([this.#writer.destroy(), this.#reader.destroy()]);
      resolve();
    });
    try {
      await Promise.race([this.#finish(), timeIsUp]);
    } finally {
      limit.cancel();
    }
  }

  async #finish(): Promise<void> {
    await this.#compactor.stop();
    await this.#commits.idle();
    // The writer last: then it is the last connection, and SQLite puts everything into the one file. Two that close at
    // once each take the other for one that stays.
    try {
      await this.#reader.close();
    } finally {
      await this.#writer.close();
    }
  }
}

function startThread<M extends WriterMethods | ReaderMethods>(
  data: StoreWorkerData,
  onDied: (error: StoreError) => void,
): WorkerClient<M> {
  return new WorkerClient<M>(workerFile(import.meta.url, "./database/store-worker"), {
    name: `tidemark-store-${data.role}`,
    data,
    reviveError,
    diedError(message, cause) {
      const error = new StoreError("STORE_FAILED", `${message}. Open the store again`, { cause });
      onDied(error);
      return error;
    },
    closedError,
  });
}

function closedError(): StoreError {
  return new StoreError("CLOSED", "the store is closed");
}

/** Errors of SQLite that come and go with the disk. */
const passing = /^SQLITE_(BUSY|FULL|IOERR)/;

function reviveError(record: ErrorRecord): StoreError {
  const cause = fromErrorRecord(record);
  const { code = "", message, retryable } = record;
  if (record.name === "StoreError") {
    return new StoreError(code as StoreErrorCode, message.replace(`[${code}] `, ""), { cause: cause.cause, retryable });
  }
  return new StoreError("STORE_FAILED", `the database refused: ${message}`, { cause, retryable: passing.test(code) });
}

function pageSpan(bounds: Span, after: Bytes | undefined): Span {
  const key = toBytes(after ?? "");
  if (key.length === 0) return bounds;
  const start = successor(key);
  return { start: compareBytes(start, bounds.start) > 0 ? start : bounds.start, end: bounds.end };
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
