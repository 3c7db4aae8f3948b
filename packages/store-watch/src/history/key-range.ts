import type { KeyRange } from "../history-types.ts";

/** The keys from `start`, inclusive, to `end`, exclusive; without `end` to the last. */
export interface KeyBounds {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

export function boundsOf(range: KeyRange): KeyBounds {
  const { prefix, start, end } = range;
  const low = prefix ?? new Uint8Array();
  const high = prefix === undefined ? undefined : afterPrefix(prefix);
  return {
    start: start === undefined || Buffer.compare(low, start) > 0 ? low : start,
    end: end === undefined || (high !== undefined && Buffer.compare(high, end) < 0) ? high : end,
  };
}

/** The smallest key after this one. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** The smallest key after all that start so; undefined when there is none. */
function afterPrefix(prefix: Uint8Array): Uint8Array | undefined {
  for (let length = prefix.length; length > 0; length--) {
    const last = prefix[length - 1] as number;
    if (last === 0xff) continue;
    const next = prefix.slice(0, length);
    next[length - 1] = last + 1;
    return next;
  }
  return undefined;
}
