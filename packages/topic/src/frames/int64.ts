// Protobuf's variable-length integers: https://protobuf.dev/programming-guides/encoding

/** An exact 64-bit integer: a number where that is exact, else a bigint. */
export type Int64 = number | bigint;

/** The one form of a value: a number up to 2^53 - 1. */
export function toInt64(value: bigint): Int64 {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Bytes of an int64 as a varint. Numbers have to be safe integers. */
export function int64Length(value: Int64): number {
  if (value < 0) return 10;
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  if (value < 0x8_0000_0000) return 5;
  if (value < 0x400_0000_0000) return 6;
  if (value < 0x2_0000_0000_0000) return 7;
  if (value < 0x100_0000_0000_0000n) return 8;
  return 9;
}

/** Writes an int64 at `start` and returns where the next byte goes. */
export function writeInt64(bytes: Uint8Array, start: number, value: Int64): number {
  let at = start;
  if (value >= 0 && value < 0x8000_0000) {
    let low = value as number;
    while (low > 0x7f) {
      bytes[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    bytes[at++] = low;
    return at;
  }
  if (typeof value === "number" && value > 0) {
    // 28 bits that 32-bit operations can handle, and the rest.
    let low = value % 0x1000_0000;
    const high = (value - low) / 0x1000_0000;
    for (let n = 0; n < 4; n++) {
      bytes[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    return writeInt64(bytes, at, high);
  }
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes[at++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  bytes[at++] = Number(rest);
  return at;
}
