import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StoreWrite } from "@tidemark/store-watch";
import { parseSortableInteger, sortableInteger } from "@tidemark/store-watch/contract";
import { EtcdError } from "./etcd-error.ts";
import { EtcdLink } from "./etcd-link.ts";
import {
  Compare_CompareResult as Result,
  Compare_CompareTarget as Target,
  type CompareSchema,
  type RequestOpSchema,
  type TxnRequestSchema,
} from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import { keyText } from "./key-range.ts";
import { type EtcdSourceOptions, type ResolvedOptions, resolveOptions } from "./options.ts";

export interface EtcdSinkOptions
  extends Pick<EtcdSourceOptions, "endpoints" | "prefix" | "range" | "credentials" | "tls" | "clock"> {
  /**
   * Writes in one transaction at most, in [1, 100_000]. etcd refuses more than its own `--max-txn-ops`: raise that first.
   * @default 128
   */
  readonly maxTransactionOps?: number;
  /**
   * How long etcd may take to answer, in milliseconds, above 0.
   * @default 10_000
   */
  readonly requestTimeoutMs?: number;
}

export const etcdSinkDefaults = { maxTransactionOps: 128, requestTimeoutMs: 10_000 } as const;

/** What is to be written, and on what condition: see `StoreWrite` of `@tidemark/store-watch`. */
export type EtcdSinkWrite = Pick<StoreWrite, "key" | "value" | "expected">;

/** Writes into etcd on behalf of a site of `@tidemark/sync`. */
export interface EtcdSink extends Disposable {
  /** The most writes that one call takes. */
  readonly maxWrites: number;
  /**
   * Makes all writes in one transaction, at one revision, if every key still has the revision that is `expected`, or is not
   * there where that is undefined; otherwise none. `versions` are what `etcdSource` reports for them.
   *
   * @throws {EtcdError} retryable: nobody knows whether they were made, or etcd cannot take them now
   * @throws {EtcdError} `TOO_LARGE`, `REFUSED`, `PERMISSION_DENIED`, …: nothing was written, and somebody has to change
   * something first
   * @throws `signal.reason`
   */
  apply(
    writes: readonly EtcdSinkWrite[],
    signal: AbortSignal,
  ): Promise<{ readonly isApplied: true; readonly versions: readonly string[] } | { readonly isApplied: false }>;
  /**
   * etcd's revision now, as text of one sequence with the `versions` of `apply`. It goes through etcd's log as writes do, after
   * all that an earlier `apply` has brought there. A request that is still on its way to etcd is not waited for: `apply` ends
   * its connection when it throws, which leaves what etcd has received and not yet put into its log.
   *
   * @throws {EtcdError}
   * @throws `signal.reason`
   */
  position(signal: AbortSignal): Promise<string>;
  /** Ends its connection and what is under way on it. */
  close(): void;
}

/**
 * A sink for the same keys that an `etcdSource` follows. It has one connection, opened by the first write and again, to the
 * next endpoint, after it broke.
 *
 * @throws {EtcdError} `OPTIONS_INVALID`
 */
export function etcdSink(options: EtcdSinkOptions): EtcdSink {
  return new ConditionalWriter(options);
}

type Applied = Awaited<ReturnType<EtcdSink["apply"]>>;

const noRevision = { case: "modRevision", value: 0n } as const;

class ConditionalWriter implements EtcdSink {
  readonly maxWrites: number;
  readonly #options: ResolvedOptions;
  #link: EtcdLink | undefined;
  #opened = 0;
  #isClosed = false;

  constructor(options: EtcdSinkOptions) {
    const { maxTransactionOps = etcdSinkDefaults.maxTransactionOps } = options;
    if (!(Number.isInteger(maxTransactionOps) && maxTransactionOps >= 1 && maxTransactionOps <= 100_000)) {
      throw new EtcdError("OPTIONS_INVALID", `maxTransactionOps must be in [1, 100000], got ${maxTransactionOps}`);
    }
    this.maxWrites = maxTransactionOps;
    const { requestTimeoutMs = etcdSinkDefaults.requestTimeoutMs } = options;
    this.#options = resolveOptions({ ...options, requestTimeoutMs });
  }

  async apply(writes: readonly EtcdSinkWrite[], signal: AbortSignal): Promise<Applied> {
    const request = this.#request(writes);
    const link = this.#open();
    try {
      const { succeeded, header } = await link.call((options) => link.kv.txn(request, options), signal);
      if (!succeeded) return { isApplied: false };
      if (header === undefined) throw new EtcdError("PROTOCOL", "etcd sent an answer without a header");
      return appliedAt(header.revision, writes);
    } catch (error) {
      signal.throwIfAborted();
      if (!EtcdError.is(error)) throw error;
      if (error.retryable || isNoConnection(error)) this.#drop(link, error);
      if (!error.retryable) throw this.#refusal(error, writes);
      // It may have been made, may still be, or was never sent.
      const revision = await this.#findOut(writes, signal);
      if (revision === undefined) throw error;
      return appliedAt(revision, writes);
    }
  }

