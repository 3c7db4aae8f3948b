// Protobuf's variable-length integers, written from JavaScript numbers: https://protobuf.dev/programming-guides/encoding

import type { SeqNo } from "./seq-no.ts";

/** Bytes of an unsigned number below 2^53, or of a bigint below 2^63. */
export function varintLength(value: SeqNo): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  if (value < 0x8_0000_0000) return 5;
  let length = 5;
  for (let rest = BigInt(value) >> 35n; rest > 0n; rest >>= 7n) length++;
  return length;
}

/** Returns where the next byte goes. */
export function writeVarint(bytes: Uint8Array, start: number, value: SeqNo): number {
  let at = start;
  if (value < 0x8000_0000) {
    let low = value as number;
    while (low > 0x7f) {
      bytes[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    bytes[at++] = low;
    return at;
  }
  if (typeof value === "number") {
    // 28 bits that 32-bit operations can handle, and the rest.
    let low = value % 0x1000_0000;
    const high = (value - low) / 0x1000_0000;
    for (let n = 0; n < 4; n++) {
      bytes[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    return writeVarint(bytes, at, high);
  }
  let rest = value;
  while (rest > 0x7fn) {
    bytes[at++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  bytes[at++] = Number(rest);
  return at;
}
