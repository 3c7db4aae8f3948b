import type { StreamReceiver } from "./frame-stream.ts";

/** Bytes that wait for a reader before the stream is held back. */
const holdBytes = 1024 * 1024;

interface Waiter<T> {
  resolve(step: IteratorResult<T, undefined>): void;
  reject(reason: unknown): void;
}

/**
 * Frames as an async iterator for one reader. What is there already costs one promise; `parse` runs when it is taken.
 */
export class FrameInbox<T> implements StreamReceiver, AsyncIterableIterator<T, undefined> {
  readonly #parse: (frame: Uint8Array) => T;
  readonly #onLeave: (error: unknown) => void;
  #batches: (readonly Uint8Array[])[] = [];
  /** The batch that is being read, and where. */
  #batch: readonly Uint8Array[] = [];
  #at = 0;
  #bytes = 0;
  #release: (() => void) | undefined;
  #waiters: Waiter<T>[] = [];
  #end: { readonly error: unknown } | undefined;

  constructor(parse: (frame: Uint8Array) => T, onLeave: (error: unknown) => void) {
    this.#parse = parse;
    this.#onLeave = onLeave;
  }

  frames(frames: readonly Uint8Array[]): void | Promise<void> {
    let from = 0;
    while (this.#waiters.length > 0 && from < frames.length) {
      this.#deliver(this.#waiters.shift() as Waiter<T>, frames[from++] as Uint8Array);
    }
    if (from === frames.length) return undefined;
    const left = from === 0 ? frames : frames.slice(from);
    for (const frame of left) this.#bytes += frame.length;
    this.#batches.push(left);
    if (this.#bytes < holdBytes) return undefined;
    return new Promise((resolve) => (this.#release = resolve));
  }

  end(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    for (const waiter of this.#waiters.splice(0)) {
      if (error === undefined) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(error);
    }
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const frame = this.#take();
    if (frame !== undefined) {
      try {
        return Promise.resolve({ done: false, value: this.#parse(frame) });
      } catch (error) {
        this.#onLeave(error);
        return Promise.reject(error as Error);
      }
    }
    if (this.#end === undefined) return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    const { error } = this.#end;
    // Told once, as any iterator does.
    this.#end = { error: undefined };
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error as Error);
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#batches = [];
    this.#batch = [];
    this.#at = 0;
    this.end(undefined);
    this.#end = { error: undefined };
    this.#onLeave(undefined);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(): Uint8Array | undefined {
    if (this.#at === this.#batch.length) {
      const next = this.#batches.shift();
      if (next === undefined) return undefined;
      this.#batch = next;
      this.#at = 0;
    }
    const frame = this.#batch[this.#at++] as Uint8Array;
    this.#bytes -= frame.length;
    if (this.#release !== undefined && this.#bytes < holdBytes / 2) {
      this.#release();
      this.#release = undefined;
    }
    return frame;
  }

  #deliver(waiter: Waiter<T>, frame: Uint8Array): void {
    try {
      waiter.resolve({ done: false, value: this.#parse(frame) });
    } catch (error) {
      waiter.reject(error);
      this.#onLeave(error);
    }
  }
}
