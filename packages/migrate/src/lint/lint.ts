import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Clock, systemClock } from "@tidemark/clock";
import { getTableName } from "drizzle-orm";
import type { Migration } from "../definition.ts";
import { loadDefinitions } from "../load-definitions.ts";
import { MigrateError } from "../migrate-error.ts";
import { openDatabase, type OpenMigrationsOptions } from "../open-migrations.ts";
import { annotationOf, type Annotation } from "./annotations.ts";
import type { LintFinding } from "./finding.ts";
import { createOf, lintDefinition } from "./lint-definition.ts";
import { lintSql } from "./lint-sql.ts";
import { type Planner, schemaOf, serverPlanner, sqlitePlanner } from "./planner.ts";

type DialectName = "sqlite" | "postgresql" | "mysql";

export interface LintOptions {
  /** Modules of definitions, files of SQL, and folders of either; folders of drizzle-kit say their dialect themselves. */
  readonly paths: readonly string[];
  /**
   * A database with the tables and indexes there will be; how many rows it has does not matter, and nothing is written.
   * @default for SQLite a database in memory, made of the files of SQL and of the definitions' own tables
   */
  readonly database?: OpenMigrationsOptions["database"];
  /** Of files of SQL in a folder that does not say it. @default that of the database */
  readonly dialect?: DialectName;
  /** What evidence is too old is measured by. @default the machine's */
  readonly clock?: Clock;
}

export interface LintReport {
  readonly findings: readonly LintFinding[];
  readonly files: number;
  readonly definitions: number;
}

/**
 * Looks for what would block, scan, or not end: in definitions, by planning the statements of their chunks against large
 * tables; in SQL, by its words and plans.
 *
 * @throws {MigrateError} `OPTIONS_INVALID` when a path is not there or a dialect is not known, `DEFINITIONS_INVALID`
 */
export async function lintMigrations(options: LintOptions): Promise<LintReport> {
  const { paths, database, clock = systemClock } = options;
  const nowMs = clock.now();
  const files = (await Promise.all(paths.map(filesAt))).flat();
  const sqlFiles = files.filter((file) => file.endsWith(".sql"));
  const modules = files.filter((file) => !file.endsWith(".sql"));
  const opened = database === undefined ? undefined : await openDatabase(database, clock);
  let planner: Planner | undefined;
  const findings: LintFinding[] = [];
  let definitionCount = 0;
  try {
    const loaded = new Map<string, readonly Migration[]>();
    for (const file of modules) {
      loaded.set(
        file,
        await loadDefinitions(file).catch((error: unknown) => {
          // A schema, or what they share.
          if (MigrateError.is(error) && error.message.includes("exports no definition")) return [];
          throw error;
        }),
      );
    }
    if (opened !== undefined && opened.dialect.name !== "sqlite") planner = serverPlanner(opened);
    else planner = await sqlitePlanner(opened === undefined ? [] : await schemaOf(opened));
    for (const file of sqlFiles) {
      const dialect = options.dialect ?? (await dialectOf(file)) ?? opened?.dialect.name;
      if (dialect === undefined) {
        throw new MigrateError(
          "OPTIONS_INVALID",
          `the dialect of ${file} is not known: its folder has no meta/_journal.json; name it`,
        );
      }
      const fits = planner.dialect.name === dialect;
      findings.push(
        ...(await lintSql(
          { file, text: await readFile(file, "utf8") },
          { dialect, planner: fits ? planner : undefined, isBuilt: fits && opened === undefined, nowMs },
        )),
      );
    }
    const known = new Set<string>();
    for (const [file, definitions] of loaded) {
      definitionCount += definitions.length;
      for (const migration of definitions) {
        const name = getTableName(migration.table);
        if (opened !== undefined || known.has(name)) continue;
        known.add(name);
        for (const statement of createOf(migration) ?? []) {
          try {
            planner.apply(statement);
          } catch {
            // The files of SQL have made it already.
          }
        }
      }
      findings.push(...(await lintModule(file, definitions, planner, nowMs)));
    }
  } finally {
    await planner?.close();
    if (planner === undefined || planner.dialect.name === "sqlite") await opened?.connection.close();
  }
  const order = (finding: LintFinding) => files.indexOf(finding.file);
  return {
    findings: findings.toSorted((a, b) => order(a) - order(b) || a.line - b.line),
    files: files.length,
    definitions: definitionCount,
  };
}

