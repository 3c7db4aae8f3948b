import { writeInt64 } from "./int64.ts";
import { type Scanner, wire } from "./scanner.ts";

/**
 * Reads the `google.protobuf.Timestamp` that ends at `end` as milliseconds since the epoch, with their fraction: exact to
 * the microsecond in this century.
 */
export function readTimestampMs(scanner: Scanner, end: number): number {
  let seconds = 0;
  let nanos = 0;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag === 0x08) seconds = scanner.int64(end);
    else if (tag === 0x10) nanos = scanner.int32(end);
    else if (tag >>> 3 === 1 || tag >>> 3 === 2) scanner.expect(tag, wire.varint);
    else scanner.skip(tag, end);
  }
  return seconds * 1000 + nanos / 1_000_000;
}

/** Writes times, and keeps the encoded form of the last, because neighbours share it. */
export class TimestampWriter {
  #ms = Number.NaN;
  readonly #bytes = new Uint8Array(22);
  /** Bytes of the message. */
  length = 0;

  set(ms: number): void {
    if (ms === this.#ms) return;
    this.#ms = ms;
    let seconds = Math.floor(ms / 1000);
    let nanos = Math.round((ms - seconds * 1000) * 1_000_000);
    if (nanos >= 1_000_000_000) {
      nanos -= 1_000_000_000;
      seconds++;
    }
    let at = 0;
    if (seconds !== 0) {
      this.#bytes[at++] = 0x08;
      at = writeInt64(this.#bytes, at, seconds);
    }
    if (nanos !== 0) {
      this.#bytes[at++] = 0x10;
      at = writeInt64(this.#bytes, at, nanos);
    }
    this.length = at;
  }

  /** Returns where the next byte goes. */
  writeTo(target: Uint8Array, start: number): number {
    const bytes = this.#bytes;
    for (let n = 0; n < this.length; n++) target[start + n] = bytes[n] as number;
    return start + this.length;
  }
}
