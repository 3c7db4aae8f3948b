import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { StreamReconnectorOptions } from "@tidemark/stream";
import type { TopicClient } from "@tidemark/topic";
import type { ReaderEvent } from "./reader-driver.ts";
import { ReaderError } from "./reader-error.ts";
import type { PartitionStartHook } from "./start-hooks.ts";

/** A partition of a topic, and where to start when there is no consumer that says so. */
export interface PartitionSelection {
  readonly id: number;
  /**
   * Without a consumer: the first offset to read.
   * @default the oldest that there is
   */
  readonly offset?: bigint;
}

/** A topic to read. */
export interface TopicSelection {
  /** Absolute, or relative to the database. */
  readonly path: string;
  /**
   * Only these partitions.
   * @default all, shared with the consumer's other readers
   */
  readonly partitions?: readonly (number | PartitionSelection)[];
  /** Messages older than this, in milliseconds, are skipped. */
  readonly maxLagMs?: number;
  /** Messages written before this are skipped. */
  readonly readFrom?: Date;
}

/** What a reader reads as. */
export type ReaderIdentity =
  /** A consumer of the topics, for which the server keeps positions. */
  | { readonly consumer: string; readonly noConsumer?: never }
  /** Nobody: explicit partitions, positions kept in this reader alone, nothing to commit. */
  | { readonly noConsumer: true; readonly consumer?: never };

/** How a reader reads. */
export interface ReaderBehaviour
  extends Pick<
    StreamReconnectorOptions,
    | "initialDelayMs"
    | "maxDelayMs"
    | "slowInitialDelayMs"
    | "slowMaxDelayMs"
    | "stableAfterMs"
    | "maxAttempts"
    | "handshakeTimeoutMs"
    | "pingIntervalMs"
    | "pingTimeoutMs"
    | "closeGraceMs"
    | "limiter"
  > {
  /** Where the topics are. The reader does not close it. */
  readonly client: Pick<TopicClient, "database" | "stream" | "token" | "classify" | "compression">;
  /** The topics to read. */
  readonly topics: string | TopicSelection | readonly (string | TopicSelection)[];
  /**
   * Names this reader among those of its consumer, for whoever looks at the topic.
   * @default none
   */
  readonly readerName?: string;
  /**
   * Bytes that the server may send before they are read here, above 0. A single larger message is sent all the same.
   * @default 16 MiB
   */
  readonly maxBufferBytes?: number;
  /**
   * Bytes of one partition that may be delivered and not committed, above 0; then the server waits for commits. Useless
   * without commits.
   * @default no such limit
   */
  readonly partitionMaxInFlightBytes?: number;
  /**
   * Whether the server may split and merge partitions under this reader. Children are delivered after their parents.
   * @default true
   */
  readonly autoPartitioningSupport?: boolean;
  /**
   * Told what happens, as `events()` tells it, but from the first attempt to connect on: `openReader` comes back only when there
   * is a connection, and until then this is who knows why there is none. What it throws nobody catches.
   */
  readonly onEvent?: (event: ReaderEvent) => void;
  /** Decides where a partition starts; for positions that are kept elsewhere. */
  readonly onPartitionStart?: PartitionStartHook;
  /**
   * Time for one call of `onPartitionStart`, in milliseconds, above 0. Then it is asked again.
   * @default 30_000
   */
  readonly startHookTimeoutMs?: number;
  /**
   * How long after a failure `onPartitionStart` is asked again, in milliseconds, above 0.
   * @default 1_000
   */
  readonly startHookRetryMs?: number;
  /**
   * How long a partition that the server asks for is kept while its commits are pending, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly gracefulStopTimeoutMs?: number;
  /**
   * How long commits wait, after a lost connection, for their partition to come back, in milliseconds, at least 0.
   * @default 60_000
   */
  readonly reassignTimeoutMs?: number;
  /**
   * After how long a listener that is still at work counts as hanging, in milliseconds, above 0. If what is buffered for
   * it then keeps others from getting anything, the stream is made anew without its partition.
   * @default 30_000
   */
  readonly listenerStallMs?: number;
  /**
   * How often the stream is given the client's current token, if it has changed, in milliseconds, above 0.
   * @default 60_000
   */
  readonly tokenRefreshIntervalMs?: number;
  /**
   * Time for `close()`, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly closeTimeoutMs?: number;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** @default the machine's randomness */
  readonly rng?: Rng;
  /** Gives up on opening. */
  readonly signal?: AbortSignal;
}

/** Everything `openReader` takes. */
export type ReaderOptions = ReaderBehaviour & ReaderIdentity;

/** The defaults of `ReaderOptions`, beside those of `StreamReconnectorOptions`. */
export const readerDefaults = {
  maxBufferBytes: 16 * 1024 * 1024,
  partitionMaxInFlightBytes: 0,
  autoPartitioningSupport: true,
  readerName: "",
  startHookTimeoutMs: 30_000,
  startHookRetryMs: 1_000,
  gracefulStopTimeoutMs: 30_000,
  reassignTimeoutMs: 60_000,
  listenerStallMs: 30_000,
  tokenRefreshIntervalMs: 60_000,
  closeTimeoutMs: 30_000,
  clock: systemClock,
  rng: systemRng,
} as const satisfies Partial<ReaderBehaviour> & { readonly partitionMaxInFlightBytes: number };

