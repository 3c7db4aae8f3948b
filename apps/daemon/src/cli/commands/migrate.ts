import { setTimeout as sleep } from "node:timers/promises";
import type { MigrationStatus } from "@tidemark/migrate";
import { DaemonError } from "../../daemon-error.ts";
import { formatCount, formatDuration } from "../format/time.ts";
import { toJsonLine } from "../json.ts";
import { createProgressView, type ProgressView } from "../migrate/progress-view.ts";
import {
  definitionsAt,
  definitionsIfAny,
  type MigrateFlags,
  type MigrateSession,
  withDatabase,
} from "../migrate/session.ts";
import { countsOf, jsonMigration, remarkOf, tableOf } from "../migrate/show.ts";
import type { Terminal } from "../terminal.ts";

/** `tidemark migrate list` */
export function list(flags: MigrateFlags): Promise<number> {
  return withDatabase(flags, async ({ terminal, reader, opened }) => {
    const statuses = await reader.list();
    if (flags.json === true) await terminal.write(statuses.map((each) => toJsonLine(jsonMigration(each))).join(""));
    else if (statuses.length > 0) await terminal.write(tableOf(statuses, terminal.style));
    else terminal.note(`No migration was ever run in ${opened.address.label}. Begin with \`tidemark migrate run\`.`);
    return 0;
  });
}

/** `tidemark migrate run` */
export function run(flags: MigrateFlags): Promise<number> {
  const definitions = definitionsAt(flags);
  return withDatabase(flags, async ({ terminal, open }) => {
    const migrations = await open(definitions);
    const view = createProgressView(terminal, flags.json === true);
    const isOver = new AbortController();
    const names = new Set(
      (await migrations.list()).filter(({ isDrifted }) => isDrifted !== undefined).map(({ name }) => name),
    );
    const own = async () => (await migrations.list()).filter(({ name }) => names.has(name));
    const showing = show(view, own, isOver.signal);
    // Who cannot show goes on working; it comes out below.
    showing.catch(() => {});
    try {
      await migrations.run({ signal: terminal.signal });
    } finally {
      isOver.abort();
    }
    await showing;
    // Exact, whatever the last look showed.
    const last = await own();
    await view.update(last);
    return conclude(last, terminal, flags);
  });
}

/** `tidemark migrate watch` */
export function watch(flags: MigrateFlags): Promise<number> {
  return withDatabase(flags, async ({ terminal, reader, opened }) => {
    const view = createProgressView(terminal, flags.json === true);
    const isOver = new AbortController();
    const signal = AbortSignal.any([isOver.signal, terminal.signal]);
    let last: readonly MigrationStatus[] = [];
    await show(
      view,
      async () => {
        last = await reader.list();
        if (last.every(isOverNow)) isOver.abort();
        return last;
      },
      signal,
    );
    terminal.signal.throwIfAborted();
    if (last.length === 0) terminal.note(`No migration was ever run in ${opened.address.label}.`);
    return conclude(last, terminal, flags);
  });
}

const isOverNow = ({ state }: MigrationStatus) => state === "done" || state === "failed" || state === "cancelled";

/** Looks and shows until the signal aborts, and rejects when it cannot look. */
async function show(
  view: ProgressView,
  read: () => Promise<readonly MigrationStatus[]>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await view.update(await read());
    } catch (error) {
      // Somebody was in the way of this look; the next one is soon.
      if (!(error instanceof Error && "retryable" in error && error.retryable === true)) throw error;
    }
    await sleep(view.everyMs, undefined, { signal }).catch(() => undefined);
  }
}

function conclude(statuses: readonly MigrationStatus[], terminal: Terminal, flags: MigrateFlags): number {
  const open = statuses.filter(({ state }) => state !== "done");
  if (open.length === 0) return 0;
  if (flags.json !== true) {
    for (const status of open) {
      const remark = remarkOf(status);
      terminal.note(`${status.name} is ${status.state}${remark === "" ? "" : `: ${remark}`}. ${adviceFor(status)}`);
    }
  }
  return 1;
}

function adviceFor({ state, name, error }: MigrationStatus): string {
  switch (state) {
    case "failed":
      return error?.code === "QUARANTINED"
        ? `Correct the rows in quarantine, then \`tidemark migrate retry ${name}\` and run again.`
        : `Once the cause is gone, \`tidemark migrate retry ${name}\` and run again.`;
    case "cancelled":
      return `\`tidemark migrate retry ${name}\` lets it go on where it stopped.`;
    case "paused":
      return `\`tidemark migrate resume ${name}\` lets it go on.`;
    case "stalled":
      return "Its worker is gone; `tidemark migrate run` takes it over.";
    default:
      return "`tidemark migrate run` goes on with it.";
  }
}

type Command = "pause" | "resume" | "cancel" | "retry";

const command =
  (type: Command) =>
  (name: string, flags: MigrateFlags & { readonly from?: string }): Promise<number> => {
    const { from = "cursor" } = flags;
    if (from !== "cursor" && from !== "start") {
      throw new DaemonError("USAGE", `--from must be cursor or start, got ${JSON.stringify(from)}.`);
    }
    return withDatabase(flags, async (session) => {
      await session.find(name);
      // A retry takes the definition as it is here; the others need none.
      const migrations = await session.open(type === "retry" ? definitionsIfAny(flags) : undefined);
      if (type === "retry") await migrations.retry(name, { from });
      else await migrations[type](name);
      return told(session, name, flags);
    });
  };

async function told({ terminal, find }: MigrateSession, name: string, flags: MigrateFlags): Promise<number> {
  const status = await find(name);
  if (flags.json === true) await terminal.write(toJsonLine(jsonMigration(status)));
  else await terminal.write(`${name} is ${status.state} at ${countsOf(status)}\n`);
  return 0;
}

export const pause = command("pause");
export const resume = command("resume");
export const cancel = command("cancel");
export const retry = command("retry");

/** `tidemark migrate verify` */
export function verify(names: readonly string[], flags: MigrateFlags): Promise<number> {
  const path = definitionsAt(flags);
  return withDatabase(flags, async ({ terminal, opened, find }) => {
    const { loadDefinitions, openDatabase, verifyAgain } = await import("@tidemark/migrate/internal");
    const { systemClock } = await import("@tidemark/clock");
    const definitions = await loadDefinitions(path);
    const chosen = names.length === 0 ? definitions.map(({ name }) => name) : names;
    const database = await openDatabase(opened.database, systemClock);
    let exitCode = 0;
    try {
      for (const name of chosen) {
        const definition = definitions.find((each) => each.name === name);
        if (definition === undefined) {
          throw new DaemonError("NOT_FOUND", `${path} has no definition "${name}".`, {
            fix: `It has: ${definitions.map((each) => each.name).join(", ")}.`,
          });
        }
        await find(name);
        const report = await verifyAgain(database, definition, { signal: terminal.signal });
        if (report.verdict === "wrong") exitCode = 1;
        if (flags.json === true) {
          await terminal.write(toJsonLine({ ...report, problem: report.problem ?? null }));
          continue;
        }
        const { style } = terminal;
        const verdict = style(
          report.verdict === "right" ? "green" : report.verdict === "wrong" ? "red" : "yellow",
          report.verdict,
        );
        const problem = report.problem === undefined ? "" : `: ${report.problem}`;
        await terminal.write(`${name}  ${verdict}${problem}  (${formatDuration(report.tookMs)})\n`);
      }
    } finally {
      await database.connection.close();
    }
    if (flags.json !== true && chosen.length > 1) terminal.note(`${formatCount(chosen.length, "migration")} verified.`);
    return exitCode;
  });
}
