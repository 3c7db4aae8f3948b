/**
 * How messages are written.
 * - `plain`: as fast as the client takes them, nothing known about a single one but that all are acknowledged in the end;
 * - `promise`: the same, and a promise of the acknowledgment for every message, which is awaited;
 * - `all`: so many at once, and then a flush;
 * - `one`: the next when the last is acknowledged.
 */
export type WriteMode = "plain" | "promise" | "all" | "one";

export interface WriteJob {
  readonly mode: WriteMode;
  readonly payloadBytes: number;
  /** How long to begin new messages; not for those that say `messages`. */
  readonly ms?: number;
  /** How many messages: `all` and `one` need it. */
  readonly messages?: number;
  /** Messages under way at a time, over all partitions. */
  readonly window: number;
  /** Messages of one request, for clients that leave this to their user. */
  readonly batch: number;
}

export interface WriteResult {
  readonly messages: number;
  /** From the first message to the acknowledgment of the last. */
  readonly ms: number;
  /** Each message's way there and back, for `one`. */
  readonly latenciesMs?: Float64Array;
}

/** Where and how a client writes. */
export interface WriteTarget {
  readonly port: number;
  readonly topic: string;
  /** As many streams of writing. */
  readonly partitions: number;
  /** Messages that a client with a buffer of its own may hold, over all partitions; undefined: its default. */
  readonly window: number | undefined;
}

/** A client that is measured. */
export interface WriteClient {
  write(job: WriteJob): Promise<WriteResult>;
  close(): Promise<void>;
}

/** Stops a loop of writing at its time or its count, without asking the clock for every message. */
export function limitOf({ ms, messages }: WriteJob): (sent: number) => boolean {
  if (messages !== undefined) return (sent) => sent >= messages;
  const untilMs = performance.now() + (ms ?? 0);
  return (sent) => (sent & 63) === 0 && performance.now() >= untilMs;
}
