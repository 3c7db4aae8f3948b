import { execFile } from "node:child_process";
import { statSync } from "node:fs";
import { promisify } from "node:util";
import { startRole } from "../../role-process.ts";
import type { MigrationRun, MigrationsRunRole } from "../../roles/migrations-run-role.ts";
import type { MigrationsPeerRole } from "../../roles/migrations-peer-role.ts";
import type { ReportSection } from "../report.ts";
import { definitionsAt } from "./definitions-at.ts";
import { type MigrationsBenchOptions, type MigrationsBenchPart, shapeOf } from "./options.ts";
import { nothing, ownNote, type Side, type Sides, summaryOf, tableOf } from "./sides.ts";
import { sqliteGoals } from "./sqlite-goals.ts";
import { resetSqlite, sqliteSeed, wrongInSqlite } from "./sqlite-seed.ts";

const contenders = ["nothing", "single", "seed", "set", "aggregate"] as const;
const readEveryMs = 2;
const writeEveryMs = 20;
export type SqliteContender = (typeof contenders)[number];

/** The contenders, one after the other in every repetition, beside a reader and a writer in processes of their own. */
export async function benchSqlite(
  part: MigrationsBenchPart,
  options: MigrationsBenchOptions,
): Promise<ReportSection[]> {
  const shape = shapeOf(part, options.quick);
  using seed = sqliteSeed(shape, options);
  const heat = part === "sqlite-cold" ? "cold" : "warm";
  const sides: Sides<SqliteContender> = new Map(contenders.map((name) => [name, []]));
  for (let rep = 0; rep < options.reps; rep++) {
    for (const contender of contenders) {
      const side = await measure(contender, seed.file, heat, shape.parents, options);
      options.say(
        `${part}, ${rep + 1} of ${options.reps}, ${contender}: ${(side.run.tookMs / 1000).toFixed(2)} s, writer at most ${side.writer.maxMs.toFixed(1)} ms`,
      );
      sides.get(contender)?.push(side);
    }
  }
  return [
    {
      title: `SQLite, ${shape.parents} parents, ${shape.children} children, ${(statSync(seed.file).size / 1e9).toFixed(2)} GB, ${heat}`,
      notes: [
        "A reader every 2 ms and a writer every 20 ms, each in a process of its own; latency from the moment it was due.",
        ownNote,
      ],
      ...withWrong(sides),
      goals: sqliteGoals(part, heat, sides),
      raw: Object.fromEntries(sides),
    },
  ];
}

function withWrong(sides: Sides<SqliteContender>): ReturnType<typeof tableOf> {
  const { columns, rows } = tableOf(sides);
  const wrong = (name: string) =>
    Math.max(...(sides.get(name as SqliteContender) ?? []).map((side) => side.wrong ?? 0));
  return {
    columns: [...columns, "left wrong"],
    rows: rows.map((row) => ({ ...row, cells: [...row.cells, String(wrong(row.name))] })),
  };
}

async function measure(
  contender: SqliteContender,
  file: string,
  heat: "warm" | "cold",
  parents: number,
  options: MigrationsBenchOptions,
): Promise<Side> {
  resetSqlite(file);
  await (heat === "cold" ? coolDown(file) : warmUp(file));
  await using reader = await startRole<MigrationsPeerRole>("migrations-peer");
  await using writer = await startRole<MigrationsPeerRole>("migrations-peer");
  await using runner = await startRole<MigrationsRunRole>("migrations-run");
  await reader.call("open", { file, kind: "reader", everyMs: readEveryMs, parents });
  await writer.call("open", { file, kind: "writer", everyMs: writeEveryMs, parents });
  if (heat === "cold") await coolDown(file);
  await reader.call("start");
  await writer.call("start");
  const wal = watchWal(file);
  const run = await runContender(contender, file, runner, options);
  const walBytes = wal.stop();
  const side: Side = {
    run,
    walBytes,
    reader: summaryOf(await reader.call("stop"), readEveryMs),
    writer: summaryOf(await writer.call("stop"), writeEveryMs),
  };
  const wrong = contender === "nothing" ? 0 : wrongInSqlite(file);
  // The loop takes a row that the application wrote before it came for one that is done, and does not look again.
  if (wrong > 0 && contender !== "seed") throw new Error(`${contender} left ${wrong} rows wrong`);
  return { ...side, wrong };
}

async function runContender(
  contender: SqliteContender,
  file: string,
  runner: { call: Awaited<ReturnType<typeof startRole<MigrationsRunRole>>>["call"] },
  { quick }: MigrationsBenchOptions,
): Promise<MigrationRun> {
  switch (contender) {
    case "nothing":
      return nothing(quick ? 1000 : 3000);
    case "single":
    case "seed":
      return runner.call(contender, { file });
    case "set":
    case "aggregate":
      return runner.call("tidemark", {
        file,
        definitions: definitionsAt(contender === "set" ? "split-definition" : "aggregate-definition"),
      });
  }
}

/** Reads all of it, so that the system has it at hand. */
async function warmUp(file: string): Promise<void> {
  await promisify(execFile)("dd", [`if=${file}`, "of=/dev/null", "bs=4M"]);
}

/** Makes the system forget it. */
async function coolDown(file: string): Promise<void> {
  await promisify(execFile)("sync", ["-f", file]);
  await promisify(execFile)("dd", [`of=${file}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0"]);
}

function watchWal(file: string): { stop(): number } {
  let peak = 0;
  const look = () => {
    peak = Math.max(peak, statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0);
  };
  const timer = setInterval(look, 10);
  return {
    stop() {
      clearInterval(timer);
      look();
      return peak;
    },
  };
}
