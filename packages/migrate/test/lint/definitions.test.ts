import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createSimulation } from "@tidemark/clock/testing";
import { defineMigration, type Migration } from "@tidemark/migrate";
import { githubOf, lintMigrations, sarifOf, textOf } from "@tidemark/migrate/lint";
import { serviceTest } from "@tidemark/tooling/services";
import { eq, type SQL, sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, onTestFinished, test } from "vitest";
import { lintDefinition } from "../../src/lint/lint-definition.ts";
import { serverPlanner, sqlitePlanner } from "../../src/lint/planner.ts";
import { definitionsFor, tablesOf } from "../support/shared-tables.ts";
import { scratch } from "../support/scratch.ts";
import { stageOn } from "../support/stage.ts";

const parents = sqliteTable("parents", {
  id: integer("id").primaryKey(),
  lastSeen: integer("last_seen"),
  name: text("name"),
});
const schema = [
  "create table parents (id integer primary key, last_seen integer, name text)",
  "create table children (parent_id integer not null, at integer not null)",
];
const seen = sql`(select max(at) from children where parent_id = ${parents.id})`;
const base = { name: "it", table: parents, key: "id" } as const;

const found = async (migration: Migration, statements: readonly string[]) => {
  const planner = await sqlitePlanner(statements);
  const findings = await lintDefinition(migration, planner);
  await planner.close();
  return findings.map(({ rule, message }) => `${rule}: ${message}`);
};

test("M18: a chunk that scans is found by its plan on a large table, however small the table is", async () => {
  const fill = defineMigration({ ...base, set: { lastSeen: seen } });
  expect(await found(fill, schema)).toEqual([
    expect.stringMatching(/^chunk-scans: each chunk reads all of children; an index/),
  ]);
  expect(await found(fill, [...schema, "create index c on children (parent_id, at)"])).toEqual([]);
  // An index on the wrong column is none.
  expect(await found(fill, [...schema, "create index c on children (at)"])).toHaveLength(1);
  const byName = defineMigration({
    ...base,
    table: sqliteTable("parents", { id: integer("id").notNull(), name: text("name") }),
    set: { name: "x" },
  });
  expect(await found(byName, ["create table parents (id integer not null, name text)"])).toEqual([
    expect.stringMatching(/each chunk reads all of parents/),
  ]);
  expect(await found(fill, schema.slice(0, 1))).toEqual([
    expect.stringMatching(/^unplanned: .*no such table: children/),
  ]);
});

test("a definition is held to the rules that no plan shows", async () => {
  const ready = [...schema, "create index c on children (parent_id, at)"];
  const rules = async (remaining: SQL, where?: SQL) =>
    (await found(defineMigration({ ...base, set: { lastSeen: seen }, remaining, ...(where && { where }) }), ready)).map(
      (line) => line.split(":")[0],
    );
  expect(await rules(eq(parents.lastSeen, 0))).toEqual(["sentinel-predicate"]);
  expect(await rules(sql`last_seen = 0`)).toEqual(["sentinel-predicate"]);
  expect(await rules(sql`${parents.lastSeen} is null`)).toEqual([]);
  expect(await rules(sql`${parents.lastSeen} is null`, eq(parents.lastSeen, -1))).toEqual(["sentinel-predicate"]);
  expect(await rules(sql`${parents.lastSeen} is null`, eq(parents.name, "x"))).toEqual([]);
  expect(await rules(sql`false`)).toEqual(["vacuous-remaining"]);
  const twice = defineMigration({
    ...base,
    set: { lastSeen: sql`${parents.lastSeen} + 1` },
    remaining: sql`${parents.name} is null`,
  });
  expect(await found(twice, ready)).toEqual([
    expect.stringMatching(/^non-idempotent: "lastSeen" is computed from itself/),
  ]);
  const own = defineMigration({ ...base, run: async () => 0, remaining: eq(parents.name, "") });
  expect(await found(own, ready)).toEqual([expect.stringMatching(/^sentinel-predicate: .*name = a value/)]);
});

