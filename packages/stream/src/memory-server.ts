import type { StreamTransport } from "./protocol.ts";
import { AsyncQueue } from "./queue.ts";

/** The server's end of one stream in memory. */
export interface MemoryPeer<Out, In> {
  /** Counts the streams of its server from 1. */
  readonly id: number;
  /** What the client sends; ends when it half-closed or cancelled. */
  readonly received: AsyncIterable<Out>;
  /** The next message of the client; undefined at the end. */
  receive(): Promise<Out | undefined>;
  /** False: `maxUnread` or more messages are unread, so wait for `drained()`; or the stream is over. */
  send(message: In): boolean;
  /** Resolves when fewer than `maxUnread` messages are unread. Rejects when the stream is over. */
  drained(): Promise<void>;
  /** Messages that were sent and that the client has not taken. */
  readonly unread: number;
  /** Ends the stream normally. */
  end(): void;
  /** Ends the stream with an error, which the client meets behind what was sent before. */
  fail(error: unknown): void;
  /** Aborts when the stream is over, whoever ended it; the reason is the client's when that cancelled. */
  readonly signal: AbortSignal;
  /** The client cancelled. */
  readonly isCancelled: boolean;
}

/** What the server does with its streams. */
export interface MemoryServerOptions<Out, In> {
  /** Serves one stream. When it returns the stream stays open; when it throws the stream fails with that. */
  onStream(peer: MemoryPeer<Out, In>): void | Promise<void>;
  /**
   * Answers pings. Never settling stands for a peer that is gone without a word.
   * @default no pings
   */
  onPing?(signal: AbortSignal): Promise<void>;
  /**
   * From how many unread messages on a stream pushes back, at least 1.
   * @default 1_024
   */
  readonly maxUnread?: number;
}

/** A server in the same process, for tests of a protocol without a network. */
export interface MemoryServer<Out, In> {
  /** For `StreamProtocol.openTransport`. */
  openTransport(): StreamTransport<Out, In>;
  /** Transports that were made, started or not. */
  readonly transports: number;
  /** Streams that were ever started. */
  readonly started: number;
  /** Streams that are open now. */
  readonly open: number;
  /** The highest number of streams that were open at once. */
  readonly maxOpen: number;
  /** Those that are open now, oldest first. */
  readonly peers: readonly MemoryPeer<Out, In>[];
}

class Peer<Out, In> implements MemoryPeer<Out, In>, AsyncIterable<In> {
  readonly id: number;
  readonly #outgoing: AsyncQueue<In>;
  #failure: { readonly error: unknown } | undefined;
  readonly #incoming: AsyncIterator<Out>;
  readonly #controller = new AbortController();
  readonly #onOver: (peer: Peer<Out, In>) => void;
  isCancelled = false;

  constructor(id: number, received: AsyncIterable<Out>, maxUnread: number, onOver: (peer: Peer<Out, In>) => void) {
    this.id = id;
    this.#outgoing = new AsyncQueue<In>({ highWaterMark: maxUnread });
    this.#incoming = received[Symbol.asyncIterator]();
    this.#onOver = onOver;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get received(): AsyncIterable<Out> {
    return { [Symbol.asyncIterator]: () => this.#incoming };
  }

  async receive(): Promise<Out | undefined> {
    const result = await this.#incoming.next();
    return result.done ? undefined : result.value;
  }

  send(message: In): boolean {
    return this.#outgoing.push(message);
  }

  drained(): Promise<void> {
    return this.#outgoing.ready();
  }

  get unread(): number {
    return this.#outgoing.length;
  }

  end(): void {
    this.#outgoing.close();
    this.#over();
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.end();
  }

  cancel(reason: unknown): void {
    this.isCancelled = !this.signal.aborted;
    this.#failure ??= { error: reason };
    this.#outgoing.cancel(reason);
    this.#over(reason);
  }

  /** What the client sees of it. */
  [Symbol.asyncIterator](): AsyncIterator<In, undefined> {
    const items = this.#outgoing[Symbol.asyncIterator]();
    return {
      next: async () => {
        const result = await items.next();
        if (result.done && this.#failure !== undefined) throw this.#failure.error;
        return result;
      },
    };
  }

  #over(reason?: unknown): void {
    if (this.signal.aborted) return;
    this.#controller.abort(reason);
    this.#onOver(this);
  }
}

/** Serves streams in memory. It does what the two callbacks do and counts what tests want to know. */
export function createMemoryServer<Out, In>(options: MemoryServerOptions<Out, In>): MemoryServer<Out, In> {
  const peers: Peer<Out, In>[] = [];
  const counts = { transports: 0, started: 0, maxOpen: 0 };

  function start(received: AsyncIterable<Out>): Peer<Out, In> {
    const onOver = (over: Peer<Out, In>) => void peers.splice(peers.indexOf(over), 1);
    const peer = new Peer<Out, In>(++counts.started, received, options.maxUnread ?? 1_024, onOver);
    peers.push(peer);
    counts.maxOpen = Math.max(counts.maxOpen, peers.length);
    // A turn later, as from a network: the client has its iterator by then.
    Promise.resolve()
      .then(() => options.onStream(peer))
      .catch((error: unknown) => peer.fail(error));
    return peer;
  }

  return {
    openTransport() {
      counts.transports++;
      let peer: Peer<Out, In> | undefined;
      let cancelled: { readonly reason: unknown } | undefined;
      const { onPing } = options;
      return {
        start(outgoing) {
          if (cancelled !== undefined) throw cancelled.reason;
          peer = start(outgoing);
          return peer;
        },
        cancel(reason) {
          cancelled ??= { reason };
          peer?.cancel(reason);
        },
        ...(onPing && { ping: (signal: AbortSignal) => onPing(signal) }),
      };
    },
    get transports() {
      return counts.transports;
    },
    get started() {
      return counts.started;
    },
    get open() {
      return peers.length;
    },
    get maxOpen() {
      return counts.maxOpen;
    },
    get peers() {
      return peers;
    },
  };
}
