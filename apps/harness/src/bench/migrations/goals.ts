import type { ReportGoal } from "../report.ts";

export function atMost(name: string, value: number, goal: number, gate: number, unit = " ms"): ReportGoal {
  const show = (each: number) => `${each < 10 ? each.toFixed(2).replace(/\.?0+$/, "") : each.toFixed(0)}${unit}`;
  return {
    name,
    goal: `≤ ${show(goal)}`,
    gate: `≤ ${show(gate)}`,
    measured: Number.isFinite(value) ? show(value) : "not measured",
    isMet: value <= goal,
    passesGate: value <= gate,
  };
}

export function atLeastPercent(name: string, ratio: number, goal: number, gate: number): ReportGoal {
  const show = (each: number) => `${(each * 100).toFixed(0)} %`;
  return {
    name,
    goal: `≥ ${show(goal)}`,
    gate: `≥ ${show(gate)}`,
    measured: Number.isFinite(ratio) ? show(ratio) : "not measured",
    isMet: ratio >= goal,
    passesGate: ratio >= gate,
  };
}
