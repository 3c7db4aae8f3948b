import type { Http2Stream } from "node:http2";
import type { Clock } from "@tidemark/clock";
import { prefixBytes } from "./frame-decoder.ts";

/** Up to here a frame is copied next to its neighbours, so that they become one write; larger ones are written as they are. */
const copyMaxBytes = 8 * 1024;
const slabBytes = 64 * 1024;
/** Above it frames do not wait for the end of the turn. */
const flushBytes = 256 * 1024;

interface Waiter {
  resolve(): void;
  reject(reason: unknown): void;
}

/**
 * Sends frames over one HTTP/2 stream. What is sent in one turn of the event loop goes out in one write: a frame of its
 * own costs ten times what its bytes cost.
 */
export class FrameWriter {
  readonly #clock: Clock;
  readonly #maxBytes: number;
  #stream: Http2Stream | undefined;
  #slab: Buffer = Buffer.alloc(0);
  /** The slab holds `#from` to `#at` of what is not written yet. */
  #from = 0;
  #at = 0;
  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  /** Handed to the stream and not yet on its way. */
  #writtenBytes = 0;
  #isScheduled = false;
  #isEnding = false;
  #end: { readonly reason: unknown } | undefined;
  #waiters: Waiter[] = [];

  /** @param maxBytes buffered bytes from which `send` says that it is enough. */
  constructor(clock: Clock, maxBytes: number) {
    this.#clock = clock;
    this.#maxBytes = maxBytes;
  }

  /** What waits to be sent. */
  get bufferedBytes(): number {
    return this.#chunkBytes + (this.#at - this.#from) + this.#writtenBytes;
  }

  get isFull(): boolean {
    return this.bufferedBytes >= this.#maxBytes;
  }

  /** Frames sent before that go out now. */
  attach(stream: Http2Stream): void {
    this.#stream = stream;
    this.#flush();
  }

  /** One frame, whole or in pieces. False: wait for `drained()`. Ignored after the end. */
  send(frame: Uint8Array | readonly Uint8Array[]): boolean {
    if (this.#isEnding || this.#end !== undefined) return false;
    if (frame instanceof Uint8Array) this.#add(frame);
    else this.#addPieces(frame);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      this.#clock.setImmediate(this.#onTurnEnd);
    }
    if (this.#chunkBytes >= flushBytes) this.#flush();
    return !this.isFull;
  }

  /** Resolves when there is room again. @throws the reason of the end. */
  drained(): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(this.#end.reason as Error);
    if (!this.isFull) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Half-closes after what was sent. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#flush();
  }

  /** The stream is over: nothing more goes out, and who waits hears why. Idempotent. */
  destroy(reason: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { reason };
    this.#chunks = [];
    this.#slab = Buffer.alloc(0);
    this.#from = this.#at = this.#chunkBytes = 0;
    for (const { reject } of this.#waiters.splice(0)) reject(reason);
  }

  readonly #onTurnEnd = (): void => {
    this.#isScheduled = false;
    this.#flush();
  };

  #add(frame: Uint8Array): void {
    const size = frame.length;
    if (size > copyMaxBytes) {
      this.#reserve(prefixBytes);
      this.#prefix(size);
      this.#append(frame);
      return;
    }
    this.#reserve(prefixBytes + size);
    this.#prefix(size);
    this.#slab.set(frame, this.#at);
    this.#at += size;
  }

  #addPieces(pieces: readonly Uint8Array[]): void {
    let size = 0;
    for (const piece of pieces) size += piece.length;
    this.#reserve(prefixBytes);
    this.#prefix(size);
    for (const piece of pieces) {
      if (piece.length > copyMaxBytes) {
        this.#append(piece);
        continue;
      }
      this.#reserve(piece.length);
      this.#slab.set(piece, this.#at);
      this.#at += piece.length;
    }
  }

  #prefix(size: number): void {
    const slab = this.#slab;
    const at = this.#at;
    slab[at] = 0;
    slab[at + 1] = size >>> 24;
    slab[at + 2] = size >>> 16;
    slab[at + 3] = size >>> 8;
    slab[at + 4] = size;
    this.#at = at + prefixBytes;
  }

  /** Without a copy: nobody may change it any more. */
  #append(bytes: Uint8Array): void {
    this.#cut();
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#slab.length) return;
    this.#cut();
    this.#slab = Buffer.allocUnsafeSlow(slabBytes);
    this.#from = this.#at = 0;
  }

  #cut(): void {
    if (this.#at === this.#from) return;
    this.#chunks.push(this.#slab.subarray(this.#from, this.#at));
    this.#chunkBytes += this.#at - this.#from;
    this.#from = this.#at;
  }

  #flush(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#end !== undefined || stream.destroyed || stream.closed) return;
    this.#cut();
    const chunks = this.#chunks;
    const bytes = this.#chunkBytes;
    if (chunks.length > 0) {
      this.#chunks = [];
      this.#chunkBytes = 0;
      this.#writtenBytes += bytes;
      const onWritten = () => this.#onWritten(bytes);
      const last = chunks.length - 1;
      if (last > 0) stream.cork();
      for (let n = 0; n < last; n++) stream.write(chunks[n]);
      stream.write(chunks[last], onWritten);
      if (last > 0) stream.uncork();
    }
    if (this.#isEnding) stream.end();
  }

  #onWritten(bytes: number): void {
    this.#writtenBytes -= bytes;
    if (this.#waiters.length === 0 || this.isFull) return;
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }
}
