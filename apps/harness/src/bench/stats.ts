/** The middle of some numbers; NaN of none. */
export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** The smallest value that at least so many percent of all are not above; NaN of none. */
export function percentile(values: ArrayLike<number>, percent: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  const index = percent === 50 && sorted.length % 2 === 0 ? undefined : Math.ceil((percent / 100) * sorted.length) - 1;
  if (index !== undefined) return sorted[Math.max(0, index)] as number;
  const half = sorted.length / 2;
  return ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}

/** The ratios of what belongs together: first to first, second to second. */
export function ratios(over: readonly number[], under: readonly number[]): number[] {
  return over.slice(0, under.length).map((value, index) => value / (under[index] as number));
}
