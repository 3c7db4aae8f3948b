import { conditionsOf } from "../conditions.ts";
import type { Report, ReportSection } from "../report.ts";
import type { MigrationsBenchOptions, MigrationsBenchPart } from "./options.ts";

/** Migrations: one UPDATE, the seed's loop and ours, beside others who read and write. */
export async function benchMigrations(options: MigrationsBenchOptions): Promise<Report> {
  const conditions = await conditionsOf({
    processes: "the migration, a reader and a writer, each in its own; new for every run",
    repetitions: `${options.reps}, interleaved; times are medians, maxima the highest of all; goals are about medians of what each repetition has${options.quick ? "; quick sizes, not for comparison" : ""}`,
  });
  const sections: ReportSection[] = [];
  for (const part of options.parts) sections.push(...(await benchPart(part, options)));
  return { name: "migrations", conditions, sections: [...sections, elsewhere] };
}

async function benchPart(part: MigrationsBenchPart, options: MigrationsBenchOptions): Promise<ReportSection[]> {
  switch (part) {
    case "postgres":
    case "mariadb": {
      const { benchServer } = await import("./server-part.ts");
      return benchServer(part, options);
    }
    case "pglite": {
      const { benchPglite } = await import("./pglite-part.ts");
      return benchPglite(options);
    }
    case "sqlite-rows": {
      const { benchRows } = await import("./rows-part.ts");
      return benchRows(options);
    }
    case "sqlite-long": {
      const { benchLong } = await import("./long-part.ts");
      return benchLong(options);
    }
    default: {
      const { benchSqlite } = await import("./sqlite-part.ts");
      return benchSqlite(part, options);
    }
  }
}

/** Goals that are no time of a database beside others, and what shows them instead. */
const elsewhere: ReportSection = {
  title: "Shown elsewhere",
  notes: [],
  columns: ["by"],
  rows: [
    ["M7, a reader that does not end", "migrate/test/wal.test.ts"],
    ["M9, M10, M17, killed and stopped", "migrate/test/crash*.test.ts; TIDEMARK_LONG=1 for all rounds"],
    ["M12, servo", "migrate/test/servo.model.test.ts"],
    ["M13, what is shown is true", "migrate/test/rate.test.ts, lease.test.ts; status/test"],
    ["M15, one wrong row is found", "migrate/test/verify.test.ts"],
    ["M16, start-up", "npm run bench -- start-up"],
    ["M18, lint", "migrate/test/lint; false-positives.test.ts counts"],
    ["M19, fakes", "migrate/test/adversaries.test.ts; status/test/adversaries.test.ts"],
  ].map(([name = "", by]) => ({ name, cells: [by] })),
  goals: [],
  raw: undefined,
};
