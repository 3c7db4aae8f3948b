import { stripVTControlCharacters } from "node:util";
import type { MigrationStatus } from "@tidemark/migrate";
import { toJsonLine } from "../json.ts";
import type { Terminal } from "../terminal.ts";
import { barOf, jsonMigration, lineOf } from "./show.ts";

/** Shows how migrations go on: bars where a person looks, else a line for each thing worth one. */
export interface ProgressView {
  /** How often to look, in ms. */
  readonly everyMs: number;
  update(statuses: readonly MigrationStatus[]): Promise<void>;
}

export function createProgressView(terminal: Terminal, isJson: boolean): ProgressView {
  return terminal.isInteractive && !isJson ? bars(terminal) : lines(terminal, isJson);
}

function bars(terminal: Terminal): ProgressView {
  let drawn = 0;
  return {
    everyMs: 100,
    async update(statuses) {
      const width = statuses.reduce((max, { name }) => Math.max(max, name.length), 0);
      const shown = statuses.map((status) => barOf(status, terminal.style, terminal.columns, width));
      // Up to the first line of what is there, and over it; what is left of an old line is erased.
      const up = drawn === 0 ? "" : `\x1b[${drawn}A`;
      await terminal.write(`${up}\r${shown.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J`);
      drawn = shown.length;
    },
  };
}

/** A line whenever a state or a remark changes, and at most one a second for each migration while rows do. */
function lines(terminal: Terminal, isJson: boolean): ProgressView {
  const seen = new Map<string, { readonly state: string; readonly rows: number; readonly atMs: number }>();
  return {
    everyMs: 250,
    async update(statuses) {
      for (const status of statuses) {
        const { name, rowsDone, rowsQuarantined } = status;
        const state = JSON.stringify([status.state, status.runNo, status.throttleReason !== undefined, status.error]);
        const rows = rowsDone + rowsQuarantined;
        const nowMs = terminal.nowMs();
        const before = seen.get(name);
        const isDue = before === undefined || (rows !== before.rows && nowMs - before.atMs >= 1000);
        if (before?.state === state && !isDue) continue;
        seen.set(name, { state, rows, atMs: nowMs });
        const line = isJson ? toJsonLine(jsonMigration(status)) : `${stripVTControlCharacters(lineOf(status))}\n`;
        await terminal.write(line);
      }
    },
  };
}
