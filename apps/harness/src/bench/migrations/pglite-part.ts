import { startRole } from "../../role-process.ts";
import type { MigrationsPgliteRole } from "../../roles/migrations-pglite-role.ts";
import { duration, type ReportSection } from "../report.ts";
import { median, ratios } from "../stats.ts";
import { atLeastPercent, atMost } from "./goals.ts";
import type { MigrationsBenchOptions } from "./options.ts";
import { type Latencies, summaryOf } from "./sides.ts";

const everyMs = 10;
const contenders = ["nothing", "single", "set", "aggregate"] as const;

/** B4: one UPDATE of PostgreSQL in this process, and chunks of it, beside a reader of the same process. */
export async function benchPglite(options: MigrationsBenchOptions): Promise<ReportSection[]> {
  const shape = options.quick ? { parents: 5000, children: 50_000 } : { parents: 71_000, children: 1_500_000 };
  options.say(`pglite: ${shape.parents} parents, ${shape.children} children …`);
  await using role = await startRole<MigrationsPgliteRole>("migrations-pglite");
  await role.call("open", shape);
  const measured = new Map(
    contenders.map((name) => [name, [] as { tookMs: number; maxLockMs: number; reader: Latencies }[]]),
  );
  for (let rep = 0; rep < options.reps; rep++) {
    for (const contender of contenders) {
      const { run, reader, wrong } = await role.call("measure", { contender, everyMs });
      if (wrong !== 0) throw new Error(`${contender} left ${wrong} rows wrong`);
      const side = { tookMs: run.copyMs, maxLockMs: run.maxLockMs, reader: summaryOf(reader) };
      measured.get(contender)?.push(side);
      options.say(
        `pglite, ${rep + 1} of ${options.reps}, ${contender}: ${duration(side.tookMs)}, reader at most ${duration(side.reader.maxMs)}`,
      );
    }
  }
  const of = (name: (typeof contenders)[number]) => measured.get(name) ?? [];
  const maxima = (name: (typeof contenders)[number]) => of(name).map(({ reader }) => reader.maxMs);
  const times = (name: (typeof contenders)[number]) => of(name).map(({ tookMs }) => tookMs);
  return [
    {
      title: `PGlite, ${shape.parents} parents, ${shape.children} children`,
      notes: [`A reader every ${everyMs} ms in the same process, which cannot be asked while the database works.`],
      columns: ["until written", "longest transaction", "reader p50", "p99", "max"],
      rows: contenders.map((name) => ({
        name,
        cells: [
          duration(median(times(name))),
          duration(Math.max(...of(name).map(({ maxLockMs }) => maxLockMs))),
          duration(median(of(name).map(({ reader }) => reader.p50Ms))),
          duration(median(of(name).map(({ reader }) => reader.p99Ms))),
          duration(Math.max(...maxima(name))),
        ],
      })),
      goals: (["set", "aggregate"] as const).flatMap((name) => [
        atMost(
          `B4 ${name}, reader max, of that beside the single UPDATE, pglite`,
          median(ratios(maxima(name), maxima("single"))) * 100,
          1.5,
          5,
          " %",
        ),
        atLeastPercent(
          `B4 ${name}, throughput of the single UPDATE, pglite`,
          median(ratios(times("single"), times(name))),
          0.95,
          0.75,
        ),
      ]),
      raw: Object.fromEntries(measured),
    },
  ];
}