  async position(signal: AbortSignal): Promise<string> {
    const link = this.#open();
    try {
      // A read would be answered before what is in the log and not committed yet. No key has a revision below 0.
      const { start } = this.#options.range;
      const never = { key: start, target: Target.MOD, result: Result.LESS, targetUnion: noRevision };
      const success = [{ request: { case: "requestDeleteRange" as const, value: { key: start } } }];
      const { header } = await link.call((options) => link.kv.txn({ compare: [never], success }, options), signal);
      if (header === undefined) throw new EtcdError("PROTOCOL", "etcd sent an answer without a header");
      return sortableInteger(header.revision);
    } catch (error) {
      signal.throwIfAborted();
      if (EtcdError.is(error) && (error.retryable || isNoConnection(error))) this.#drop(link, error);
      throw error;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#link?.close(new EtcdError("UNREACHABLE", "the sink was closed"));
    this.#link = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #request(writes: readonly EtcdSinkWrite[]): MessageInitShape<typeof TxnRequestSchema> {
    if (writes.length > this.maxWrites) {
      throw new EtcdError(
        "TOO_LARGE",
        `a transaction of ${writes.length} writes does not fit into one of etcd, which takes ${this.maxWrites}, and must not be ` +
          "taken apart: raise etcd's --max-txn-ops and maxTransactionOps of this sink to at least that",
      );
    }
    const { start, end } = this.#options.range;
    const isToTheEnd = end.length === 1 && end[0] === 0;
    const stranger = writes.find(
      ({ key }) =>
        (start.length !== 1 || start[0] !== 0 || !isToTheEnd) &&
        (Buffer.compare(key, start) < 0 || (!isToTheEnd && Buffer.compare(key, end) >= 0)),
    );
    if (stranger !== undefined) {
      throw new EtcdError(
        "REFUSED",
        `the key ${keyText(stranger.key)} is outside of what is followed here (${this.#options.description}): follow the same ` +
          "keys at every site",
      );
    }
    return {
      compare: writes.map(
        ({ key, expected }): MessageInitShape<typeof CompareSchema> => ({
          key,
          target: Target.MOD,
          result: Result.EQUAL,
          // Of a key that is not there it is 0.
          targetUnion: { case: "modRevision", value: expected === undefined ? 0n : parseSortableInteger(expected) },
        }),
      ),
      success: writes.map(
        ({ key, value }): MessageInitShape<typeof RequestOpSchema> => ({
          request:
            value === undefined
              ? { case: "requestDeleteRange", value: { key } }
              : { case: "requestPut", value: { key, value } },
        }),
      ),
    };
  }

  /**
   * The revision at which the writes were made, where the keys show it. Undefined: they do not. They may then still be made
   * later, by a request that is under way; whoever tries again tries on the same condition, so at most one of both is made.
   */
  async #findOut(writes: readonly EtcdSinkWrite[], signal: AbortSignal): Promise<bigint | undefined> {
    // Deletions leave nothing that would tell who made them.
    if (writes.every(({ value }) => value === undefined)) return undefined;
    const link = this.#open();
    try {
      const success = writes.map(({ key }) => ({ request: { case: "requestRange" as const, value: { key } } }));
      const { responses } = await link.call((options) => link.kv.txn({ success }, options), signal);
      let revision: bigint | undefined;
      for (const [index, { value, expected }] of writes.entries()) {
        const response = responses[index]?.response;
        const found = response?.case === "responseRange" ? response.value.kvs[0] : undefined;
        if (value === undefined) {
          if (found !== undefined) return undefined;
          continue;
        }
        if (found === undefined || Buffer.compare(found.value, value) !== 0) return undefined;
        revision ??= found.modRevision;
        const isOld = expected !== undefined && found.modRevision <= parseSortableInteger(expected);
        if (isOld || found.modRevision !== revision) return undefined;
      }
      return revision;
    } catch (error) {
      signal.throwIfAborted();
      this.#drop(link, error);
      return undefined;
    }
  }

  #open(): EtcdLink {
    if (this.#isClosed) throw new EtcdError("UNREACHABLE", "the sink was closed");
    const { endpoints, tls, tokens, clock, requestTimeoutMs, maxMessageBytes, windowBytes } = this.#options;
    this.#link ??= new EtcdLink({
      endpoint: endpoints[this.#opened++ % endpoints.length] ?? endpoints[0],
      tls,
      tokens,
      clock,
      requestTimeoutMs,
      maxMessageBytes,
      windowBytes,
    });
    return this.#link;
  }

  /** Another call may have opened the next one already. */
  #drop(link: EtcdLink, reason: unknown): void {
    link.close(reason);
    if (this.#link === link) this.#link = undefined;
  }

  /** The same in words for writing. */
  #refusal(error: EtcdError, writes: readonly EtcdSinkWrite[]): EtcdError {
    const { description } = this.#options;
    if (error.code === "PERMISSION_DENIED") {
      const detail = `${description}: the user may not write these keys: grant its role readwrite permission for the whole range`;
      return new EtcdError("PERMISSION_DENIED", detail, { cause: error });
    }
    if (/request is too large|too many operations|larger than/.test(error.detail)) {
      const detail =
        `${description}: etcd does not take a transaction of ${writes.length} writes and ${bytesOf(writes)} bytes, which must ` +
        "not be taken apart: raise its --max-request-bytes or --max-txn-ops";
      return new EtcdError("TOO_LARGE", detail, { cause: error });
    }
    return error;
  }
}

/** The connection never came to be, and a link opens only one. */
function isNoConnection({ code }: EtcdError): boolean {
  return code === "NOT_ETCD" || code === "TLS_FAILED";
}

/** All changes of a transaction have its revision, deletions, too. */
function appliedAt(revision: bigint, writes: readonly unknown[]): Applied {
  const version = sortableInteger(revision);
  return { isApplied: true, versions: writes.map(() => version) };
}

function bytesOf(writes: readonly EtcdSinkWrite[]): number {
  return writes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
}
