import type { WriteAck } from "./acks.ts";
import type { Writable } from "./message.ts";
import type { WriterError } from "./writer-error.ts";

/** What happens to a writer. `partitionId` is there when the partition is known. */
export type WriterEvent =
  | { readonly type: "connected"; readonly partitionId: bigint; readonly sessionId: string; readonly lastSeqNo: bigint }
  /** A stream, or an attempt at one, is over. `delayMs`: until the next attempt; undefined: there is none. */
  | {
      readonly type: "disconnected";
      readonly partitionId: bigint | undefined;
      readonly error: unknown;
      readonly delayMs: number | undefined;
    }
  /** The partition was split or merged, and what it had left, so many messages, goes to others. */
  | { readonly type: "retired"; readonly partitionId: bigint; readonly messages: number }
  | { readonly type: "closed" }
  | { readonly type: "failed"; readonly error: WriterError }
  /** This reader was too slow and so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };

/** How a writer is closed. */
export interface WriterCloseOptions {
  /**
   * Time for all of it, in milliseconds, at least 0.
   * @default that of the writer
   */
  readonly closeTimeoutMs?: number;
}

/** A message that was taken and of which nobody knows whether it is written. */
export interface UnacknowledgedMessage {
  /** Undefined where it has no number yet. */
  readonly seqNo: bigint | undefined;
  /** As it was written, or compressed with the codec of the writer where `isCompressed`. */
  readonly data: Uint8Array;
  readonly isCompressed: boolean;
  readonly createdAt: Date;
  readonly metadata: Readonly<Record<string, Uint8Array>>;
}

/**
 * Writes to a topic: batched, in order, each message once per producer, over any number of reconnects.
 *
 * What `write` is given is copied before it returns, so buffers may be used again at once.
 */
export interface Writer {
  /** The name under which messages are deduplicated; with `partitioning` its partitions add their number. */
  readonly producerId: string;
  /** Bytes that are taken and not acknowledged, as `maxBufferBytes` counts them. */
  readonly bufferedBytes: number;
  /** Messages that are taken and not acknowledged. */
  readonly bufferedMessages: number;

  /**
   * Takes messages, in order; also before the first stream is there and while there is none. Never waits and never
   * throws for being full. Of a list all are taken, or on an error none.
   *
   * @returns false: the buffer is full, so wait for `ready()` before the next one.
   * @throws {WriterError} `MESSAGE_TOO_LARGE`, `MESSAGE_INVALID`, `SEQ_NO_INVALID`, and the writer goes on; `CLOSED`, or
   * the error that ended the writer.
   */
  write(messages: Writable | readonly Writable[]): boolean;
  /**
   * Like `write`, and resolves when the topic has the message.
   *
   * @throws like `write`, but only ever by rejecting; the error that ended the writer.
   */
  writeAcked(message: Writable): Promise<WriteAck>;
  writeAcked(messages: readonly Writable[]): Promise<readonly WriteAck[]>;
  /**
   * Resolves when there is room in the buffer.
   *
   * @throws `signal.reason`; the error that ended the writer.
   */
  ready(signal?: AbortSignal): Promise<void>;
  /**
   * Resolves when everything that was written before this call is acknowledged.
   *
   * @throws `signal.reason`; the error that ended the writer.
   */
  flush(signal?: AbortSignal): Promise<void>;
  /**
   * Resolves when it is connected, or with `partitioning` when it knows the partitions.
   *
   * @throws `signal.reason`; the error that ended the writer.
   */
  connected(signal?: AbortSignal): Promise<void>;
  /**
   * Takes no more messages, waits until all are acknowledged, reconnecting if need be, and ends. Every caller gets the
   * outcome of the first call.
   *
   * @throws {WriterError} `CLOSE_TIMEOUT` with what was not acknowledged; the error that ended the writer.
   */
  close(options?: WriterCloseOptions): Promise<void>;
  /** Ends now. Who waits is rejected with `CLOSED`. Idempotent. */
  destroy(reason?: unknown): void;
  /** After an end with an error: what was not acknowledged, in the order of each partition. */
  unacknowledged(): IterableIterator<UnacknowledgedMessage>;
  /** What happens from now on. Ends with `closed` or `failed`; leaving the loop lets go. */
  events(): AsyncIterable<WriterEvent>;
  /** `close()`. */
  [Symbol.asyncDispose](): Promise<void>;
}
