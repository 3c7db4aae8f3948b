import { create } from "@bufbuild/protobuf";
import { type CallOptions as ConnectCallOptions, type Client, createClient } from "@connectrpc/connect";
import { FrameChannel } from "@tidemark/connect-transport";
import { type Bytes, toBytes } from "../bytes.ts";
import { OpSchema, type WatchResponse, WatchService } from "../gen/tidemark/watch/v1/watch_pb.ts";
import { type KeyRange, toSpan } from "../key-range.ts";
import { StoreError } from "../store-error.ts";
import type {
  CallOptions,
  CompareAndPutResult,
  DeleteResult,
  GetResult,
  KeyValueStore,
  ListOptions,
  ListResult,
  Op,
  PutResult,
  StoreStatus,
  TxnRequest,
  TxnResult,
  WatchEvent,
  WatchOptions,
} from "../store-types.ts";
import { fromConnectError } from "./errors.ts";
import { fromKeyValueMessage } from "./messages.ts";

export interface StoreClientOptions {
  /** Where {@link serveWatch} listens: `http://127.0.0.1:7400`. */
  readonly address: string;
  /** How long a call may take, in milliseconds, in [1, 2^31). Watches have no limit. @default 30_000 */
  readonly callTimeoutMs?: number;
  /** Largest request, in bytes, in [1, 2^31). Larger ones fail without being sent. @default 16_777_216, as that of the server */
  readonly maxRequestBytes?: number;
}

export const storeClientDefaults = {
  callTimeoutMs: 30_000,
  maxRequestBytes: 16 * 1024 * 1024,
} as const satisfies Partial<StoreClientOptions>;

/** A store behind an address. It connects with the first call and again whenever the connection is gone. */
export interface StoreClient extends KeyValueStore, AsyncDisposable {
  readonly address: string;
  /**
   * One watch over one connection: it ends with `UNAVAILABLE` when that breaks. `@tidemark/source-watch` reconnects.
   *
   * @throws StoreError `ARGUMENT_INVALID`, `TOO_OLD`, `STORE_REPLACED`, `UNAVAILABLE`, `REMOTE`, all from the iteration.
   */
  watch(options?: WatchOptions): AsyncIterableIterator<WatchEvent>;
  close(): Promise<void>;
}

/** @throws StoreError `OPTIONS_INVALID` for what is no `http:` address. */
export function createStoreClient(options: StoreClientOptions): StoreClient {
  const callTimeoutMs = options.callTimeoutMs ?? storeClientDefaults.callTimeoutMs;
  const maxRequestBytes = options.maxRequestBytes ?? storeClientDefaults.maxRequestBytes;
  for (const [name, value] of Object.entries({ callTimeoutMs, maxRequestBytes })) {
    if (Number.isInteger(value) && value >= 1 && value < 2 ** 31) continue;
    throw new StoreError("OPTIONS_INVALID", `${name} must be a whole number in [1, 2^31), got ${value}`);
  }
  return new RemoteStore(toOrigin(options.address), callTimeoutMs, maxRequestBytes);
}

/** Why a call ended whose caller called `return()`. */
const left = new Error("the watch was left");

class RemoteStore implements StoreClient {
  readonly address: string;
  readonly #timeoutMs: number;
  readonly #channel: FrameChannel;
  readonly #client: Client<typeof WatchService>;
  #isClosed = false;

  constructor(address: string, timeoutMs: number, writeMaxBytes: number) {
    this.address = address;
    this.#timeoutMs = timeoutMs;
    this.#channel = new FrameChannel({ baseUrl: address, pingIntervalMs: 30_000, writeMaxBytes });
    this.#client = createClient(WatchService, this.#channel.transport);
  }

  async put(key: Bytes, value: Bytes, options?: CallOptions): Promise<PutResult> {
    const request = { key: toBytes(key), value: toBytes(value) };
    const { revision } = await this.#call(options, (call) => this.#client.put(request, call));
    return { revision };
  }

  async delete(key: Bytes, options?: CallOptions): Promise<DeleteResult> {
    const request = { key: toBytes(key) };
    const { revision, existed } = await this.#call(options, (call) => this.#client.delete(request, call));
    return { revision, existed };
  }

  async compareAndPut(
    key: Bytes,
    value: Bytes,
    expectedModRevision: bigint,
    options?: CallOptions,
  ): Promise<CompareAndPutResult> {
    const request = { key: toBytes(key), value: toBytes(value), expectedModRevision };
    const response = await this.#call(options, (call) => this.#client.compareAndPut(request, call));
    const { succeeded, revision, actual } = response;
    return { succeeded, revision, actual: actual && fromKeyValueMessage(actual) };
  }

  async get(key: Bytes, options?: CallOptions): Promise<GetResult> {
    const { kv, revision } = await this.#call(options, (call) => this.#client.get({ key: toBytes(key) }, call));
    return { kv: kv && fromKeyValueMessage(kv), revision };
  }

  async list(options: ListOptions = {}): Promise<ListResult> {
    const { limit = 0, after = "", revision = 0n } = options;
    if (options.revision === 0n) return this.#listAtZero(options);
    const request = { range: toRangeInit(options.range), limit, after: toBytes(after), revision };
    const response = await this.#call(options, (call) => this.#client.list(request, call));
    return { kvs: response.kvs.map(fromKeyValueMessage), hasMore: response.more, revision: response.revision };
  }

