import type { MigrationRun } from "../../roles/migrations-run-role.ts";
import { duration, mebibytes, type ReportGoal, type ReportSection } from "../report.ts";
import { definitionsAt } from "./definitions-at.ts";
import { atMost } from "./goals.ts";
import type { MigrationsBenchOptions } from "./options.ts";
import { besideWriters, openRows, type RunRole } from "./rows-database.ts";

const writers = 4;
const everyMs = 20;

/** Ten million narrow rows: what the engine costs where there is hardly anything to compute, and who waits for long. */
export async function benchRows(options: MigrationsBenchOptions): Promise<ReportSection[]> {
  const rows = options.quick ? 300_000 : 10_000_000;
  using database = openRows("sqlite-rows", rows, options);
  const { file } = database;
  const fresh = (work: (runner: RunRole) => Promise<MigrationRun>) => database.fresh(work);
  const definitions = definitionsAt("rows-definition");

  const single = await fresh((runner) => runner.call("lower", { file }));
  options.say(`sqlite-rows, one UPDATE: ${duration(single.tookMs)}`);
  const eager = await fresh((runner) => runner.call("tidemark", { file, definitions, isEager: true }));
  options.say(`sqlite-rows, without rests: ${duration(eager.tookMs)}`);
  const perChunk = Math.ceil(rows / eager.chunks);
  const steps = await fresh((runner) => runner.call("steps", { file, rows: perChunk }));
  options.say(`sqlite-rows, bare steps of ${perChunk} rows: ${duration(steps.tookMs)}`);
  const { run: gentle, waits } = await besideWriters(database, { writers, everyMs, definitions });
  options.say(`sqlite-rows, as a definition that says nothing, beside ${writers} writers: ${duration(gentle.tookMs)}`);
  const longestWaitMs = Math.max(...waits.map(({ maxMs }) => maxMs));
  const longestOwnWaitMs = Math.max(...waits.map(({ ownMaxMs }) => ownMaxMs));
  const lineOf = (name: string, run: MigrationRun, wait?: number, own?: number) => ({
    name,
    cells: [
      duration(run.tookMs),
      duration(run.copyMs),
      String(run.chunks),
      duration(run.maxLockMs),
      duration(run.loopMaxMs),
      wait === undefined ? undefined : duration(wait),
      own === undefined ? undefined : duration(own),
      mebibytes(run.peakRssBytes),
      Number.isNaN(run.growthBytes) ? undefined : mebibytes(run.growthBytes),
    ],
  });
  return [
    {
      title: `SQLite, ${rows} rows, a column of the row itself`,
      notes: [
        `Once each. Gentle: as a definition that says nothing, beside ${writers} processes that write every ${everyMs} ms.`,
        "Growth: of the resident memory, from a tenth of the rows to all of them.",
      ],
      columns: [
        "until done",
        "until written",
        "chunks",
        "longest lock",
        "loop max",
        "wait max",
        "wait max*",
        "RSS",
        "growth",
      ],
      rows: [
        lineOf("one UPDATE", single),
        lineOf(`bare steps of ${perChunk}`, steps),
        lineOf("no rests", eager),
        lineOf("gentle", gentle, longestWaitMs, longestOwnWaitMs),
      ],
      goals: goalsOf({ single, steps, eager, gentle, longestWaitMs, longestOwnWaitMs }),
      raw: { single, steps, eager, gentle, waits },
    },
  ];
}

interface Measured {
  readonly single: MigrationRun;
  readonly steps: MigrationRun;
  readonly eager: MigrationRun;
  readonly gentle: MigrationRun;
  readonly longestWaitMs: number;
  readonly longestOwnWaitMs: number;
}

function goalsOf({ single, steps, eager, gentle, longestWaitMs, longestOwnWaitMs }: Measured): ReportGoal[] {
  const title = (id: string, what: string) => `${id} ${what}, sqlite-rows`;
  return [
    atMost(title("M1", "event loop, max"), Math.max(eager.loopMaxMs, gentle.loopMaxMs), 50, 100),
    atMost(title("M1", "event loop, p99"), Math.max(eager.loopP99Ms, gentle.loopP99Ms), 20, 40),
    // Ten times the target of a chunk.
    atMost(title("M4", `longest wait of ${writers} writers`), longestWaitMs, 100, 300),
    atMost(title("M4", `longest wait* of ${writers} writers`), longestOwnWaitMs, 100, 300),
    atMost(title("M6", "no rests, time of the single UPDATE"), eager.copyMs / single.tookMs, 1.6, 2.5, " ×"),
    atMost(title("M6", "gentle, time of the single UPDATE"), gentle.copyMs / single.tookMs, 3.5, 5, " ×"),
    atMost(title("M11", "growth of memory"), Math.max(eager.growthBytes, gentle.growthBytes) / 2 ** 20, 5, 20, " MiB"),
    atMost(title("M14", "time of bare steps with a cursor"), eager.copyMs / steps.copyMs, 1.02, 1.3, " ×"),
    atMost(
      title("M15", "verification, of the time of copying"),
      (eager.tookMs - eager.copyMs) / eager.copyMs,
      0.15,
      0.5,
      " ×",
    ),
  ];
}
