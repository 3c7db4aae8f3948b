import type { Clock, Timer } from "@tidemark/clock";
import type { PartitionDescription } from "@tidemark/topic";
import type { WriterClient } from "./wire.ts";

export interface PartitionWatchSetup {
  readonly client: Pick<WriterClient, "describeTopic">;
  readonly topic: string;
  readonly clock: Clock;
  readonly intervalMs: number;
  /** Told after each look that succeeded. */
  readonly onPartitions: (partitions: readonly PartitionDescription[]) => void;
}

/** Looks again and again which partitions a topic has. Does not keep the process alive. */
export class PartitionWatch {
  readonly #setup: PartitionWatchSetup;
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;

  constructor(setup: PartitionWatchSetup) {
    this.#setup = setup;
  }

  start(): void {
    if (this.#stopped.signal.aborted) return;
    const { clock, intervalMs } = this.#setup;
    this.#timer = clock.setTimer(intervalMs, () => void this.#look()).unref();
  }

  stop(): void {
    this.#stopped.abort();
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { client, topic, onPartitions } = this.#setup;
    const { signal } = this.#stopped;
    try {
      const { partitions } = await client.describeTopic(topic, { signal });
      if (!signal.aborted) onPartitions(partitions);
    } catch {
      // Whoever writes hears of a server that is gone; the next look comes either way.
    }
    this.start();
  }
}
