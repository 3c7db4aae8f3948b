export interface StepsOptions {
  readonly signal?: AbortSignal;
  /** How long one fault or one check may take before it counts as stuck, in milliseconds. @default 240_000 */
  readonly stepTimeoutMs?: number;
}

/** What happens one after the other. Nothing may hang: what does not come in time is an error that tells where all stand. */
export class Steps {
  readonly #options: StepsOptions;
  readonly #describe: () => string;
  readonly #log: string[] = [];

  /** @param describe where everything stands, for people who wonder why nothing happens */
  constructor(options: StepsOptions, describe: () => string) {
    this.#options = options;
    this.#describe = describe;
  }

  /** What happened, for the report of a failure. */
  get log(): readonly string[] {
    return this.#log;
  }

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const { stepTimeoutMs = 240_000, signal } = this.#options;
    signal?.throwIfAborted();
    this.#log.push(name);
    const before = this.#describe();
    const { promise: stuck, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(
        new Error(`stuck for ${stepTimeoutMs / 1000} s in "${name}": ${this.#describe()}\nat its start: ${before}`),
      );
    }, stepTimeoutMs);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([work(), stuck]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }
}
