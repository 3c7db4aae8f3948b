import { TopicError } from "../topic-error.ts";
import type { Int64 } from "./int64.ts";

/** Wire types of protobuf. */
export const wire = { varint: 0, bit64: 1, bytes: 2, startGroup: 3, endGroup: 4, bit32: 5 } as const;

/** As deep as protobuf-es goes. */
const maxGroupDepth = 100;
const two32 = 2 ** 32;

/**
 * Walks over an encoded message without making objects. Every method takes the `end` it may not pass, and throws
 * `FRAME_INVALID` rather than pass it.
 */
export class Scanner {
  bytes: Uint8Array;
  at: number;
  /** Halves of the last varint. */
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Field number × 8 + wire type. */
  tag(end: number): number {
    const byte = this.at < end ? (this.bytes[this.at] as number) : 0x80;
    if (byte < 0x80) {
      if (byte < 8 || (byte & 7) > 5) throw this.invalid(`tag ${byte}`);
      this.at++;
      return byte;
    }
    const start = this.at;
    this.#varint(end);
    const tag = this.#low >>> 0;
    if (this.#high !== 0 || this.at - start > 5 || tag < 8 || (tag & 7) > 5) throw this.invalid(`tag ${tag}`);
    return tag;
  }

  /** A signed 64-bit integer. Exact when it is a safe integer; else ask `exact` for it at once. */
  int64(end: number): number {
    const { at } = this;
    if (at < end) {
      const byte = this.bytes[at] as number;
      if (byte < 0x80) {
        this.at = at + 1;
        return byte;
      }
    }
    this.#varint(end);
    return (this.#high | 0) * two32 + (this.#low >>> 0);
  }

  /** The exact value of the last `int64`, for one that is not safe. */
  exact(): bigint {
    return BigInt.asIntN(64, (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0));
  }

  /** A signed 64-bit integer in its one form. */
  exactInt64(end: number): Int64 {
    const value = this.int64(end);
    return Number.isSafeInteger(value) ? value : this.exact();
  }

  /** A signed 64-bit integer that has no business above 2^53. */
  safeInt64(end: number, what: string): number {
    const value = this.int64(end);
    if (Number.isSafeInteger(value)) return value;
    throw this.invalid(`${what} ${this.exact()}, above what this implementation can count to, 2^53-1`);
  }

  int32(end: number): number {
    if (this.at < end && (this.bytes[this.at] as number) < 0x80) return this.bytes[this.at++] as number;
    this.#varint(end);
    return this.#low | 0;
  }

  /** Reads a length and returns where what it measures ends; `at` is where it begins. */
  span(end: number): number {
    const byte = this.at < end ? (this.bytes[this.at] as number) : 0x80;
    let length = byte;
    if (byte < 0x80) this.at++;
    else {
      this.#varint(end);
      length = this.#high * two32 + (this.#low >>> 0);
    }
    if (length > end - this.at || length < 0) {
      throw this.invalid(`a length of ${length} where ${end - this.at} bytes are left`);
    }
    return this.at + length;
  }

  /** Passes over the field of `tag`, which was just read. */
  skip(tag: number, end: number, depth = 0): void {
    switch (tag & 7) {
      case wire.varint:
        this.#varint(end);
        return;
      case wire.bit64:
        this.#pass(8, end);
        return;
      case wire.bytes:
        this.at = this.span(end);
        return;
      case wire.bit32:
        this.#pass(4, end);
        return;
      case wire.startGroup:
        if (depth >= maxGroupDepth) throw this.invalid("groups nested too deeply");
        for (;;) {
          const inner = this.tag(end);
          if ((inner & 7) === wire.endGroup) {
            if (inner >>> 3 !== tag >>> 3) throw this.invalid("the end of another group");
            return;
          }
          this.skip(inner, end, depth + 1);
        }
      default:
        throw this.invalid("the end of a group that has no start");
    }
  }

  /** A known field must come in its own wire type. */
  expect(tag: number, wireType: number): void {
    if ((tag & 7) !== wireType) {
      throw this.invalid(`field ${tag >>> 3} with wire type ${tag & 7} instead of ${wireType}`);
    }
  }

  invalid(what: string): TopicError {
    return new TopicError("FRAME_INVALID", `Not a valid message: ${what}, at byte ${this.at} of ${this.bytes.length}`);
  }

  #pass(count: number, end: number): void {
    if (end - this.at < count) throw this.invalid("it ends within a field");
    this.at += count;
  }

  /** Up to ten bytes into `#low` and `#high`; what is above 64 bits is dropped, as everywhere. */
  #varint(end: number): void {
    const { bytes } = this;
    let { at } = this;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end) throw this.invalid("it ends within a number");
      const byte = bytes[at++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) break;
      if (shift === 63) throw this.invalid("a number of more than ten bytes");
    }
    this.at = at;
    this.#low = low;
    this.#high = high >>> 0;
  }
}
