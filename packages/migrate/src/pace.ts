/** How much of the time is left to others. */
export interface PaceOptions {
  /**
   * Rest for each millisecond of work, on average: 1 works half of the time, 0 never rests longer than `minGapMs`.
   * @default 1
   */
  readonly nice?: number;
  /**
   * The shortest rest between two chunks, in milliseconds. SQLite's waiting writers look again after 1, 2, 5, 10, … ms,
   * so a gap that nobody can hit is no gap.
   * @default 2
   */
  readonly minGapMs?: number;
  /**
   * The longest rest after one chunk, in milliseconds.
   * @default 1000
   */
  readonly maxGapMs?: number;
}

/** The defaults of `PaceOptions`. */
export const paceDefaults = { nice: 1, minGapMs: 2, maxGapMs: 1000 } as const satisfies Required<PaceOptions>;

/** The rest after a chunk that held its locks for `spentMs`. */
export function gapAfter(spentMs: number, { nice, minGapMs, maxGapMs }: Required<PaceOptions>): number {
  const wanted = Number.isFinite(spentMs) ? Math.max(spentMs, 0) * nice : maxGapMs;
  return Math.min(Math.max(wanted, minGapMs), Math.max(maxGapMs, minGapMs));
}

/**
 * SQLite's waiting writers look again every 25 ms until they have waited for 128 ms, and then every 50 and 100 ms: whoever
 * comes that far may meet a chunk each time. A rest that is longer than 25 ms lets everybody in who has not.
 */
const openMs = 26;
/** The part of a rest that is kept for such a one. */
const keptShare = 0.4;

/**
 * The rest after a chunk, and what is kept for a longer one: rests are on average what `gapAfter` says, but now and then
 * one is long enough for everybody who waits.
 */
export function gapInTurn(
  spentMs: number,
  options: Required<PaceOptions>,
  keptMs: number,
): readonly [gapMs: number, keptMs: number] {
  const wanted = gapAfter(spentMs, options);
  if (options.maxGapMs < openMs) return [wanted, 0];
  if (keptMs + wanted >= openMs) return [Math.max(Math.min(keptMs + wanted, options.maxGapMs), wanted), 0];
  const gapMs = Math.max(wanted * (1 - keptShare), Math.min(options.minGapMs, wanted));
  return [gapMs, keptMs + wanted - gapMs];
}

/** The wait before a chunk is tried again after `failures` in a row: 10 ms, doubled each time, at most 2 s. */
export function retryDelayMs(failures: number, random: number): number {
  const ceiling = Math.min(10 * 2 ** Math.min(failures, 20), 2000);
  return ceiling / 2 + (ceiling / 2) * random;
}

/**
 * How long a chunk that was prepared without a lock holds it, of the time a chunk has for both. Those who wait for SQLite's
 * look again after 1, 3, 8 and 18 ms, so a lock of 2 ms costs them 3 or 8, and one of 10 ms costs them 18.
 */
export function lockTargetMs(targetMs: number): number {
  return targetMs / 5;
}

/**
 * The shortest rest behind such a lock. Whoever looked when it was 1 ms from its end looks again 2 ms after that, and should
 * find it free even if that is late.
 */
export function lockGapMs(minGapMs: number): number {
  return minGapMs * 2;
}
