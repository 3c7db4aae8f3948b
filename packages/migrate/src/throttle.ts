/** What one signal says. */
export interface SignalReading {
  /** Which signal. */
  readonly name: string;
  /** 0: idle, 1: as much as is bearable, above: too much. Undefined: it could not be read. */
  readonly utilisation: number | undefined;
  /** For people: what was measured, such as "WAL is 71 MB, limit 64 MB". */
  readonly reason: string;
  /** When it was read, on the monotonic clock. */
  readonly atMs: number;
}

export interface ThrottleOptions {
  /**
   * A throttled run goes on when every signal is at or below this, so that it does not flap.
   * @default 0.8
   */
  readonly resumeBelow?: number;
  /**
   * A reading older than this is no reading, in milliseconds.
   * @default 10_000
   */
  readonly staleAfterMs?: number;
}

/** The defaults of `ThrottleOptions`. */
export const throttleDefaults = { resumeBelow: 0.8, staleAfterMs: 10_000 } as const satisfies Required<ThrottleOptions>;

export interface ThrottleVerdict {
  readonly isThrottled: boolean;
  /** What holds it back, the worst first; undefined when nothing does. */
  readonly reason: string | undefined;
}

/**
 * Any one signal above 1 stops the run, and it goes on once all are at most `resumeBelow`. A signal that cannot be read
 * stops it too: nobody knows whom it would hurt.
 */
export function combineSignals(
  readings: readonly SignalReading[],
  wasThrottled: boolean,
  nowMs: number,
  { resumeBelow, staleAfterMs }: Required<ThrottleOptions>,
): ThrottleVerdict {
  const limit = wasThrottled ? resumeBelow : 1;
  const against: { readonly weight: number; readonly text: string }[] = [];
  for (const { name, utilisation, reason, atMs } of readings) {
    if (utilisation === undefined || Number.isNaN(utilisation)) {
      against.push({ weight: Number.POSITIVE_INFINITY, text: `${name} cannot be read: ${reason}` });
    } else if (nowMs - atMs > staleAfterMs) {
      const text = `${name} was last read ${Math.round(nowMs - atMs)} ms ago`;
      against.push({ weight: Number.POSITIVE_INFINITY, text });
    } else if (utilisation > limit) {
      against.push({ weight: utilisation, text: `${name}: ${reason}` });
    }
  }
  if (against.length === 0) return { isThrottled: false, reason: undefined };
  against.sort((a, b) => b.weight - a.weight);
  return { isThrottled: true, reason: against.map(({ text }) => text).join("; ") };
}
