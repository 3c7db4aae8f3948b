/** How many keys a page may have. */
export interface PageLimits {
  /** Keys of the first page, when nothing is known about their size. */
  readonly firstKeys: number;
  readonly maxKeys: number;
  /** What a page should come to. */
  readonly targetBytes: number;
}

/** At most so many times the last page's keys: the keys to come may be larger than the ones before. */
const growth = 4;

/** Keys of the next page after one of `keys` keys that came to `bytes`. */
export function nextPageLimit(limits: PageLimits, limit: number, keys: number, bytes: number): number {
  if (keys === 0) return limit;
  const fitting = Math.floor(limits.targetBytes / Math.max(1, bytes / keys));
  return Math.max(1, Math.min(fitting, limit * growth, limits.maxKeys));
}

/** Keys to try after a page that was too large to be taken. */
export function smallerPageLimit(limit: number): number {
  return Math.max(1, Math.floor(limit / 8));
}
