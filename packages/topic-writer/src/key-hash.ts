// The hashes by which other clients of topics place their keys, so that one key goes to one partition whoever writes it.

/** Murmur2 with Kafka's seed, as a signed integer: org.apache.kafka.common.utils.Utils.murmur2. */
export function murmur2(bytes: Uint8Array): number {
  const multiplier = 0x5bd1e995;
  const { length } = bytes;
  let hash = 0x9747b28c ^ length;
  const tail = length & ~3;
  for (let at = 0; at < tail; at += 4) {
    let word = Math.imul(wordAt(bytes, at), multiplier);
    word ^= word >>> 24;
    hash = Math.imul(hash, multiplier) ^ Math.imul(word, multiplier);
  }
  for (let at = length - 1; at >= tail; at--) hash ^= (bytes[at] as number) << ((at - tail) * 8);
  if (tail < length) hash = Math.imul(hash, multiplier);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, multiplier);
  return hash ^ (hash >>> 15);
}

/** A 64-bit unsigned integer in two halves, since bigints would cost more than the rest of a write. */
export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

// 0xc6a4a7935bd1e995
const multiplierHigh = 0xc6a4a793;
const multiplierLow = 0x5bd1e995;

/** MurmurHash64A with seed 0, which the clients of the service hash keys with for topics with ranges. */
export function murmurHash64(bytes: Uint8Array): Hash64 {
  const { length } = bytes;
  let { high, low } = multiply(0, length);
  const tail = length & ~7;
  for (let at = 0; at < tail; at += 8) {
    const word = multiply(wordAt(bytes, at + 4), wordAt(bytes, at));
    // x ^= x >> 47: only the lower half has anything to gain.
    const mixed = multiply(word.high, word.low ^ (word.high >>> 15));
    ({ high, low } = multiply(high ^ mixed.high, low ^ mixed.low));
  }
  if (tail < length) {
    for (let at = length - 1; at >= tail; at--) {
      const shift = (at - tail) * 8;
      if (shift < 32) low ^= (bytes[at] as number) << shift;
      else high ^= (bytes[at] as number) << (shift - 32);
    }
    ({ high, low } = multiply(high, low));
  }
  ({ high, low } = multiply(high, low ^ (high >>> 15)));
  return { high: high >>> 0, low: (low ^ (high >>> 15)) >>> 0 };
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}

/** Times the constant, modulo 2^64. */
function multiply(high: number, low: number): Hash64 {
  const lowerLeft = low & 0xffff;
  const upperLeft = low >>> 16;
  const lowerRight = multiplierLow & 0xffff;
  const upperRight = multiplierLow >>> 16;
  const bottom = lowerLeft * lowerRight;
  // Below 2^34, and so exact.
  const middle = lowerLeft * upperRight + upperLeft * lowerRight + Math.floor(bottom / 0x1_0000);
  const carried = upperLeft * upperRight + Math.floor(middle / 0x1_0000);
  return {
    high: (carried + Math.imul(high, multiplierLow) + Math.imul(low, multiplierHigh)) | 0,
    low: ((middle % 0x1_0000) << 16) | (bottom & 0xffff),
  };
}