/** A topic with its partitions spelled out. */
interface ResolvedTopic extends Omit<TopicSelection, "partitions"> {
  readonly partitions: readonly PartitionSelection[];
}

type Defaulted = { readonly [K in keyof typeof readerDefaults]: Required<ReaderBehaviour>[K] };

export type ResolvedReader = Omit<ReaderBehaviour, keyof Defaulted | "topics"> &
  Defaulted & { readonly topics: readonly ResolvedTopic[]; readonly consumer: string };

/** @throws {ReaderError} `OPTIONS_INVALID`. */
export function resolveReader(options: ReaderOptions): ResolvedReader {
  const resolved: ResolvedReader = {
    ...options,
    topics: resolveTopics(options.topics),
    consumer: options.consumer ?? "",
    maxBufferBytes: options.maxBufferBytes ?? readerDefaults.maxBufferBytes,
    partitionMaxInFlightBytes: options.partitionMaxInFlightBytes ?? readerDefaults.partitionMaxInFlightBytes,
    autoPartitioningSupport: options.autoPartitioningSupport ?? readerDefaults.autoPartitioningSupport,
    readerName: options.readerName ?? readerDefaults.readerName,
    startHookTimeoutMs: options.startHookTimeoutMs ?? readerDefaults.startHookTimeoutMs,
    startHookRetryMs: options.startHookRetryMs ?? readerDefaults.startHookRetryMs,
    gracefulStopTimeoutMs: options.gracefulStopTimeoutMs ?? readerDefaults.gracefulStopTimeoutMs,
    reassignTimeoutMs: options.reassignTimeoutMs ?? readerDefaults.reassignTimeoutMs,
    listenerStallMs: options.listenerStallMs ?? readerDefaults.listenerStallMs,
    tokenRefreshIntervalMs: options.tokenRefreshIntervalMs ?? readerDefaults.tokenRefreshIntervalMs,
    closeTimeoutMs: options.closeTimeoutMs ?? readerDefaults.closeTimeoutMs,
    clock: options.clock ?? readerDefaults.clock,
    rng: options.rng ?? readerDefaults.rng,
  };
  if (options.noConsumer !== true && !(resolved.consumer.length > 0)) {
    throw invalid(`consumer must name a consumer of the topics, or noConsumer be true, got ${options.consumer}`);
  }
  if (options.noConsumer === true) {
    if (options.consumer !== undefined) throw invalid(`noConsumer excludes a consumer, got ${resolved.consumer}`);
    for (const { path, partitions } of resolved.topics) {
      if (partitions.length > 0) continue;
      throw invalid(`without a consumer the partitions of ${path} must be named, because nobody shares them out`);
    }
  }
  for (const name of [
    "maxBufferBytes",
    "startHookTimeoutMs",
    "startHookRetryMs",
    "listenerStallMs",
    "tokenRefreshIntervalMs",
  ] as const) {
    if (!(resolved[name] > 0)) throw invalid(`${name} must be above 0, got ${resolved[name]}`);
  }
  for (const name of [
    "partitionMaxInFlightBytes",
    "gracefulStopTimeoutMs",
    "reassignTimeoutMs",
    "closeTimeoutMs",
  ] as const) {
    if (!(resolved[name] >= 0)) throw invalid(`${name} must be at least 0, got ${resolved[name]}`);
  }
  return resolved;
}

function resolveTopics(topics: ReaderBehaviour["topics"]): ResolvedTopic[] {
  const list = Array.isArray(topics) ? (topics as readonly (string | TopicSelection)[]) : [topics];
  if (list.length === 0) throw invalid("topics must name at least one topic, got none");
  return list.map((each) => {
    const topic = typeof each === "string" ? { path: each } : (each as TopicSelection);
    const { path, maxLagMs } = topic;
    if (!(path?.length > 0)) throw invalid(`a topic's path must not be empty, got ${path}`);
    if (maxLagMs !== undefined && !(maxLagMs >= 0)) {
      throw invalid(`maxLagMs of ${path} must be at least 0, got ${maxLagMs}`);
    }
    const partitions = (topic.partitions ?? []).map((one) => (typeof one === "number" ? { id: one } : one));
    for (const { id, offset } of partitions) {
      if (!Number.isSafeInteger(id) || id < 0) throw invalid(`a partition id of ${path} must be 0 or more, got ${id}`);
      if (offset !== undefined && offset < 0n) {
        throw invalid(`the offset of partition ${id} of ${path} must be at least 0, got ${offset}`);
      }
    }
    return { ...topic, partitions };
  });
}

function invalid(message: string): ReaderError {
  return new ReaderError("OPTIONS_INVALID", message);
}
