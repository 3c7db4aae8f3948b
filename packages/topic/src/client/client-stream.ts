import type { StreamTransport } from "@tidemark/stream";
import type { FrameStream } from "@tidemark/connect-transport";
import { TopicError } from "../topic-error.ts";
import type { Lease } from "./channel-pool.ts";
import { transportError } from "./status.ts";

/** How a stream finds its way. */
export interface StreamOpener {
  /** For errors: `StreamWrite`. */
  readonly what: string;
  /** Finds endpoint and token. */
  open(signal: AbortSignal): Promise<{ readonly stream: FrameStream; readonly lease: Lease }>;
  /** The first message came. */
  succeeded(): void;
  /** It failed, and not because of this side. */
  failed(error: unknown, lease: Lease | undefined): void;
}

/** A stream that can be owned before it exists (P2). */
export class ClientStream implements StreamTransport<Uint8Array, Uint8Array> {
  readonly #opener: StreamOpener;
  readonly #controller = new AbortController();
  #isStarted = false;
  #opening: Promise<FrameStream> | undefined;
  #stream: FrameStream | undefined;
  #lease: Lease | undefined;
  #hasSucceeded = false;

  constructor(opener: StreamOpener) {
    this.#opener = opener;
  }

  start(outgoing: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    if (this.#isStarted) throw new TopicError("OPTIONS_INVALID", "a stream can be started once: take another one");
    this.#isStarted = true;
    const opened = this.#open(outgoing);
    // Whoever takes the messages is told.
    opened.catch(() => {});
    return new Incoming(opened, {
      succeed: () => this.#succeed(),
      fail: (error) => this.#fail(error),
      over: () => this.#release(),
      cancel: (reason) => this.cancel(reason),
    });
  }

  cancel(reason: unknown): void {
    const why = reason ?? new TopicError("CLOSED", "the stream was canceled");
    this.#controller.abort(why);
    this.#stream?.cancel(why);
    this.#release();
  }

  async ping(signal: AbortSignal): Promise<void> {
    const stream = this.#stream ?? (await this.#opening);
    await stream?.ping(signal);
  }

  async #open(outgoing: AsyncIterable<Uint8Array>): Promise<AsyncIterator<Uint8Array>> {
    const { signal } = this.#controller;
    try {
      signal.throwIfAborted();
      this.#opening = this.#openStream(signal);
      const stream = await this.#opening;
      return stream.start(outgoing)[Symbol.asyncIterator]();
    } catch (error) {
      void outgoing[Symbol.asyncIterator]().return?.();
      throw error;
    }
  }

  async #openStream(signal: AbortSignal): Promise<FrameStream> {
    const { stream, lease } = await this.#opener.open(signal);
    this.#lease = lease;
    this.#stream = stream;
    if (signal.aborted) {
      stream.cancel(signal.reason);
      this.#release();
      throw signal.reason;
    }
    return stream;
  }

  #succeed(): void {
    if (this.#hasSucceeded) return;
    this.#hasSucceeded = true;
    this.#opener.succeeded();
  }

  #fail(error: unknown): unknown {
    const { signal } = this.#controller;
    if (signal.aborted) return signal.reason;
    this.#opener.failed(error, this.#lease);
    this.#release();
    return transportError(this.#opener.what, error);
  }

  #release(): void {
    this.#lease?.release();
  }
}

interface Watcher {
  succeed(): void;
  /** Returns what to throw. */
  fail(error: unknown): unknown;
  over(): void;
  cancel(reason: unknown): void;
}

/** Passes on what the inner iterator yields, without a promise of its own a message. */
class Incoming implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #opened: Promise<AsyncIterator<Uint8Array>>;
  readonly #watcher: Watcher;

  constructor(opened: Promise<AsyncIterator<Uint8Array>>, watcher: Watcher) {
    this.#opened = opened;
    this.#watcher = watcher;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      const inner = await this.#opened;
      const result = await inner.next();
      if (result.done === true) {
        this.#watcher.over();
        return { done: true, value: undefined };
      }
      this.#watcher.succeed();
      return result;
    } catch (error) {
      throw this.#watcher.fail(error);
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#watcher.cancel(undefined);
    return { done: true, value: undefined };
  }
}
