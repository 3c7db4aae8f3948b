/** Steps of the time slider. The last one is "now". */
export const scaleSteps = 1_000;

const finestMs = 1_000;

/**
 * A slider over all of history on which recent times are far apart and old ones close together: each step back
 * multiplies the age. The right end is now, the left end the first change.
 */
export function ageOfStep(step: number, spanMs: number): number {
  if (step >= scaleSteps) return 0;
  const span = Math.max(spanMs, finestMs * 10);
  return finestMs * (span / finestMs) ** ((scaleSteps - 1 - Math.max(0, step)) / (scaleSteps - 1));
}

/** The step that is nearest to an age. */
export function stepOfAge(ageMs: number, spanMs: number): number {
  if (ageMs < finestMs) return ageMs <= 0 ? scaleSteps : scaleSteps - 1;
  const span = Math.max(spanMs, finestMs * 10);
  const share = Math.log(ageMs / finestMs) / Math.log(span / finestMs);
  return Math.round((scaleSteps - 1) * (1 - Math.min(1, share)));
}

/** Marks for the slider: round ages that lie within the span, the oldest first. */
export function scaleMarks(spanMs: number): readonly { readonly step: number; readonly text: string }[] {
  const ages: readonly (readonly [string, number])[] = [
    ["1 y", 31_536_000_000],
    ["30 d", 2_592_000_000],
    ["7 d", 604_800_000],
    ["1 d", 86_400_000],
    ["1 h", 3_600_000],
    ["10 min", 600_000],
    ["1 min", 60_000],
    ["10 s", 10_000],
  ];
  return ages.filter(([, age]) => age <= spanMs).map(([text, age]) => ({ step: stepOfAge(age, spanMs), text }));
}
