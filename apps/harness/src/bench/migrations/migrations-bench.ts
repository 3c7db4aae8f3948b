import { conditionsOf } from "../conditions.ts";
import type { Report, ReportSection } from "../report.ts";
import type { MigrationsBenchOptions } from "./options.ts";
import { benchServer } from "./server-part.ts";
import { benchSqlite } from "./sqlite-part.ts";

/** Migrations: one UPDATE, the seed's loop and ours, beside others who read and write. */
export async function benchMigrations(options: MigrationsBenchOptions): Promise<Report> {
  const conditions = await conditionsOf({
    processes: "the migration, a reader and a writer, each in its own; new for every run",
    repetitions: `${options.reps}, interleaved; times are medians, maxima the highest of all; goals are about medians of what each repetition has${options.quick ? "; quick sizes, not for comparison" : ""}`,
  });
  const sections: ReportSection[] = [];
  for (const part of options.parts) {
    sections.push(
      ...(await (part === "postgres" || part === "mariadb" ? benchServer(part, options) : benchSqlite(part, options))),
    );
  }
  return { name: "migrations", conditions, sections };
}
