import type { ReportGoal } from "../report.ts";
import { median, ratios } from "../stats.ts";

interface RatioGoal {
  readonly name: string;
  readonly over: readonly number[];
  readonly under: readonly number[];
  readonly gate: number;
  readonly goal: number;
  /** @default "at least" */
  readonly bound?: "at least" | "at most";
  /** @default "times" */
  readonly unit?: "times" | "percent";
}

/** A goal about the median of the ratios within each repetition. */
export function ratioGoal({
  name,
  over,
  under,
  gate,
  goal,
  bound = "at least",
  unit = "times",
}: RatioGoal): ReportGoal {
  const ratio = median(ratios(over, under));
  const sign = bound === "at least" ? "≥" : "≤";
  const show = (value: number) => (unit === "percent" ? `${(value * 100).toFixed(0)} %` : `${times(value)} ×`);
  const reaches = (limit: number) => (bound === "at least" ? ratio >= limit : ratio <= limit);
  return {
    name,
    gate: `${sign} ${show(gate)}`,
    goal: `${sign} ${show(goal)}`,
    measured: Number.isFinite(ratio) ? show(ratio) : "not measured",
    isMet: reaches(goal),
    passesGate: reaches(gate),
  };
}

function times(value: number): string {
  return value >= 100
    ? value.toFixed(0)
    : value >= 10
      ? value.toFixed(1).replace(/\.0$/, "")
      : value.toFixed(2).replace(/\.?0+$/, "");
}
