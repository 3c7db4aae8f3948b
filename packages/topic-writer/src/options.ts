import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { StreamReconnectorOptions } from "@tidemark/stream";
import type { CodecName, CompressionOptions, TopicTransaction } from "@tidemark/topic";
import type { WriterClient } from "./wire.ts";
import { WriterError } from "./writer-error.ts";

/** Which partition a key belongs to. */
export interface KeyPartitioning {
  readonly by: "key";
  /**
   * How. `bounds`: by the ranges that the topic gives its partitions, as auto-partitioned topics do. `kafka`: by the hash
   * of Kafka's clients over the number of partitions, so that keys move when the topic gets more. What comes for a key that
   * moves is sent when the partition that it leaves has acknowledged all it was given.
   * @default `bounds` where every partition of the topic has a range, else `kafka`
   */
  readonly strategy?: "bounds" | "kafka";
  /**
   * How often it is looked whether the topic has more partitions, in milliseconds, above 0. For `kafka`: splits of ranges
   * are noticed when they happen.
   * @default 60_000
   */
  readonly refreshIntervalMs?: number;
}

/** The defaults of `KeyPartitioning`. */
export const keyPartitioningDefaults = { refreshIntervalMs: 60_000 } as const;

/** How a writer reconnects; see `StreamReconnectorOptions` of `@tidemark/stream` for each. */
export type WriterReconnectOptions = Pick<
  StreamReconnectorOptions,
  | "initialDelayMs"
  | "maxDelayMs"
  | "slowInitialDelayMs"
  | "slowMaxDelayMs"
  | "stableAfterMs"
  | "maxAttempts"
  | "handshakeTimeoutMs"
  | "silenceTimeoutMs"
  | "pingIntervalMs"
  | "pingTimeoutMs"
  | "limiter"
>;

export interface WriterOptions {
  /** Where the topic is. The writer does not close it. */
  readonly client: WriterClient;
  /** Path of the topic; relative to the database, or absolute. */
  readonly topic: string;
  /**
   * Under which name messages are deduplicated: the topic takes each (producer, number) once. At most 2048 bytes. The
   * same name after a restart continues the numbers. Empty: no deduplication, so a reconnect may write twice.
   * @default a random one
   */
  readonly producerId?: string;
  /**
   * Writes to this partition and no other.
   * @default the server chooses one for the producer and stays with it
   */
  readonly partitionId?: number | bigint;
  /**
   * Writes to all partitions, each message to that of its `key`, with one stream and one producer for each partition.
   * @default one stream to one partition
   */
  readonly partitioning?: KeyPartitioning;
  /**
   * How bodies are compressed, off the event loop. `auto`: zstd, gzip or not at all, the first that the topic's list
   * names; not at all where it names none. A number is that of a codec in `compression.codecs`.
   * @default "raw"
   */
  readonly codec?: CodecName | "auto";
  /** Levels, and codecs of your own. @default those of `Compression` */
  readonly compression?: CompressionOptions;
  /**
   * Who numbers the messages: `auto` continues after the last number of the producer, `manual` takes `seqNo` of each
   * message, which may leave gaps.
   * @default "auto"
   */
  readonly seqNo?: "auto" | "manual";
  /** Readers see it with every message of the session. */
  readonly sessionMeta?: Readonly<Record<string, string>>;
  /**
   * Writes within a transaction: messages are visible when it commits. Nothing is ever retried, since the transaction
   * is gone with its session; the first error ends the writer.
   * @default none
   */
  readonly transaction?: TopicTransaction;
  /**
   * Connects to the node that has the partition, and to another when the partition moves.
   * @default false
   */
  readonly isDirect?: boolean;
  /**
   * From how many bytes on, not acknowledged yet, `write` returns false, above 0. A message counts its body, its metadata
   * and 32 bytes.
   * @default 67_108_864, 64 MiB
   */
  readonly maxBufferBytes?: number;
  /**
   * From how many messages on, not acknowledged yet, `write` returns false, at least 1.
   * @default 1_000_000
   */
  readonly maxBufferMessages?: number;
  /**
   * How large a request may become under load, in bytes, from 1024 to 16 MiB. A larger message goes alone.
   * @default 262_144, 256 KiB
   */
  readonly maxFrameBytes?: number;
  /**
   * How large a body may be, in bytes, at most 60,000,000: the service takes requests of up to 64,000,000 bytes.
   * @default 50_331_648, 48 MiB
   */
  readonly maxMessageBytes?: number;
  /**
   * How often the token is looked at, and sent if it changed, in milliseconds, above 0.
   * @default 60_000
   */
  readonly tokenRefreshIntervalMs?: number;
  /**
   * Time for `close()` with everything in it, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly closeTimeoutMs?: number;
  /** @default those of `StreamReconnector` */
  readonly reconnect?: WriterReconnectOptions;
  /** Aborting it is `destroy(signal.reason)`. */
  readonly signal?: AbortSignal;
  /** @default the machine's */
  readonly clock?: Clock;
  /** @default the machine's */
  readonly rng?: Rng;
}

