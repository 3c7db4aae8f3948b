interface Waiter<T, Tag> {
  readonly tag: Tag;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
  readonly letGo: () => void;
}

/** Callers that wait for the same thing, each with its own signal. No listener outlives its wait (X20). */
export class Waiters<T = void, Tag = void> {
  readonly #waiting = new Set<Waiter<T, Tag>>();

  get size(): number {
    return this.#waiting.size;
  }

  /** @throws `signal.reason` when it aborts first. */
  wait(signal: AbortSignal | undefined, tag: Tag): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(waiter);
        reject(signal?.reason as Error);
      };
      const waiter: Waiter<T, Tag> = {
        tag,
        resolve,
        reject,
        letGo: () => signal?.removeEventListener("abort", onAbort),
      };
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Lets go of the callers whose tag fits, in the order in which they came; without `fits`, of all. */
  resolve(value: T, fits?: (tag: Tag) => boolean): void {
    for (const waiter of this.#waiting) {
      if (fits !== undefined && !fits(waiter.tag)) continue;
      this.#take(waiter);
      waiter.resolve(value);
    }
  }

  /** Lets go of the caller that came first. */
  resolveFirst(value: T): void {
    for (const waiter of this.#waiting) {
      this.#take(waiter);
      waiter.resolve(value);
      return;
    }
  }

  reject(reason: unknown): void {
    for (const waiter of this.#waiting) {
      this.#take(waiter);
      waiter.reject(reason);
    }
  }

  #take(waiter: Waiter<T, Tag>): void {
    this.#waiting.delete(waiter);
    waiter.letGo();
  }
}
