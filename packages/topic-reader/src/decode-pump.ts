import type { Chunk, Columns } from "./partition.ts";

/** What can be decompressed. */
export interface Compressed extends Columns {
  /** About how much memory it takes when it is decompressed, in bytes. */
  readonly expandedBytes: number;
  /** Never rejects: what cannot be decompressed is marked in the columns. */
  decode(signal: AbortSignal, topic: string, partitionId: number): Promise<void>;
}

/**
 * Decompresses what waits, ahead of whoever takes it, up to a number of bytes: what is small on the wire may be large in
 * memory. The first chunk of a partition is always decompressed, so that no partition waits for the memory of another.
 */
export class DecodePump<C extends Compressed> {
  readonly #maxBytes: number;
  readonly #onDecoded: (chunk: Chunk<C>) => void;
  #waiting: Chunk<C>[] = [];
  /** Expanded, or being expanded, and not delivered. */
  readonly #expanded = new Set<Chunk<C>>();
  #expandedBytes = 0;
  readonly #controller = new AbortController();

  constructor(maxBytes: number, onDecoded: (chunk: Chunk<C>) => void) {
    this.#maxBytes = maxBytes;
    this.#onDecoded = onDecoded;
  }

  add(chunk: Chunk<C>): void {
    this.#waiting.push(chunk);
    this.pump();
  }

  /** Called when something was delivered or discarded. */
  pump(): void {
    if (this.#waiting.length === 0 && this.#expanded.size === 0) return;
    for (const chunk of this.#expanded) {
      if (chunk.session.status !== "over" && chunk.taken < chunk.columns.length) continue;
      this.#expanded.delete(chunk);
      this.#expandedBytes -= chunk.columns.expandedBytes;
    }
    const rest: Chunk<C>[] = [];
    for (const chunk of this.#waiting) {
      if (chunk.session.status !== "active") continue;
      if (chunk.session.head !== chunk && this.#expandedBytes >= this.#maxBytes) rest.push(chunk);
      else void this.#decode(chunk);
    }
    this.#waiting = rest;
  }

  stop(reason: unknown): void {
    this.#waiting = [];
    this.#controller.abort(reason);
  }

  async #decode(chunk: Chunk<C>): Promise<void> {
    this.#expanded.add(chunk);
    this.#expandedBytes += chunk.columns.expandedBytes;
    const { topic, partitionId } = chunk.session.partition;
    await chunk.columns.decode(this.#controller.signal, topic, partitionId);
    this.#onDecoded(chunk);
  }
}
