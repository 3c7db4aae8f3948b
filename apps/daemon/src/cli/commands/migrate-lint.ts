import { existsSync } from "node:fs";
import { DaemonError } from "../../daemon-error.ts";
import { openDatabaseAt, type OpenedDatabase, parseDatabaseUrl } from "../migrate/database-url.ts";
import { toldError } from "../migrate/session.ts";
import { createTerminal } from "../terminal.ts";

interface LintFlags {
  readonly database?: string;
  readonly dialect?: "sqlite" | "postgresql" | "mysql";
  readonly format?: "text" | "json" | "sarif" | "github";
  readonly json?: boolean;
}

/** `tidemark migrate lint` */
export async function lint(given: readonly string[], flags: LintFlags): Promise<number> {
  const { format = flags.json === true ? "json" : "text" } = flags;
  if (flags.json === true && format !== "json") {
    throw new DaemonError("USAGE", `--json and --format ${format} exclude each other.`);
  }
  const paths = given.length > 0 ? given : ["migrations", "drizzle"].filter((path) => existsSync(path));
  if (paths.length === 0) {
    throw new DaemonError("USAGE", "Expected PATHS to look through: there is no ./migrations and no ./drizzle.", {
      fix: "For example: tidemark migrate lint ./migrations ./drizzle",
    });
  }
  const terminal = createTerminal();
  let opened: OpenedDatabase | undefined;
  // Not TIDEMARK_DATABASE: what a gate finds must not depend on where it runs.
  if (flags.database !== undefined) opened = await openDatabaseAt(parseDatabaseUrl(flags.database, {}));
  const { MigrateError } = await import("@tidemark/migrate");
  const { githubOf, lintMigrations, sarifOf, textOf } = await import("@tidemark/migrate/lint");
  try {
    const report = await lintMigrations({
      paths,
      ...(opened === undefined ? {} : { database: opened.database }),
      ...(flags.dialect === undefined ? {} : { dialect: flags.dialect }),
    });
    const formats = {
      text: () => textOf(report),
      json: () => report.findings.map((finding) => `${JSON.stringify(finding)}\n`).join(""),
      sarif: () => sarifOf(report),
      github: () => githubOf(report),
    };
    await terminal.write(formats[format]());
    return report.findings.length === 0 ? 0 : 1;
  } catch (error) {
    throw MigrateError.is(error) ? toldError(error) : error;
  } finally {
    await opened?.close();
  }
}