async function lintModule(
  file: string,
  definitions: readonly Migration[],
  planner: Planner,
  nowMs: number,
): Promise<LintFinding[]> {
  if (definitions.length === 0) return [];
  const lines = (await readFile(file, "utf8")).split("\n");
  const findings: LintFinding[] = [];
  const annotations: Annotation[] = [];
  for (const [index, line] of lines.entries()) {
    const text = /^\s*(?:\/\/|\*|\/\*)\s*(tidemark-lint\b.*?)(?:\*\/)?\s*$/.exec(line)?.[1];
    const annotation = text === undefined ? undefined : annotationOf({ text, line: index + 1 }, file, nowMs);
    if (annotation === undefined) continue;
    if ("message" in annotation) findings.push(annotation);
    else annotations.push(annotation);
  }
  const used = new Set<Annotation>();
  for (const migration of definitions) {
    const at = lines.findIndex((line) => line.includes(`"${migration.name}"`) || line.includes(`'${migration.name}'`));
    const found =
      planner.dialect.name === dialectOfTable(migration) ? await lintDefinition(migration, planner) : [unplanned];
    for (const each of found) {
      const annotation = annotations.find(
        ({ rule, name }) =>
          rule === each.rule && (name === migration.name || (name === undefined && definitions.length === 1)),
      );
      if (annotation === undefined)
        findings.push({ ...each, file, line: Math.max(at, 0) + 1, migration: migration.name });
      else used.add(annotation);
    }
  }
  for (const annotation of annotations) {
    if (used.has(annotation)) continue;
    const message = `nothing here is ${annotation.rule}${annotation.name === undefined ? "" : ` of ${annotation.name}`}: take the annotation away, or name=<migration>`;
    findings.push({ rule: "annotation-unused", file, line: annotation.line, message });
  }
  return findings;
}

const unplanned = {
  rule: "unplanned",
  message: "its chunks cannot be planned without a database of its kind: give --database, of one with the same tables",
} as const;

function dialectOfTable({ table }: Migration): DialectName {
  const kind = (table.constructor as unknown as Record<symbol, string>)[Symbol.for("drizzle:entityKind")] ?? "";
  return kind.startsWith("SQLite") ? "sqlite" : kind.startsWith("Pg") ? "postgresql" : "mysql";
}

/** As drizzle-kit notes it beside its files. */
async function dialectOf(file: string): Promise<DialectName | undefined> {
  const journal = await readFile(join(dirname(file), "meta/_journal.json"), "utf8").catch(() => undefined);
  if (journal === undefined) return undefined;
  const { dialect } = JSON.parse(journal) as { readonly dialect?: string };
  if (dialect === "pg" || dialect === "postgresql") return "postgresql";
  if (dialect === "mysql" || dialect === "singlestore") return "mysql";
  return dialect === "sqlite" || dialect === "turso" ? "sqlite" : undefined;
}

async function filesAt(path: string): Promise<string[]> {
  const found = await stat(path).catch((error: unknown) => {
    throw new MigrateError("OPTIONS_INVALID", `there is no file or folder ${path}`, { cause: error });
  });
  if (!found.isDirectory()) return [path];
  const names = await readdir(path, { recursive: true });
  const isWanted = (name: string) =>
    /\.(sql|[mc]?[jt]s)$/.test(name) &&
    !/\.(d|test|spec)\.\w+$/.test(name) &&
    !/(^|\/)(node_modules|meta)\//.test(name);
  return names
    .filter(isWanted)
    .toSorted((a, b) => basename(a).localeCompare(basename(b), "en"))
    .map((name) => join(path, name));
}
