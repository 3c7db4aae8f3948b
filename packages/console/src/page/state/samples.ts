/** How far back a small plot goes. */
export const plotMs = 120_000;
/** How far back the page remembers. */
export const keptMs = 900_000;

/** One reading of a number. Undefined: not known then, which is a hole in the line and never a zero. */
export interface Sample {
  readonly atMs: number;
  readonly value: number | undefined;
}

/** The readings that are remembered, with a new one. */
export function addSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const first = samples.findIndex(({ atMs }) => atMs >= sample.atMs - keptMs);
  return [...(first === -1 ? [] : samples.slice(first)), sample];
}

/** The lines of a plot, as points in a box of 1 × 1, y upwards; one line per stretch without a hole. */
export function plotLines(
  samples: readonly Sample[],
  nowMs: number,
  top: number,
): readonly (readonly (readonly [number, number])[])[] {
  const lines: (readonly [number, number])[][] = [];
  let line: (readonly [number, number])[] | undefined;
  for (const { atMs, value } of samples) {
    const x = 1 - (nowMs - atMs) / plotMs;
    if (value === undefined || x < 0) {
      line = undefined;
      continue;
    }
    if (line === undefined) {
      line = [];
      lines.push(line);
    }
    line.push([x, top === 0 ? 0 : Math.min(1, value / top)]);
  }
  return lines;
}

/** The readings of before, in front of those that were made meanwhile. */
export function withEarlier(samples: readonly Sample[], earlier: readonly Sample[]): readonly Sample[] {
  const first = samples[0]?.atMs ?? Number.POSITIVE_INFINITY;
  const older = earlier.filter(({ atMs }) => atMs < first);
  return older.length === 0 ? samples : [...older, ...samples];
}

/** What a plot of several lines is drawn from: times in seconds, and for each line a value, a hole (null) or nothing. */
export interface PlotTable {
  readonly timesSec: readonly number[];
  readonly lines: readonly (readonly (number | null | undefined)[])[];
}

/** Puts readings of different times side by side. A line is not cut where only another one was read. */
export function plotTable(lines: readonly (readonly Sample[])[], fromMs: number): PlotTable {
  const times = new Set<number>();
  for (const line of lines) for (const { atMs } of line) if (atMs >= fromMs) times.add(atMs);
  const sorted = [...times].sort((a, b) => a - b);
  const index = new Map(sorted.map((atMs, at) => [atMs, at]));
  return {
    timesSec: sorted.map((atMs) => atMs / 1_000),
    lines: lines.map((line) => {
      const values: (number | null | undefined)[] = Array.from({ length: sorted.length });
      for (const { atMs, value } of line) {
        const at = index.get(atMs);
        if (at !== undefined) values[at] = value ?? null;
      }
      return values;
    }),
  };
}

/** The highest reading since a moment; undefined: none was known. */
export function highest(samples: readonly Sample[], fromMs: number): number | undefined {
  let top: number | undefined;
  for (const { atMs, value } of samples) {
    if (atMs >= fromMs && value !== undefined && (top === undefined || value > top)) top = value;
  }
  return top;
}
