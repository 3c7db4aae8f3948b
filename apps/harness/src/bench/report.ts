import type { Conditions } from "./conditions.ts";

/** One line of a table. */
export interface ReportRow {
  readonly name: string;
  /** One per column of the section; undefined prints as a dash. */
  readonly cells: readonly (string | undefined)[];
}

/** One thing that was measured, with the goal it has. */
export interface ReportGoal {
  readonly name: string;
  readonly goal: string;
  readonly measured: string;
  readonly isMet: boolean;
  /** What it must not be worse than, where that is not the goal itself. */
  readonly gate?: string;
  readonly passesGate?: boolean;
}

export interface ReportSection {
  readonly title: string;
  /** What one has to know to read the numbers. */
  readonly notes: readonly string[];
  readonly columns: readonly string[];
  readonly rows: readonly ReportRow[];
  readonly goals: readonly ReportGoal[];
  /** Every number that was measured, for machines. */
  readonly raw: unknown;
}

export interface Report {
  readonly name: string;
  readonly conditions: Conditions;
  readonly sections: readonly ReportSection[];
}

/** A report as Markdown: it reads well on a terminal and can be pasted as it is. */
export function renderReport({ name, conditions, sections }: Report): string {
  const goals = sections.flatMap((section) => section.goals);
  return [
    `# ${name}`,
    "",
    ...renderConditions(conditions),
    "",
    ...sections.flatMap((section) => [...renderSection(section), ""]),
    ...(goals.length === 0 ? [] : ["## Goals", "", ...renderGoals(goals), ""]),
  ].join("\n");
}

export function renderConditions(conditions: Conditions): string[] {
  return Object.entries(conditions).map(([name, value]) => `- ${name}: ${value}`);
}

function renderSection({ title, notes, columns, rows }: ReportSection): string[] {
  return [
    `## ${title}`,
    "",
    ...notes.map((note) => `${note}`),
    ...(notes.length > 0 ? [""] : []),
    ...renderTable(
      ["", ...columns],
      rows.map(({ name, cells }) => [name, ...cells.map((cell) => cell ?? "–")]),
    ),
  ];
}

function renderGoals(goals: readonly ReportGoal[]): string[] {
  const hasGates = goals.some(({ gate }) => gate !== undefined);
  const yes = (is: boolean | undefined) => (is === undefined ? "–" : is ? "yes" : "no");
  return renderTable(
    ["", ...(hasGates ? ["gate"] : []), "goal", "measured", ...(hasGates ? ["passes"] : []), "met"],
    goals.map(({ name, gate, goal, measured, passesGate, isMet }) => [
      name,
      ...(hasGates ? [gate ?? "–"] : []),
      goal,
      measured,
      ...(hasGates ? [yes(passesGate)] : []),
      yes(isMet),
    ]),
  );
}

/** What is worse than its gate. */
export function failedGates({ sections }: Report): readonly ReportGoal[] {
  return sections.flatMap(({ goals }) => goals.filter(({ passesGate }) => passesGate === false));
}

/** The first column to the left, all others to the right. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(head), rule, ...rows.map(line)];
}

/** `98.8 k`, `1.21 M`, `640`. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
  return value.toFixed(0);
}

/** `1.24 s`, `310 ms`, `4.7 ms`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms.toFixed(1)} ms`;
}

/** In MiB. */
export function mebibytes(bytes: number | undefined): string {
  return bytes === undefined ? "–" : `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

export function percent(ratio: number): string {
  return Number.isFinite(ratio) ? `${(ratio * 100).toFixed(0)} %` : "–";
}
