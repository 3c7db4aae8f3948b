/**
 * Tells followers that something was committed. Level-triggered: it counts and carries no data, so whoever looks late
 * has missed nothing.
 */
export class Wakeup {
  #count = 0;
  #ended: Error | undefined;
  readonly #waiting = new Set<{ resolve(): void; reject(error: unknown): void }>();

  /** Grows with every commit. */
  get count(): number {
    return this.#count;
  }

  notify(): void {
    this.#count++;
    for (const waiter of this.#take()) waiter.resolve();
  }

  /** Rejects everyone who waits or will wait. */
  end(error: Error): void {
    this.#ended = error;
    for (const waiter of this.#take()) waiter.reject(error);
  }

  /** Resolves once the count is no longer `seen`. @throws `signal.reason`, or the error given to {@link end}. */
  async after(seen: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#count !== seen) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { resolve, reject };
    const onAbort = () => {
      this.#waiting.delete(waiter);
      reject(signal?.reason as Error);
    };
    this.#waiting.add(waiter);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #take() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }
}
