import { duration, mebibytes, type ReportSection } from "../report.ts";
import { definitionsAt } from "./definitions-at.ts";
import { atMost } from "./goals.ts";
import type { MigrationsBenchOptions } from "./options.ts";
import { besideWriters, openRows } from "./rows-database.ts";

const writers = 4;
const everyMs = 20;

/** A hundred million rows, ten minutes beside others: what grows, and whoever waits once. */
export async function benchLong(options: MigrationsBenchOptions): Promise<ReportSection[]> {
  const rows = options.quick ? 300_000 : 100_000_000;
  using database = openRows("sqlite-long", rows, options);
  const { file } = database;
  const eager = await database.fresh((runner) =>
    runner.call("tidemark", { file, definitions: definitionsAt("rows-definition"), isEager: true }),
  );
  options.say(`sqlite-long, without rests: ${duration(eager.tookMs)}`);
  const { run: gentle, waits } = await besideWriters(database, {
    writers,
    everyMs,
    definitions: definitionsAt("long-definition"),
  });
  options.say(`sqlite-long, ten times beside ${writers} writers: ${duration(gentle.tookMs)}`);
  const longestWaitMs = Math.max(...waits.map(({ maxMs }) => maxMs));
  const lineOf = (name: string, run: typeof eager, wait?: number) => ({
    name,
    cells: [
      duration(run.tookMs),
      String(run.chunks),
      duration(run.maxLockMs),
      duration(run.loopMaxMs),
      wait === undefined ? undefined : duration(wait),
      mebibytes(run.peakRssBytes),
      mebibytes(run.growthBytes),
    ],
  });
  const title = (id: string, what: string) => `${id} ${what}, sqlite-long`;
  return [
    {
      title: `SQLite, ${rows} rows, for long`,
      notes: [
        `Once each. Gentle: ten migrations one behind the other, as definitions that say nothing, beside ${writers} processes that write every ${everyMs} ms.`,
        "Growth: of the resident memory, from a tenth of the rows of the first to all of them of the last.",
      ],
      columns: ["until done", "chunks", "longest lock", "loop max", "wait max", "RSS", "growth"],
      rows: [lineOf("no rests", eager), lineOf("gentle", gentle, longestWaitMs)],
      goals: [
        // Ten times the target of a chunk.
        atMost(title("M4", `longest wait of ${writers} writers`), longestWaitMs, 100, 300),
        atMost(title("M11", "growth of memory, no rests"), eager.growthBytes / 2 ** 20, 5, 20, " MiB"),
        atMost(title("M11", "growth of memory, gentle"), gentle.growthBytes / 2 ** 20, 5, 20, " MiB"),
      ],
      raw: { eager, gentle, waits },
    },
  ];
}
