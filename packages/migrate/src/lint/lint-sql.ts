import type { Annotation } from "./annotations.ts";
import { annotationOf } from "./annotations.ts";
import { slot } from "../mysql/mysql-client.ts";
import { blockingDdl } from "./ddl-rules.ts";
import { type LintFinding, type LintRule, shortened } from "./finding.ts";
import type { Planner } from "./planner.ts";
import { type SqlStatement, type SqlToken, statementsOf } from "./sql-statements.ts";
import { nameAt, outermost, type StatementShape, shapeOf } from "./statement-shape.ts";

export interface SqlFile {
  readonly file: string;
  readonly text: string;
}

export interface SqlContext {
  readonly dialect: "sqlite" | "postgresql" | "mysql";
  /** Undefined: there is no database to plan with, and what writes rows is taken for the worst. */
  readonly planner: Planner | undefined;
  /** Whether the planner's schema follows the files, because no database was named. */
  readonly isBuilt: boolean;
  readonly nowMs: number;
}

type Found = readonly [rule: LintRule, message: string];

/** Looks through one file of statements, which runs while the application does. */
export async function lintSql({ file, text }: SqlFile, context: SqlContext): Promise<LintFinding[]> {
  const findings: LintFinding[] = [];
  /** Made by this very file: nothing is in them, and nobody waits for them. */
  const fresh = new Set<string>();
  for (const statement of statementsOf(text, context.dialect)) {
    const shape = shapeOf(statement);
    const annotations: Annotation[] = [];
    for (const comment of statement.comments) {
      const annotation = annotationOf(comment, file, context.nowMs);
      if (annotation === undefined) continue;
      if ("message" in annotation) findings.push(annotation);
      else annotations.push(annotation);
    }
    // A copy into a new table holds the locks of a writer all the same.
    const isCopy = shape.verb === "insert" || shape.verb === "replace";
    const isFresh = !isCopy && shape.table !== undefined && fresh.has(shape.table);
    const found = isFresh
      ? []
      : shape.verb === "do"
        ? await foundInBlock(statement, context, fresh)
        : await foundIn(statement, shape, context, fresh);
    for (const [rule, message] of found) {
      if (annotations.some((annotation) => annotation.rule === rule)) continue;
      findings.push({ rule, file, line: statement.line, message, statement: shortened(statement.text) });
    }
    for (const { rule, line } of annotations) {
      if (found.some(([each]) => each === rule)) continue;
      findings.push({
        rule: "annotation-unused",
        file,
        line,
        message: `nothing here is ${rule}: take the annotation away`,
      });
    }
    if (/^create (temp |temporary |unlogged )?table\b/.test(shape.words) && shape.table !== undefined) {
      // With rows from a SELECT it is not empty, but nobody waits for it either.
      fresh.add(shape.table);
    }
    renamed(statement.tokens, fresh);
    if (context.isBuilt && !/^(insert|update|delete|replace|pragma)$/.test(shape.verb)) {
      try {
        context.planner?.apply(statement.text);
      } catch (error) {
        const because = error instanceof Error ? error.message : String(error);
        const message = `SQLite does not take it: ${because}; give the file's folder, or --database`;
        findings.push({ rule: "unplanned", file, line: statement.line, message, statement: shortened(statement.text) });
      }
    }
  }
  return findings;
}

/** What `do` begins with, up to a statement, and what stands before one further in. */
const statement = /^\s*(alter|create|update|delete|insert|truncate|merge|with|reindex|cluster|refresh|vacuum)\b/i;
const opening = /^.*?\b(begin|then|else|loop)\b/is;

/** Statements in a block of code, which PostgreSQL runs at once; drizzle-kit has written constraints like that. */
async function foundInBlock(
  { tokens }: SqlStatement,
  context: SqlContext,
  fresh: ReadonlySet<string>,
): Promise<Found[]> {
  const code = tokens.find(({ kind }) => kind === "string")?.text ?? "";
  const found: Found[] = [];
  for (const { text } of statementsOf(code, context.dialect)) {
    let rest = text;
    while (!statement.test(rest) && opening.test(rest)) rest = rest.replace(opening, "");
    const [inner] = statementsOf(rest, context.dialect);
    if (inner === undefined || !statement.test(rest)) continue;
    const shape = shapeOf(inner);
    if (shape.verb !== "insert" && shape.table !== undefined && fresh.has(shape.table)) continue;
    found.push(...(await foundIn(inner, shape, context, fresh)));
  }
  return found;
}

