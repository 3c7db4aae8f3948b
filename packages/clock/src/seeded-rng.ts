import { ClockError } from "./clock-error.ts";
import { type Rng, WordRng } from "./rng.ts";

/** Randomness that is the same for the same seed. For tests and simulations; never for secrets. */
export interface SeededRng extends Rng {
  /**
   * An independent generator for one purpose. It depends on the seed and the label alone, not on what was drawn so far,
   * so a new draw in one place does not change what happens in another.
   */
  fork(label: string): SeededRng;
}

const mask64 = (1n << 64n) - 1n;

/** splitmix64 (Steele, Lea, Flood 2014): spreads any seed over the state of another generator. */
function splitmix64(value: bigint): bigint {
  let z = (value + 0x9e3779b97f4a7c15n) & mask64;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask64;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask64;
  return z ^ (z >> 31n);
}

/** FNV-1a over UTF-16 code units. */
function hash64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let index = 0; index < text.length; index++) {
    hash = ((hash ^ BigInt(text.charCodeAt(index))) * 0x100000001b3n) & mask64;
  }
  return hash;
}

const rotl = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** xoshiro128** (Blackman, Vigna 2018), which needs nothing wider than a 32-bit multiplication. */
class Xoshiro extends WordRng implements SeededRng {
  readonly #seed: bigint;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: bigint) {
    super();
    this.#seed = seed;
    const low = splitmix64(seed);
    const high = splitmix64(low);
    this.#a = Number(low & 0xffffffffn) | 0;
    this.#b = Number(low >> 32n) | 0;
    this.#c = Number(high & 0xffffffffn) | 0;
    this.#d = Number(high >> 32n) | 0;
    // The one state it never leaves.
    if ((this.#a | this.#b | this.#c | this.#d) === 0) this.#a = 1;
  }

  uint32(): number {
    const result = Math.imul(rotl(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotl(this.#d, 11);
    return result;
  }

  fork(label: string): SeededRng {
    return new Xoshiro(splitmix64(this.#seed ^ hash64(label)));
  }
}

/**
 * A deterministic `Rng`: equal seeds give equal draws, on every platform and in every later version.
 *
 * @throws {ClockError} `OPTIONS_INVALID` when a number seed is not a safe integer.
 */
export function seededRng(seed: number | bigint): SeededRng {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new ClockError("OPTIONS_INVALID", `seed must be a safe integer or a bigint, got ${seed}`);
  }
  return new Xoshiro(BigInt.asUintN(64, BigInt(seed)));
}
