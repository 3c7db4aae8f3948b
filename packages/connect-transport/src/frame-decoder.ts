import { Code, ConnectError } from "@connectrpc/connect";
import { countReceived } from "./young-generation.ts";

/** gRPC over HTTP/2: a byte of flags and four of length in front of every message. */
export const prefixBytes = 5;

/**
 * A frame that spans chunks is gathered in one allocation of its own size up to here, and in one that grows above: five
 * bytes that promise a large frame must not cost its memory.
 */
const firstAllocationBytes = 1024 * 1024;

const none = Buffer.alloc(0);

/**
 * Takes messages apart that are too large to be gathered, while they arrive: for peers that put megabytes of repeated
 * fields into one. One for each stream; messages come one after the other.
 */
export interface MessageSplitter {
  /** From this size on, in bytes, a message goes through it. Such a message may be larger than `readMaxBytes`. */
  readonly fromBytes: number;
  /** A message of this size begins. */
  begin(size: number): void;
  /**
   * Its next bytes: a view, never empty, valid for as long as somebody holds it. Returns the frames that the receiver gets
   * instead of the message. A throw ends the call with that error.
   */
  push(bytes: Buffer): readonly Uint8Array[];
}

/**
 * Cuts what came over a stream into frames, wherever the chunks end. A frame within one chunk is a view of it; only what
 * spans chunks is copied, once.
 */
export class FrameDecoder {
  readonly #maxBytes: number;
  readonly #splitter: MessageSplitter | undefined;
  readonly #splitFromBytes: number;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixLength = 0;
  /** The frame under way, and how much of it is there. */
  #frame: Buffer = none;
  #filled = 0;
  /** Its size; -1 between frames. */
  #size = -1;

  constructor(maxBytes: number, splitter?: MessageSplitter) {
    this.#maxBytes = maxBytes;
    this.#splitter = splitter;
    this.#splitFromBytes = splitter?.fromBytes ?? Number.POSITIVE_INFINITY;
  }

  /** Whether the bytes so far end in the middle of a frame. */
  get isInside(): boolean {
    return this.#size !== -1 || this.#prefixLength > 0;
  }

  /** @throws {ConnectError} `ResourceExhausted` above the limit, `Unimplemented` for a compressed frame. */
  decode(chunk: Buffer): Uint8Array[] {
    countReceived(chunk.length);
    const frames: Uint8Array[] = [];
    let at = this.isInside ? this.#continue(chunk, frames) : 0;
    const end = chunk.length;
    while (end - at >= prefixBytes) {
      const size = this.#readPrefix(chunk, at);
      at += prefixBytes;
      if (size >= this.#splitFromBytes) {
        this.#begin(size);
        at = this.#split(chunk, at, frames);
        if (this.#size !== -1) return frames;
        continue;
      }
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
    if (this.#size >= this.#splitFromBytes) return this.#split(chunk, at, frames);
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
    if (size >= this.#splitFromBytes) this.#splitter?.begin(size);
    else this.#frame = Buffer.allocUnsafe(Math.min(size, firstAllocationBytes));
  }

  /** Gives what there is of a large message away. */
  #split(chunk: Buffer, from: number, frames: Uint8Array[]): number {
    const end = from + Math.min(chunk.length - from, this.#size - this.#filled);
    if (end > from) {
      this.#filled += end - from;
      for (const frame of this.#splitter?.push(chunk.subarray(from, end)) ?? []) frames.push(frame);
    }
    if (this.#filled === this.#size) this.#size = -1;
    return end;
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
    if (size > this.#maxBytes && size < this.#splitFromBytes) {
      throw new ConnectError(
        `Received message larger than max (${size} vs. ${this.#maxBytes})`,
        Code.ResourceExhausted,
      );
    }
    return size;
  }
}
