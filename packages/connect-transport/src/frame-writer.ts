import type { Http2Stream } from "node:http2";
import { prefixBytes } from "./frame-decoder.ts";
import type { MessageEncoder } from "./message-encoder.ts";

/** Up to here a frame is copied next to its neighbours, so that they become one write; larger ones are written as they are. */
const copyMaxBytes = 8 * 1024;
const firstSlabBytes = 1024;
const maxSlabBytes = 64 * 1024;
/** Above it frames do not wait for the end of the turn. */
const flushBytes = 256 * 1024;

interface Waiter {
  resolve(): void;
  reject(reason: unknown): void;
}

/**
 * Sends frames over one HTTP/2 stream. What is sent before the event loop moves on goes out in one write: a write of its
 * own costs ten times what a small frame costs.
 */
export class FrameWriter {
  readonly #maxBytes: number;
  #stream: Http2Stream | undefined;
  #onWrite: (() => void) | undefined;
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
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** What waits to be sent. */
  get bufferedBytes(): number {
    return this.#chunkBytes + (this.#at - this.#from) + this.#writtenBytes;
  }

  get isFull(): boolean {
    return this.bufferedBytes >= this.#maxBytes;
  }

  /** Frames sent before that go out now. `onWrite` hears of every write to the stream. */
  attach(stream: Http2Stream, onWrite?: () => void): void {
    this.#stream = stream;
    this.#onWrite = onWrite;
    this.#flush();
  }

  /** One frame, whole or in pieces. False: wait for `drained()`. Ignored after the end. */
  send(frame: Uint8Array | readonly Uint8Array[]): boolean {
    if (this.#isEnding || this.#end !== undefined) return false;
    if (frame instanceof Uint8Array) this.#add(frame);
    else this.#addPieces(frame);
    this.#schedule();
    return !this.isFull;
  }

  /** One message, encoded where it is sent from. False: it was not, and has to be sent as a frame. */
  encode(message: object, encoder: MessageEncoder, maxBytes: number): boolean {
    if (this.#isEnding || this.#end !== undefined) return false;
    const from = this.#at + prefixBytes;
    const end = encoder(this.#slab, from, message);
    if (end < from || end > this.#slab.length || end - from > maxBytes) return false;
    this.#prefix(end - from);
    this.#at = end;
    this.#schedule();
    return true;
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

  #schedule(): void {
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(this.#onMicrotask);
    }
    if (this.#chunkBytes >= flushBytes) this.#flush();
  }

  // After every promise reaction that can run now: one turn of an iterator after the other has had its say. A frame of an
  // idle stream does not wait for the next turn of the event loop, as it would with setImmediate.
  readonly #onMicrotask = (): void => process.nextTick(this.#onTurnEnd);

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
    // Grows with use: most streams are idle.
    const doubled = Math.max(this.#slab.length * 2, firstSlabBytes);
    this.#slab = Buffer.allocUnsafeSlow(Math.max(size, Math.min(doubled, maxSlabBytes)));
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
      this.#onWrite?.();
    }
    if (this.#isEnding) stream.end();
  }

  #onWritten(bytes: number): void {
    this.#writtenBytes -= bytes;
    if (this.#waiters.length === 0 || this.isFull) return;
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }
}
