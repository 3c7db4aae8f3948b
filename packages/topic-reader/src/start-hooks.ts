import { type Clock, deadline, type Timer } from "@tidemark/clock";
import { ReaderError } from "./reader-error.ts";
import type { Columns, PartitionSession } from "./partition.ts";
import type { PartitionStart, PartitionStartAnswer } from "./reader-types.ts";

/** Decides where a partition starts. `signal` aborts when the partition is gone, or the time is up. */
export type PartitionStartHook = (
  start: PartitionStart,
  signal: AbortSignal,
) => PartitionStartAnswer | undefined | void | Promise<PartitionStartAnswer | undefined | void>;

interface StartHooksOwner<C extends Columns> {
  readonly clock: Clock;
  readonly hook: PartitionStartHook;
  readonly timeoutMs: number;
  readonly retryDelayMs: number;
  readonly onAnswer: (session: PartitionSession<C>, readOffset?: number, commitOffset?: number) => void;
  readonly onFailed: (session: PartitionSession<C>, error: unknown) => void;
}

/**
 * Asks the start hook, for each session on its own. One that throws, hangs or answers nonsense is asked again later:
 * starting anywhere else than where it would say could skip messages. Until then its partition has not started, and
 * nothing else waits (X12).
 */
export class StartHooks<C extends Columns> {
  readonly #owner: StartHooksOwner<C>;
  readonly #asked = new Map<PartitionSession<C>, AbortController>();
  readonly #retries = new Map<PartitionSession<C>, Timer>();

  constructor(owner: StartHooksOwner<C>) {
    this.#owner = owner;
  }

  async ask(session: PartitionSession<C>): Promise<void> {
    const { clock, hook, timeoutMs, onAnswer } = this.#owner;
    const controller = new AbortController();
    this.#asked.set(session, controller);
    using limit = deadline(clock, timeoutMs, controller.signal);
    const { signal } = limit;
    try {
      const answer = await new Promise<PartitionStartAnswer | undefined | void>((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        // Not `resolve(hook(…))`: a promise that is resolved with another one takes no rejection of ours. A throw is one.
        Promise.resolve(hook(startOf(session), signal)).then(resolve, reject);
      });
      const [readOffset, commitOffset] = checkAnswer(session, answer ?? {});
      if (this.#asked.get(session) === controller) onAnswer(session, readOffset, commitOffset);
    } catch (error) {
      if (this.#asked.get(session) === controller) this.#retry(session, error);
    } finally {
      if (this.#asked.get(session) === controller) this.#asked.delete(session);
    }
  }

  /** The session is over; whatever its hook says is of no interest (X16). */
  end(session: PartitionSession<C>, reason: unknown): void {
    const controller = this.#asked.get(session);
    this.#asked.delete(session);
    controller?.abort(reason);
    this.#retries.get(session)?.cancel();
    this.#retries.delete(session);
  }

  stop(reason: unknown): void {
    for (const session of [...this.#asked.keys(), ...this.#retries.keys()]) this.end(session, reason);
  }

  #retry(session: PartitionSession<C>, error: unknown): void {
    const { clock, retryDelayMs, onFailed } = this.#owner;
    const timer = clock.setTimer(retryDelayMs, () => {
      this.#retries.delete(session);
      void this.ask(session);
    });
    timer.unref();
    this.#retries.set(session, timer);
    onFailed(session, error);
  }
}

function startOf({ partition, start }: PartitionSession): PartitionStart {
  return {
    topic: partition.topic,
    partitionId: partition.partitionId,
    committedOffset: BigInt(start.committed),
    firstOffset: BigInt(start.firstOffset),
    endOffset: BigInt(start.endOffset),
  };
}

/** The server would end the whole stream for an offset that it does not like, with all other partitions. */
function checkAnswer(
  { partition, start }: PartitionSession,
  { readOffset, commitOffset }: PartitionStartAnswer,
): [number | undefined, number | undefined] {
  const least = commitOffset !== undefined && commitOffset > start.committed ? commitOffset : BigInt(start.committed);
  for (const [name, offset, bound] of [
    ["commitOffset", commitOffset, BigInt(start.committed)],
    ["readOffset", readOffset, least],
  ] as const) {
    if (offset !== undefined && offset < bound) {
      const where = `partition ${partition.partitionId} of ${partition.topic}`;
      throw new ReaderError("OPTIONS_INVALID", `${name} of ${where} must be at least ${bound}, got ${offset}`);
    }
  }
  return [
    readOffset === undefined ? undefined : Number(readOffset),
    commitOffset === undefined ? undefined : Number(commitOffset),
  ];
}
