import type { Frame, FrameSink, SourceStatus } from "./contract.ts";

/**
 * A sink that tells what it throws itself from what goes wrong with the peer: a source ends its run for the first and tries
 * the second again. Use one for each run.
 */
export class GuardedSink implements FrameSink {
  readonly #sink: FrameSink;
  readonly #wrap: (cause: unknown) => Error;
  /** What the sink threw, by the error that was made of it. */
  readonly #thrown = new WeakMap<Error, unknown>();

  /** `wrap` makes an error of the source's own of what the sink threw; it must not be tried again. */
  constructor(sink: FrameSink, wrap: (cause: unknown) => Error) {
    this.#sink = sink;
    this.#wrap = wrap;
  }

  /** @throws what `wrap` makes of what the sink threw. */
  write(frame: Frame): boolean {
    try {
      return this.#sink.write(frame);
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  /**
   * @throws `signal.reason`.
   * @throws what `wrap` makes of what the sink threw.
   */
  async ready(signal?: AbortSignal): Promise<void> {
    try {
      await this.#sink.ready(signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#wrapped(error);
    }
  }

  alive(): void {
    this.#sink.alive();
  }

  status(status: SourceStatus): void {
    this.#sink.status(status);
  }

  /** What the sink threw, if that is behind this error; otherwise the error itself. */
  errorOf(error: unknown): unknown {
    const seen = new Set<unknown>();
    for (let cause = error; cause instanceof Error && !seen.has(cause); cause = cause.cause) {
      if (this.#thrown.has(cause)) return this.#thrown.get(cause);
      seen.add(cause);
    }
    return error;
  }

  #wrapped(error: unknown): Error {
    const wrapped = this.#wrap(error);
    this.#thrown.set(wrapped, error);
    return wrapped;
  }
}