async function foundIn(
  statement: SqlStatement,
  shape: StatementShape,
  context: SqlContext,
  fresh: ReadonlySet<string>,
): Promise<Found[]> {
  const ddl = blockingDdl(shape, context.dialect);
  if (ddl !== undefined) return [["blocking-ddl", `it ${ddl.why}; instead: ${ddl.instead}`]];
  const { verb, table = "?" } = shape;
  const { tokens } = statement;
  if (verb === "insert" || verb === "replace") {
    const source = sourceOf(tokens);
    if (source === undefined || fresh.has(source)) return [];
    return [
      ["full-table-write", `it copies ${source} in one transaction; instead: a migration with defineMigration()`],
    ];
  }
  if (verb === "truncate") return [["full-table-write", `it empties ${table} under a lock that shuts out everybody`]];
  if (verb !== "update" && verb !== "delete" && verb !== "merge") return [];
  const found: Found[] = [];
  if (isUnordered(tokens)) {
    found.push([
      "missing-bound",
      "LIMIT without ORDER BY takes any rows; instead: a migration with a key, which visits each once",
    ]);
  }
  const sentinel = verb === "update" ? sentinelOf(tokens) : undefined;
  if (sentinel !== undefined) {
    found.push([
      "sentinel-predicate",
      `rows that are left are told by ${sentinel}, which a computed value may be, too; instead: IS NULL, or a key`,
    ]);
  }
  const instead = "instead: a migration with defineMigration(), which goes in chunks";
  if (!shape.hasWhere && verb !== "merge")
    found.push(["full-table-write", `it ${verb}s every row of ${table} at once; ${instead}`]);
  else if (context.planner === undefined) {
    const message = `it ${verb}s rows of ${table}, and how many is not known without a database; ${instead}, or give --database`;
    found.push(["full-table-write", message]);
  } else {
    try {
      const scans = await context.planner.scansOf({ sql: statement.text, params: [] });
      if (scans.length > 0)
        found.push(["full-table-write", `it reads all of ${scans.join(", ")} to find its rows; ${instead}`]);
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      found.push(["unplanned", `it cannot be planned: ${because}`]);
    }
  }
  return found;
}

/** The first table a copy reads from. */
function sourceOf(tokens: readonly SqlToken[]): string | undefined {
  const select = tokens.findIndex(({ kind, text }) => kind === "word" && text === "select");
  if (select < 0) return undefined;
  // Of a subquery the table in it counts.
  const from = tokens.findIndex(
    ({ kind, text }, index) => index > select && kind === "word" && text === "from" && tokens[index + 1]?.text !== "(",
  );
  return from < 0 ? undefined : nameAt(tokens, from + 1);
}

/** A LIMIT, here or in a subquery, whose level has no ORDER BY. */
function isUnordered(tokens: readonly SqlToken[]): boolean {
  const hasOrder = [false];
  const hasLimit = [false];
  for (const { kind, text } of tokens) {
    if (kind === "sign" && text === "(") {
      hasOrder.push(false);
      hasLimit.push(false);
    } else if (kind === "sign" && text === ")") {
      const isOrdered = hasOrder.pop();
      if (hasLimit.pop() === true && isOrdered !== true) return true;
    } else if (kind === "word" && text === "order") hasOrder[hasOrder.length - 1] = true;
    else if (kind === "word" && text === "limit") hasLimit[hasLimit.length - 1] = true;
  }
  return hasLimit[0] === true && hasOrder[0] !== true;
}

/** `column = literal` in the condition of an update that assigns the column something computed. */
function sentinelOf(tokens: readonly SqlToken[]): string | undefined {
  const top = outermost(tokens);
  const set = top.findIndex(({ token }) => token.kind === "word" && token.text === "set");
  const where = top.findIndex(({ token }) => token.kind === "word" && token.text === "where");
  if (set < 0 || where < set) return undefined;
  const setTokens = tokens.slice((top[set]?.index ?? 0) + 1, top[where]?.index);
  const whereTokens = tokens.slice((top[where]?.index ?? 0) + 1);
  const computed = new Set<string>();
  const starts = [0, ...outermost(setTokens).flatMap(({ token, index }) => (token.text === "," ? [index + 1] : []))];
  for (const start of starts) {
    const equals = setTokens.findIndex(({ text }, index) => index > start && text === "=");
    const column = setTokens[equals - 1]?.text.toLowerCase();
    const value = setTokens[equals + 1];
    const next = setTokens[equals + 2];
    const isLiteral =
      (value?.kind === "string" || value?.kind === "number") && (next === undefined || next.text === ",");
    if (column !== undefined && !isLiteral) computed.add(column);
  }
  return sentinelIn(whereTokens, computed);
}

/** `column = literal`, for one of the columns. */
export function sentinelIn(tokens: readonly SqlToken[], columns: ReadonlySet<string>): string | undefined {
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== "word" && token.kind !== "name") continue;
    if (!columns.has(token.text.toLowerCase()) || tokens[index + 1]?.text !== "=") continue;
    const value = tokens[index + 2];
    if (
      value?.kind === "string" ||
      value?.kind === "number" ||
      value?.text === "?" ||
      value?.text === "$" ||
      value?.text === slot
    ) {
      const shown = value.kind === "string" ? `'${value.text}'` : value.kind === "number" ? value.text : "a value";
      return `${token.text} = ${shown}`;
    }
  }
  return undefined;
}

/** A table that takes the place of another one is no longer fresh under its new name, which others use. */
function renamed(tokens: readonly SqlToken[], fresh: Set<string>): void {
  const to = tokens.findIndex(({ text }, index) => text === "rename" && tokens[index + 1]?.text === "to");
  if (tokens[0]?.text !== "alter" || to < 0) return;
  const name = nameAt(tokens, to + 2);
  if (name !== undefined) fresh.delete(name);
}
