import { Code, ConnectError } from "@connectrpc/connect";

/** gRPC over HTTP/2: a byte of flags and four of length in front of every message. */
export const prefixBytes = 5;

/**
 * A frame that spans chunks is gathered in one allocation of its own size up to here, and in one that grows above: five
 * bytes that promise a large frame must not cost its memory.
 */
const firstAllocationBytes = 1024 * 1024;

const none = Buffer.alloc(0);

/**
 * Cuts what came over a stream into frames, wherever the chunks end. A frame within one chunk is a view of it; only what
 * spans chunks is copied, once.
 */
export class FrameDecoder {
  readonly #maxBytes: number;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixLength = 0;
  /** The frame under way, and how much of it is there. */
  #frame: Buffer = none;
  #filled = 0;
  /** Its size; -1 between frames. */
  #size = -1;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether the bytes so far end in the middle of a frame. */
  get isInside(): boolean {
    return this.#size !== -1 || this.#prefixLength > 0;
  }

  /** @throws {ConnectError} `ResourceExhausted` above the limit, `Unimplemented` for a compressed frame. */
  decode(chunk: Buffer): Uint8Array[] {
    const frames: Uint8Array[] = [];
    let at = this.isInside ? this.#continue(chunk, frames) : 0;
    const end = chunk.length;
    while (end - at >= prefixBytes) {
      const size = this.#readPrefix(chunk, at);
      at += prefixBytes;
      if (end - at < size) {
        this.#begin(size);
        this.#take(chunk, at);
        return frames;
      }
      frames.push(chunk.subarray(at, (at += size)));
    }
    if (at < end) this.#prefixLength = chunk.copy(this.#prefix, 0, at, end);
    return frames;
  }

  /** Goes on with what the chunks before have begun. Returns where the next frame begins. */
  #continue(chunk: Buffer, frames: Uint8Array[]): number {
    let at = 0;
    if (this.#size === -1) {
      at = chunk.copy(this.#prefix, this.#prefixLength, 0, prefixBytes - this.#prefixLength);
      this.#prefixLength += at;
      if (this.#prefixLength < prefixBytes) return at;
      this.#begin(this.#readPrefix(this.#prefix, 0));
    }
    at = this.#take(chunk, at);
    if (this.#filled === this.#size) {
      frames.push(this.#frame);
      this.#frame = none;
      this.#size = -1;
    }
    return at;
  }

  #begin(size: number): void {
    this.#prefixLength = 0;
    this.#size = size;
    this.#filled = 0;
    this.#frame = Buffer.allocUnsafe(Math.min(size, firstAllocationBytes));
  }

  #take(chunk: Buffer, from: number): number {
    const count = Math.min(chunk.length - from, this.#size - this.#filled);
    if (this.#filled + count > this.#frame.length) this.#grow(this.#filled + count);
    chunk.copy(this.#frame, this.#filled, from, from + count);
    this.#filled += count;
    return from + count;
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafe(Math.min(this.#size, Math.max(needed, this.#frame.length * 2)));
    this.#frame.copy(larger, 0, 0, this.#filled);
    this.#frame = larger;
  }

  #readPrefix(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32BE(at + 1);
    if (bytes[at] !== 0) {
      throw new ConnectError(
        `expected uncompressed messages, got one with the flags ${bytes[at]}: turn the compression of the transport off`,
        Code.Unimplemented,
      );
    }
    if (size > this.#maxBytes) {
      throw new ConnectError(
        `Received message larger than max (${size} vs. ${this.#maxBytes})`,
        Code.ResourceExhausted,
      );
    }
    return size;
  }
}