  async txn({ compares = [], ops }: TxnRequest, options?: CallOptions): Promise<TxnResult> {
    const request = {
      compares: compares.map(({ key, expectedModRevision }) => ({ key: toBytes(key), expectedModRevision })),
      ops: ops.map(toOpMessage),
    };
    const { succeeded, revision } = await this.#call(options, (call) => this.#client.txn(request, call));
    return { succeeded, revision };
  }

  async compact(revision: bigint, options?: CallOptions): Promise<{ readonly floor: bigint }> {
    const { floor } = await this.#call(options, (call) => this.#client.compact({ revision }, call));
    return { floor };
  }

  async status(options?: CallOptions): Promise<StoreStatus> {
    const response = await this.#call(options, (call) => this.#client.status({}, call));
    const { storeId, incarnation, revision, marker, floor, oldestMarker } = response;
    return { storeId, incarnation, revision, marker, floor, oldestMarker };
  }

  watch(options: WatchOptions = {}): AsyncIterableIterator<WatchEvent> {
    const ended = new AbortController();
    const events = this.#watch(options, ended);
    return {
      next: () => events.next(),
      return() {
        // A generator alone would first wait for whatever a next() waits for.
        ended.abort(left);
        return events.return();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** `ended` ends the call to the store. */
  async *#watch(options: WatchOptions, ended: AbortController): AsyncGenerator<WatchEvent, void> {
    this.#checkOpen();
    const { range, resumeMarker = "", progressIntervalMs = 0, signal } = options;
    const request = { range: toRangeInit(range), resumeMarker, progressIntervalMs };
    const onAbort = () => ended.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for await (const response of this.#client.watch(request, { signal: ended.signal })) {
        const event = toEvent(response);
        if (event !== undefined) yield event;
      }
      throw new StoreError("UNAVAILABLE", `the store at ${this.address} ended the watch`, { retryable: true });
    } catch (error) {
      if (ended.signal.reason === left) return;
      throw this.#asStoreError(error, signal);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      ended.abort();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#channel.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** On the wire 0 stands for now. What was at revision 0 needs no question, but whether it can still be read does. */
  async #listAtZero({ range, signal }: ListOptions): Promise<ListResult> {
    toRangeInit(range);
    const { floor, oldestMarker, incarnation } = await this.status({ signal });
    if (floor === 0n) return { kvs: [], hasMore: false, revision: 0n };
    throw new StoreError(
      "TOO_OLD",
      `the state at revision 0 was compacted away, the oldest is ${floor}. List without a revision first`,
      { oldestMarker, incarnation },
    );
  }

  async #call<T>(options: CallOptions | undefined, call: (options: ConnectCallOptions) => Promise<T>): Promise<T> {
    this.#checkOpen();
    const signal = options?.signal;
    signal?.throwIfAborted();
    try {
      return await call({ timeoutMs: this.#timeoutMs, ...(signal && { signal }) });
    } catch (error) {
      throw this.#asStoreError(error, signal);
    }
  }

  #asStoreError(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason;
    if (this.#isClosed) return closedError(error);
    return StoreError.is(error) ? error : fromConnectError(error, this.address);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw closedError(undefined);
  }
}

function closedError(cause: unknown): StoreError {
  return new StoreError("CLOSED", "the client is closed", { cause });
}

function toOrigin(address: string): string {
  const url = URL.parse(address);
  if (url === null || url.protocol !== "http:") {
    throw new StoreError(
      "OPTIONS_INVALID",
      `address must look like http://127.0.0.1:7400, got ${JSON.stringify(address)}`,
    );
  }
  return url.origin;
}

function toRangeInit(range: KeyRange | undefined) {
  if (range === undefined) return undefined;
  // Says what is wrong with a range before it travels.
  toSpan(range);
  return { start: toBytes(range.start ?? ""), end: toBytes(range.end ?? ""), prefix: toBytes(range.prefix ?? "") };
}

function toOpMessage(op: Op) {
  return create(OpSchema, {
    op:
      op.type === "put"
        ? { case: "put", value: { key: toBytes(op.key), value: toBytes(op.value) } }
        : { case: "delete", value: { key: toBytes(op.key) } },
  });
}

function toEvent({ kind }: WatchResponse): WatchEvent | undefined {
  switch (kind.case) {
    case "snapshotBegin":
      return { type: "snapshot-begin", marker: kind.value.marker };
    case "snapshotPage":
      return { type: "snapshot-page", kvs: kind.value.kvs.map(fromKeyValueMessage) };
    case "snapshotEnd":
      return { type: "snapshot-end", marker: kind.value.marker };
    case "progress":
      return { type: "progress", marker: kind.value.marker };
    case "transactions":
      return {
        type: "transactions",
        transactions: kind.value.transactions.map(({ revision, marker, committedAtMs, changes }) => ({
          revision,
          marker,
          committedAtMs: Number(committedAtMs),
          changes: changes.map(({ key, value }) => ({ key, value })),
        })),
      };
    case undefined:
      // A kind of a later release.
      return undefined;
  }
}
