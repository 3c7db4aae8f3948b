import { type Column, getTableColumns, is, SQL } from "drizzle-orm";
import { getTableConfig, SQLiteTable } from "drizzle-orm/sqlite-core";
import { updateOf } from "../body-sql.ts";
import type { SqlQuery, SqlValue } from "../connection.ts";
import { columnOf, type Migration } from "../definition.ts";
import { Database } from "../dialect.ts";
import { Plan } from "../plan.ts";
import { mentionsColumn } from "../sql-mentions.ts";
import { verifierOf } from "../verifier.ts";
import { type LintFinding, type LintRule, shortened } from "./finding.ts";
import { sentinelIn } from "./lint-sql.ts";
import type { Planner } from "./planner.ts";
import { statementsOf } from "./sql-statements.ts";

/** What is wrong with a definition: rule, message and, where there is one, the statement. */
export type DefinitionFinding = Pick<LintFinding, "rule" | "message" | "statement">;

/** A value of a key, of about the right type, for statements that are planned and never run. */
function exampleOf(column: Column): SqlValue {
  const type = column.getSQLType().toLowerCase();
  if (type.startsWith("uuid")) return "00000000-0000-0000-0000-000000000001";
  if (/^(date|timestamp|datetime)/.test(type)) return "2020-01-01 00:00:00";
  if (/text|char|blob|bytea|binary|enum/.test(type)) return "a";
  return 1;
}

export async function lintDefinition(migration: Migration, planner: Planner): Promise<DefinitionFinding[]> {
  const found: DefinitionFinding[] = [];
  const add = (rule: LintRule, message: string, statement?: string) =>
    found.push({ rule, message, ...(statement === undefined ? {} : { statement: shortened(statement) }) });
  const { body, where, remaining } = migration;
  const { dialect } = planner;

  const written = body.type === "set" ? [...body.set.keys()] : body.type === "map" ? body.write : [];
  const columns = written.map((property) => columnOf(migration, property));
  const names = new Set(columns.map((column) => dialect.nameOf(column).toLowerCase()));
  const computed = body.type === "run" ? allColumns(migration) : names;
  for (const [what, condition] of Object.entries({ where, remaining })) {
    if (condition === undefined) continue;
    const { sql } = dialect.toQuery(condition);
    const [statement] = statementsOf(`select ${sql}`, dialect.name);
    const sentinel = sentinelIn(statement?.tokens ?? [], computed);
    if (sentinel !== undefined) {
      const message = `\`${what}\` tells rows that are left by ${sentinel}, which a finished row may have, too; instead: IS NULL, or leave it out`;
      add("sentinel-predicate", message, sql);
    }
  }
  if (remaining !== undefined && !asksColumn(migration, remaining)) {
    add("vacuous-remaining", "`remaining` asks no column of the table: verification would find nothing, ever");
  }
  if (body.type === "set") {
    for (const [property, value] of body.set) {
      if (!is(value, SQL) && !(typeof value === "object" && value !== null && "getSQL" in value)) continue;
      if (!mentionsColumn(value, columnOf(migration, property))) continue;
      add(
        "non-idempotent",
        `"${property}" is computed from itself: retry({ from: "start" }) would change rows again; compute it from other columns`,
      );
    }
  }

  for (const query of await statementsOfChunks(migration, planner)) {
    try {
      const scans = await planner.scansOf(query);
      if (scans.length === 0) continue;
      const message = `each chunk reads all of ${[...new Set(scans)].join(", ")}; an index on what is compared there makes it a search`;
      add("chunk-scans", message, query.sql);
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      const message = `it cannot be planned: ${because}; lint the SQL of the schema with it, or give --database`;
      add("unplanned", message, query.sql);
    }
  }
  // One and the same scan shows in the chunk, in its count and in verification.
  return found.filter(
    ({ rule, message }, index) => found.findIndex((each) => each.rule === rule && each.message === message) === index,
  );
}

function allColumns({ table }: Migration): ReadonlySet<string> {
  return new Set(Object.values(getTableColumns(table)).map(({ name }) => name.toLowerCase()));
}

/** Whether a condition mentions any column of the migration's table. */
function asksColumn({ table }: Migration, condition: SQL): boolean {
  return Object.values(getTableColumns(table)).some((column) => mentionsColumn(condition, column));
}

/** What the engine asks in every chunk and slice, written down instead of run. */
async function statementsOfChunks(migration: Migration, { dialect }: Planner): Promise<SqlQuery[]> {
  const queries: SqlQuery[] = [];
  const executor = {
    async execute(query: SqlQuery) {
      queries.push(query);
      return { rows: [], changes: 0 };
    },
  };
  const recording = new Database(dialect, {
    ...executor,
    transaction: (_, work) => work(executor),
    close: async () => {},
  });
  const plan = new Plan(migration, recording, "copy");
  const after = plan.key.map(exampleOf);
  const range = { after, upTo: after };
  await plan.nextRange(after, after, 1000);
  await plan.countIn(range);
  if (migration.body.type === "set") queries.push(dialect.toQuery(updateOf(plan, range)));
  await verifierOf(plan)?.wrongIn(range, new Set());
  return queries;
}

/** Statements that make the table of a definition as its Drizzle schema says; undefined: not a table of SQLite. */
export function createOf({ table }: Migration): readonly string[] | undefined {
  if (!is(table, SQLiteTable)) return undefined;
  const { name, columns, indexes, primaryKeys } = getTableConfig(table);
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const parts = columns.map(
    (column) =>
      `${quote(column.name)} ${column.getSQLType()}${column.primary ? " primary key" : ""}${column.isUnique ? " unique" : ""}`,
  );
  for (const { columns: key } of primaryKeys)
    parts.push(`primary key (${key.map((each) => quote(each.name)).join(", ")})`);
  const made = indexes.flatMap(({ config }) => {
    const names = config.columns.map((column) => ("name" in column ? quote(String(column.name)) : undefined));
    if (names.includes(undefined)) return [];
    return [
      `create ${config.unique ? "unique " : ""}index ${quote(config.name)} on ${quote(name)} (${names.join(", ")})`,
    ];
  });
  return [`create table ${quote(name)} (${parts.join(", ")})`, ...made];
}