function folder(files: Readonly<Record<string, string>>): string {
  // Inside of the package, or the modules would not find it.
  const path = mkdtempSync(fileURLToPath(new URL("../../node_modules/.lint-", import.meta.url)));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

const moduleText = (annotation: string) => `import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { devices } from "./schema.ts";
${annotation}
export const lastSeen = defineMigration({
  name: "last-seen",
  table: devices,
  key: "id",
  set: { lastSeen: sql\`(select max(at) from sightings where device_id = \${devices.id})\` },
});
`;
const schemaText = `import { integer, sqliteTable } from "drizzle-orm/sqlite-core";
export const devices = sqliteTable("devices", { id: integer("id").primaryKey(), lastSeen: integer("last_seen") });
`;
const drizzle = {
  "drizzle/meta/_journal.json": '{"dialect":"sqlite"}',
  "drizzle/0000_first.sql":
    "CREATE TABLE `devices` (`id` integer PRIMARY KEY);\n--> statement-breakpoint\nCREATE TABLE `sightings` (`device_id` integer, `at` integer);",
  "drizzle/0001_second.sql":
    "ALTER TABLE `devices` ADD `last_seen` integer;--> statement-breakpoint\nCREATE INDEX `s` ON `sightings` (`device_id`);",
};

test("folders of drizzle-kit and of definitions are looked through together, and reported in three forms", async () => {
  const path = folder({ ...drizzle, "migrations/schema.ts": schemaText, "migrations/last-seen.ts": moduleText("") });
  const { clock } = createSimulation({ seed: 1 });
  const paths = [join(path, "drizzle"), join(path, "migrations")];
  const report = await lintMigrations({ paths, clock });
  expect(report).toMatchObject({ files: 4, definitions: 1 });
  // The index is found, because it shuts out writers; and it helps, so that no chunk scans.
  expect(report.findings.map(({ rule, line }) => [rule, line])).toEqual([["blocking-ddl", 2]]);
  expect(textOf(report)).toMatch(
    /0001_second\.sql:2 {2}blocking-ddl {2}it reads all rows while nobody else can write.*\n {4}CREATE INDEX/,
  );
  const sarif = JSON.parse(sarifOf(report)) as { runs: { results: object[] }[] };
  expect(sarif.runs[0]?.results[0]).toMatchObject({
    ruleId: "blocking-ddl",
    level: "error",
    locations: [{ physicalLocation: { region: { startLine: 2 } } }],
  });
  expect(githubOf(report)).toMatch(/^::error file=.*0001_second\.sql,line=2,title=blocking-ddl::it reads/);
  // Without the SQL there is nothing to plan with.
  const alone = await lintMigrations({ paths: [join(path, "migrations/last-seen.ts")], clock });
  expect(alone.findings).toMatchObject([{ rule: "unplanned", migration: "last-seen", line: 6 }]);
  expect(textOf({ findings: [], files: 1, definitions: 1 })).toBe("clean: 1 definition in 1 file\n");
});

test("an annotation in a module allows what it names, with evidence", async () => {
  const evidence = 'rows=900000 ms=300 measured=2025-12-20 on="a copy" reason="sightings has 40 rows"';
  const { clock } = createSimulation({ seed: 1 });
  const lint = async (annotation: string) => {
    const path = folder({ "schema.ts": schemaText, "last-seen.ts": moduleText(annotation) });
    const { file, db } = scratch();
    db.exec(
      "create table devices (id integer primary key, last_seen integer); create table sightings (device_id integer, at integer)",
    );
    const database = { dialect: "sqlite", file } as const;
    return (await lintMigrations({ paths: [path], database, clock })).findings.map(({ rule }) => rule);
  };
  expect(await lint("")).toEqual(["chunk-scans"]);
  expect(await lint(`// tidemark-lint: allow chunk-scans ${evidence}`)).toEqual([]);
  expect(await lint(`// tidemark-lint: allow chunk-scans name=last-seen ${evidence}`)).toEqual([]);
  expect(await lint(`// tidemark-lint: allow chunk-scans name=other ${evidence}`)).toEqual([
    "annotation-unused",
    "chunk-scans",
  ]);
  expect(await lint("// tidemark-lint: allow chunk-scans because it is small")).toEqual([
    "annotation-invalid",
    "chunk-scans",
  ]);
});

test("paths and dialects that are not known are refused", async () => {
  const path = folder({ "0000.sql": "select 1" });
  await expect(lintMigrations({ paths: [join(tmpdir(), "nowhere-at-all")] })).rejects.toMatchObject({
    code: "OPTIONS_INVALID",
  });
  await expect(lintMigrations({ paths: [path] })).rejects.toThrow(/the dialect of .*0000\.sql is not known/);
  expect((await lintMigrations({ paths: [path], dialect: "mysql" })).findings).toEqual([]);
});

const servers = [
  ["postgres", "pg"],
  ["mariadb", "mariadb"],
] as const;
for (const [service, stageName] of servers) {
  serviceTest(service)(
    `${stageName}: a chunk that scans is found on empty tables, and one that searches is not`,
    async () => {
      const stage = await stageOn(stageName, [
        "create table counters (id integer primary key not null, n integer not null default 0)",
        "create table notes (id integer primary key not null, body text not null, length integer)",
        "create table children (parent_id integer not null, at integer not null)",
      ]);
      const { counters } = tablesOf(stage.dialect);
      const { openPostgres, openMysql } = await import("@tidemark/migrate/internal");
      const opened =
        stage.database.dialect === "postgresql" ? openPostgres(stage.database) : openMysql(stage.database as never);
      const planner = serverPlanner(opened);
      onTestFinished(() => planner.close());
      const rules = async (migration: Migration) => (await lintDefinition(migration, planner)).map(({ rule }) => rule);
      const fill = defineMigration({
        name: "fill",
        table: counters,
        key: "id" as never,
        set: { n: sql`(select coalesce(max(at), 0) from children where parent_id = ${counters.id})` } as never,
      });
      expect(await rules(fill)).toEqual(["chunk-scans"]);
      await stage.query("create index c on children (parent_id, at)");
      expect(await rules(fill)).toEqual([]);
      for (const migration of definitionsFor(stage.dialect).filter(
        ({ name }) => name === "bump" || name === "lengths",
      )) {
        // `bump` counts from itself, and says so by a sentinel.
        expect(await rules(migration)).toEqual(
          migration.name === "bump" ? ["sentinel-predicate", "non-idempotent"] : [],
        );
      }
      const sentinel = defineMigration({
        name: "sentinel",
        table: counters,
        key: "id" as never,
        set: { n: sql`abs(${counters.id})` } as never,
        remaining: eq(counters.n, 0),
      });
      expect(await rules(sentinel)).toEqual(["sentinel-predicate"]);
      expect(await stage.query("select count(*) from counters")).toEqual([[0]]);
    },
  );
}

test("nothing is found in what this package shows as examples", async () => {
  const { file, db } = scratch();
  db.exec(`create table devices (id integer primary key, address text not null, normalised text, last_seen integer);
    create table sightings (device_id integer not null, at integer not null);
    create index sightings_device on sightings (device_id, at)`);
  const examples = fileURLToPath(new URL("../../examples/last-seen.ts", import.meta.url));
  const report = await lintMigrations({ paths: [examples], database: { dialect: "sqlite", file } });
  expect(report).toMatchObject({ findings: [], definitions: 2 });
});
