import type { StreamReceiver } from "@tidemark/connect-transport";

/** Bytes that wait for a reader before the peer is held back: of what comes then only the bytes are taken, and no frames. */
const holdBytes = 1 << 18;

export type FrameBatch = readonly Uint8Array[];

type Step = IteratorResult<FrameBatch, undefined>;

/**
 * Frames as an async iterator over what arrived together, for one reader: one promise for many messages.
 */
export class BatchInbox implements StreamReceiver, AsyncIterableIterator<FrameBatch, undefined> {
  readonly #explain: (error: unknown) => unknown;
  readonly #onLeave: (error: unknown) => void;
  readonly #batches: (readonly Uint8Array[])[] = [];
  #bytes = 0;
  #release: (() => void) | undefined;
  #waiter: PromiseWithResolvers<Step> | undefined;
  #end: { readonly error: unknown } | undefined;

  /** `explain` makes our error of that which ended the call; `onLeave` is called when nobody reads any more. */
  constructor(explain: (error: unknown) => unknown, onLeave: (error: unknown) => void) {
    this.#explain = explain;
    this.#onLeave = onLeave;
  }

  frames(frames: readonly Uint8Array[]): void | Promise<void> {
    const waiter = this.#waiter;
    if (waiter !== undefined) {
      this.#waiter = undefined;
      waiter.resolve({ done: false, value: frames });
      return undefined;
    }
    for (const frame of frames) this.#bytes += frame.length;
    this.#batches.push(frames);
    if (this.#bytes < holdBytes) return undefined;
    return new Promise((resolve) => (this.#release = resolve));
  }

  end(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error: error === undefined ? undefined : this.#explain(error) };
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter !== undefined) this.#finish(waiter);
  }

  next(): Promise<Step> {
    const waiter = Promise.withResolvers<Step>();
    const batch = this.#batches.shift();
    if (batch !== undefined) {
      for (const frame of batch) this.#bytes -= frame.length;
      if (this.#release !== undefined && this.#bytes < holdBytes / 2) {
        this.#release();
        this.#release = undefined;
      }
      waiter.resolve({ done: false, value: batch });
    } else if (this.#end !== undefined) this.#finish(waiter);
    else this.#waiter = waiter;
    return waiter.promise;
  }

  return(): Promise<Step> {
    this.#batches.length = 0;
    this.end(undefined);
    this.#onLeave(undefined);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(waiter: PromiseWithResolvers<Step>): void {
    const { error } = this.#end ?? { error: undefined };
    // Told once, as any iterator does.
    this.#end = { error: undefined };
    if (error === undefined) waiter.resolve({ done: true, value: undefined });
    else waiter.reject(error);
  }
}
