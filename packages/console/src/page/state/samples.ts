/** How far back a plot goes. */
export const plotMs = 120_000;

/** One reading of a number. Undefined: not known then, which is a hole in the line and never a zero. */
export interface Sample {
  readonly atMs: number;
  readonly value: number | undefined;
}

/** The readings of the last two minutes with a new one. */
export function addSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const first = samples.findIndex(({ atMs }) => atMs >= sample.atMs - plotMs);
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