/** The defaults of `WriterOptions`. */
export const writerDefaults = {
  codec: "raw",
  seqNo: "auto",
  isDirect: false,
  maxBufferBytes: 64 * 1024 * 1024,
  maxBufferMessages: 1_000_000,
  maxFrameBytes: 256 * 1024,
  maxMessageBytes: 48 * 1024 * 1024,
  tokenRefreshIntervalMs: 60_000,
  closeTimeoutMs: 30_000,
} as const satisfies Omit<WriterOptions, "client" | "topic">;

type Optional = "partitionId" | "partitioning" | "transaction" | "signal";

export type ResolvedWriterOptions = Required<Omit<WriterOptions, Optional>> & {
  readonly [Key in Optional]: WriterOptions[Key];
};

/** @throws {WriterError} `OPTIONS_INVALID`. */
export function resolveWriter(options: WriterOptions): ResolvedWriterOptions {
  const rng = options.rng ?? systemRng;
  const resolved: ResolvedWriterOptions = {
    client: options.client,
    topic: options.topic,
    producerId: options.producerId ?? rng.uuid(),
    partitionId: options.partitionId,
    partitioning: options.partitioning,
    transaction: options.transaction,
    signal: options.signal,
    codec: options.codec ?? writerDefaults.codec,
    compression: options.compression ?? {},
    seqNo: options.seqNo ?? writerDefaults.seqNo,
    sessionMeta: options.sessionMeta ?? {},
    isDirect: options.isDirect ?? writerDefaults.isDirect,
    maxBufferBytes: options.maxBufferBytes ?? writerDefaults.maxBufferBytes,
    maxBufferMessages: options.maxBufferMessages ?? writerDefaults.maxBufferMessages,
    maxFrameBytes: options.maxFrameBytes ?? writerDefaults.maxFrameBytes,
    maxMessageBytes: options.maxMessageBytes ?? writerDefaults.maxMessageBytes,
    tokenRefreshIntervalMs: options.tokenRefreshIntervalMs ?? writerDefaults.tokenRefreshIntervalMs,
    closeTimeoutMs: options.closeTimeoutMs ?? writerDefaults.closeTimeoutMs,
    reconnect: options.reconnect ?? {},
    clock: options.clock ?? systemClock,
    rng,
  };
  check(resolved.topic.length > 0, "topic must not be empty");
  const producerBytes = Buffer.byteLength(resolved.producerId);
  check(producerBytes <= 2048, `producerId must have at most 2048 bytes, got ${producerBytes}`);
  check(resolved.maxBufferBytes > 0, `maxBufferBytes must be above 0, got ${resolved.maxBufferBytes}`);
  check(resolved.maxBufferMessages >= 1, `maxBufferMessages must be at least 1, got ${resolved.maxBufferMessages}`);
  inRange("maxFrameBytes", resolved.maxFrameBytes, 1024, 16 * 1024 * 1024);
  inRange("maxMessageBytes", resolved.maxMessageBytes, 1, 60_000_000);
  check(
    resolved.tokenRefreshIntervalMs > 0,
    `tokenRefreshIntervalMs must be above 0, got ${resolved.tokenRefreshIntervalMs}`,
  );
  const refreshIntervalMs = resolved.partitioning?.refreshIntervalMs ?? keyPartitioningDefaults.refreshIntervalMs;
  check(refreshIntervalMs > 0, `partitioning.refreshIntervalMs must be above 0, got ${refreshIntervalMs}`);
  check(resolved.closeTimeoutMs >= 0, `closeTimeoutMs must be at least 0, got ${resolved.closeTimeoutMs}`);
  check(
    resolved.partitioning === undefined || resolved.partitionId === undefined,
    "partitionId and partitioning exclude each other: leave one out",
  );
  check(
    resolved.partitioning === undefined || resolved.producerId !== "",
    "partitioning needs a producerId: what was written before a split is told by it",
  );
  return resolved;
}

function check(isFine: boolean, message: string): void {
  if (!isFine) throw new WriterError("OPTIONS_INVALID", message);
}

function inRange(name: string, value: number, min: number, max: number): void {
  check(value >= min && value <= max, `${name} must be in [${min}, ${max}], got ${value}`);
}
