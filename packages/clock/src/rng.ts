import { ClockError } from "./clock-error.ts";

/** Randomness as a port. */
export interface Rng {
  /** Uniform in [0, 1), with all 53 bits a number has room for. */
  float(): number;
  /** Uniform over the 2^32 values of an unsigned 32-bit integer. */
  uint32(): number;
  /**
   * A uniform integer in [minInclusive, maxExclusive), without modulo bias.
   *
   * @throws {ClockError} `OPTIONS_INVALID` when a bound is not a safe integer or the range is empty or above 2^53.
   */
  int(minInclusive: number, maxExclusive: number): number;
  bytes(length: number): Uint8Array<ArrayBuffer>;
  /** A version 4 UUID (RFC 9562) in lower case. */
  uuid(): string;
  /** @throws {ClockError} `OPTIONS_INVALID` when there is nothing to pick from. */
  pick<T>(items: readonly T[]): T;
}

/** Everything else an `Rng` does, from its 32-bit words. */
export abstract class WordRng implements Rng {
  abstract uint32(): number;

  float(): number {
    return this.#uint53() / 2 ** 53;
  }

  int(minInclusive: number, maxExclusive: number): number {
    const range = maxExclusive - minInclusive;
    if (
      !Number.isSafeInteger(minInclusive) ||
      !Number.isSafeInteger(maxExclusive) ||
      !(range > 0 && range <= 2 ** 53)
    ) {
      throw new ClockError(
        "OPTIONS_INVALID",
        `int needs safe integers minInclusive < maxExclusive at most 2^53 apart, got ${minInclusive} and ${maxExclusive}`,
      );
    }
    const isWord = range <= 2 ** 32;
    const space = isWord ? 2 ** 32 : 2 ** 53;
    // Draws at or above the last full multiple would favour the low values.
    const limit = space - (space % range);
    for (;;) {
      const draw = isWord ? this.uint32() : this.#uint53();
      if (draw < limit) return minInclusive + (draw % range);
    }
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 4) {
      let word = this.uint32();
      for (let index = at; index < Math.min(at + 4, length); index++, word >>>= 8) bytes[index] = word & 0xff;
    }
    return bytes;
  }

  uuid(): string {
    const bytes = this.bytes(16);
    // RFC 9562, section 5.4: version 4 and variant 10.
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new ClockError("OPTIONS_INVALID", "pick needs at least one item, got none");
    return items[this.int(0, items.length)] as T;
  }

  #uint53(): number {
    return (this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6);
  }
}
