import { expect, test } from "vitest";
import type { LintFinding, LintRule } from "@tidemark/migrate/lint";
import { lintSql } from "../../src/lint/lint-sql.ts";
import { sqlitePlanner } from "../../src/lint/planner.ts";
import { statementsOf } from "../../src/lint/sql-statements.ts";

type DialectName = "sqlite" | "postgresql" | "mysql";

const nowMs = Date.parse("2026-11-26T12:00:00Z");
const schema = [
  "create table parents (id integer primary key, last_seen integer not null default 0, name text)",
  "create table children (id integer primary key, parent_id integer not null, at integer not null)",
  "create index children_parent on children (parent_id, at)",
  "create table loose (parent_id integer, at integer)",
];

async function lint(dialect: DialectName, text: string): Promise<LintFinding[]> {
  const planner = dialect === "sqlite" ? await sqlitePlanner(schema) : undefined;
  try {
    return await lintSql({ file: "0001.sql", text }, { dialect, planner, isBuilt: dialect === "sqlite", nowMs });
  } finally {
    await planner?.close();
  }
}

/** The seeded corpus: every one of these has to be found, for this reason. */
const bad: Readonly<Record<DialectName, readonly (readonly [rule: LintRule, sql: string])[]>> = {
  sqlite: [
    ["full-table-write", "UPDATE parents SET name = 'x'"],
    ["full-table-write", "DELETE FROM `loose`"],
    ["full-table-write", "UPDATE parents SET name = 'x' WHERE name = 'y'"],
    ["full-table-write", "delete from parents where id not in (select parent_id from loose)"],
    [
      "full-table-write",
      "update parents set last_seen = (select max(at) from loose l where l.parent_id = parents.id) where id = 1",
    ],
    [
      "full-table-write",
      "with old as (select id from parents) update parents set name = 'x' where name in (select id from old)",
    ],
    ["full-table-write", "update parents set name = c.at from children c where c.parent_id = parents.id"],
    ["full-table-write", "INSERT INTO children SELECT id, id, 0 FROM parents"],
    ["full-table-write", "INSERT INTO children SELECT id, id, 0 FROM (SELECT * FROM parents) p"],
    ["full-table-write", "CREATE TABLE spans (begin integer, finish integer); UPDATE parents SET name = 'x'"],
    [
      "full-table-write",
      "CREATE TABLE `__new_parents` (id integer primary key);\nINSERT INTO `__new_parents`(`id`) SELECT `id` FROM `parents`",
    ],
    [
      "full-table-write",
      "CREATE TABLE a (id integer primary key); ALTER TABLE a RENAME TO parents2; UPDATE parents2 SET id = 2",
    ],
    [
      "sentinel-predicate",
      "UPDATE parents SET last_seen = coalesce((SELECT max(at) FROM children WHERE parent_id = parents.id), 0) WHERE last_seen = 0",
    ],
    [
      "missing-bound",
      "UPDATE parents SET name = 'x' WHERE id IN (SELECT id FROM parents WHERE name IS NULL LIMIT 5000)",
    ],
    ["blocking-ddl", "CREATE INDEX `i` ON `parents` (`name`)"],
    ["blocking-ddl", "CREATE UNIQUE INDEX i ON parents (lower(name)) WHERE name IS NOT NULL"],
    ["blocking-ddl", "ALTER TABLE `parents` DROP COLUMN `name`"],
    ["blocking-ddl", "ALTER TABLE parents ADD COLUMN size integer CHECK (size > 0)"],
    ["blocking-ddl", "VACUUM"],
    ["unplanned", "UPDATE nowhere SET a = 1 WHERE id = 1"],
    ["unplanned", "CREATE VIEW"],
  ],
  postgresql: [
    ["full-table-write", 'UPDATE "parents" SET "name" = \'x\''],
    ["full-table-write", 'UPDATE "app"."parents" SET "name" = \'x\' WHERE "name" IS NULL'],
    ["full-table-write", "DELETE FROM ONLY parents USING children c WHERE c.parent_id = parents.id"],
    ["full-table-write", "TRUNCATE parents"],
    ["full-table-write", "with x as (select 1) delete from parents"],
    ["full-table-write", "with gone as (delete from parents returning id) select count(*) from gone"],
    ["full-table-write", "MERGE INTO parents p USING s ON p.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name"],
    ["full-table-write", "INSERT INTO notes VALUES (E'it\\'s'); UPDATE parents SET name = 'x'"],
    ["full-table-write", "DO $$ BEGIN IF true THEN UPDATE parents SET name = 'x'; END IF; END $$"],
    [
      "blocking-ddl",
      'DO $$ BEGIN\n ALTER TABLE "c" ADD CONSTRAINT "fk" FOREIGN KEY ("a") REFERENCES "u"("id");\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND $$;',
    ],
    ["blocking-ddl", 'CREATE INDEX "i" ON "parents" USING btree ("name")'],
    ["blocking-ddl", "CREATE UNIQUE INDEX IF NOT EXISTS i ON parents (name)"],
    ["blocking-ddl", 'ALTER TABLE "parents" ALTER COLUMN "name" SET DATA TYPE bigint USING "name"::bigint'],
    ["blocking-ddl", 'ALTER TABLE "parents" ALTER COLUMN "name" SET NOT NULL'],
    [
      "blocking-ddl",
      'ALTER TABLE "c" ADD CONSTRAINT "fk" FOREIGN KEY ("a") REFERENCES "public"."u"("id") ON DELETE no action',
    ],
    ["blocking-ddl", "ALTER TABLE parents ADD CONSTRAINT positive CHECK (last_seen > 0)"],
    ["blocking-ddl", 'ALTER TABLE "parents" ADD CONSTRAINT "u" UNIQUE("name")'],
    ["blocking-ddl", "ALTER TABLE parents ADD PRIMARY KEY (id)"],
    ["blocking-ddl", 'ALTER TABLE "parents" ADD COLUMN "token" uuid DEFAULT gen_random_uuid() NOT NULL'],
    ["blocking-ddl", "ALTER TABLE parents ADD COLUMN g text GENERATED ALWAYS AS (lower(name)) STORED"],
    ["blocking-ddl", "ALTER TABLE parents ADD COLUMN n bigserial"],
    ["blocking-ddl", 'ALTER TABLE "parents" ADD COLUMN "n" integer GENERATED ALWAYS AS IDENTITY (sequence name "s")'],
    ["blocking-ddl", "ALTER TABLE parents ADD n bigint GENERATED BY DEFAULT AS IDENTITY"],
    ["blocking-ddl", 'ALTER TABLE "parents" ADD COLUMN "code" text UNIQUE'],
    ["blocking-ddl", "ALTER TABLE parents ADD COLUMN n integer NOT NULL PRIMARY KEY"],
    ["blocking-ddl", 'ALTER TABLE parents ADD COLUMN t uuid DEFAULT "extensions"."uuid_generate_v4"()'],
    ["blocking-ddl", "ALTER TABLE parents SET TABLESPACE fast"],
    ["blocking-ddl", "VACUUM FULL parents"],
    ["blocking-ddl", "REINDEX TABLE parents"],
    ["blocking-ddl", "REFRESH MATERIALIZED VIEW totals"],
  ],
  mysql: [
    ["full-table-write", "UPDATE `parents` SET `name` = 'it''s; -- not \\' a comment'"],
    ["full-table-write", "UPDATE parents JOIN children c ON c.parent_id = parents.id SET parents.name = c.at"],
    ["missing-bound", "DELETE FROM parents WHERE name = 'x' LIMIT 1000"],
    ["blocking-ddl", "ALTER TABLE `parents` MODIFY COLUMN `name` varchar(20) NOT NULL"],
    ["blocking-ddl", "ALTER TABLE parents CONVERT TO CHARACTER SET utf8mb4"],
    ["blocking-ddl", "ALTER TABLE parents DROP PRIMARY KEY, ADD PRIMARY KEY (id)"],
    ["blocking-ddl", "/*!50100 ALTER TABLE parents ENGINE = InnoDB */"],
    ["full-table-write", "/*M!100100 UPDATE parents SET name = 'x' */;"],
    ["blocking-ddl", "ALTER TABLE `c` ADD CONSTRAINT `fk` FOREIGN KEY (`a`) REFERENCES `u`(`id`)"],
    ["blocking-ddl", "ALTER TABLE parents ADD FULLTEXT i (name)"],
    ["blocking-ddl", "ALTER TABLE parents MODIFY name text, ALGORITHM=INPLACE, LOCK=SHARED"],
    ["blocking-ddl", "ALTER TABLE parents ENGINE = InnoDB"],
    ["blocking-ddl", "OPTIMIZE TABLE parents"],
  ],
};

/** What a gate must let through. */
const good: Readonly<Record<DialectName, readonly string[]>> = {
  sqlite: [
    "CREATE TABLE `t` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `a` text DEFAULT 'x;y' NOT NULL, FOREIGN KEY (`a`) REFERENCES `u`(`id`) ON UPDATE no action ON DELETE no action);\n--> statement-breakpoint\nCREATE UNIQUE INDEX `i` ON `t` (`a`);--> statement-breakpoint\nUPDATE t SET a = 'z';",
    "ALTER TABLE `parents` ADD `b` text",
    "ALTER TABLE parents ADD COLUMN n integer NOT NULL DEFAULT 0",
    "UPDATE parents SET name = 'x' WHERE id = 1",
    "UPDATE parents SET last_seen = (SELECT max(at) FROM children WHERE parent_id = parents.id) WHERE id BETWEEN 1 AND 100",
    "DELETE FROM children WHERE parent_id = 5 AND at < 10",
    "INSERT INTO loose VALUES (1, 2)",
    "PRAGMA foreign_keys=OFF",
    "DROP TABLE loose",
    "CREATE TRIGGER keep AFTER INSERT ON children BEGIN\n  UPDATE parents SET last_seen = CASE WHEN new.at > last_seen THEN new.at ELSE last_seen END;\n  DELETE FROM loose;\nEND",
    "-- UPDATE parents SET name = 'x'\n/* DELETE FROM parents; */",
    "UPDATE parents SET last_seen = 1 WHERE id = 5 AND last_seen = 0",
  ],
  postgresql: [
    'CREATE INDEX CONCURRENTLY "i" ON "parents" USING btree ("name")',
    "CREATE TYPE \"public\".\"e\" AS ENUM('a', 'b')",
    "ALTER TYPE \"e\" ADD VALUE 'c'",
    'ALTER TABLE "parents" ADD COLUMN "b" text',
    'ALTER TABLE "parents" ADD COLUMN "at" timestamp DEFAULT now() NOT NULL',
    "ALTER TABLE parents ADD COLUMN n integer DEFAULT 5 NOT NULL",
    "ALTER TABLE parents ADD CONSTRAINT positive CHECK (last_seen > 0) NOT VALID",
    "ALTER TABLE parents VALIDATE CONSTRAINT positive",
    "ALTER TABLE c ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES u (id) NOT VALID",
    "ALTER TABLE parents ADD CONSTRAINT u UNIQUE USING INDEX i",
    'CREATE TABLE "t" ("id" bigserial PRIMARY KEY); CREATE INDEX i ON "t" (id); ALTER TABLE "t" ADD CONSTRAINT c CHECK (id > 0); UPDATE t SET id = 1',
    "CREATE FUNCTION f() RETURNS void AS $body$ BEGIN UPDATE parents SET name = 'x'; END $body$ LANGUAGE plpgsql",
    "ALTER TABLE parents DROP COLUMN name",
    "REINDEX INDEX CONCURRENTLY i",
    "ALTER TABLE parents ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE parents ADD COLUMN a integer, ADD CONSTRAINT u UNIQUE USING INDEX i",
    "with locked as (select id from parents for update skip locked) select id from locked",
    "with one as (select 1) select id from parents for no key update",
    'CREATE TABLE "c" ("a" integer); DO $$ BEGIN ALTER TABLE "c" ADD CONSTRAINT "fk" FOREIGN KEY ("a") REFERENCES "u"("id"); EXCEPTION WHEN duplicate_object THEN null; END $$',
  ],
  mysql: [
    "CREATE INDEX `i` ON `parents` (`name`)",
    "ALTER TABLE `parents` ADD `b` varchar(20) NOT NULL",
    "ALTER TABLE parents MODIFY name varchar(300), ALGORITHM=INPLACE, LOCK=NONE",
    "ALTER TABLE parents ADD INDEX i (name), ALGORITHM=INPLACE, LOCK=NONE",
    "ALTER TABLE parents MODIFY name text, ALGORITHM = INSTANT",
    "RENAME TABLE a TO b",
    "CREATE TRIGGER keep AFTER INSERT ON children FOR EACH ROW BEGIN UPDATE parents SET name = 1; END",
    "# UPDATE parents SET name = 'x'\nSELECT 1",
    "CREATE TRIGGER keep BEFORE INSERT ON children FOR EACH ROW BEGIN IF new.a IS NULL THEN SET new.a = CASE WHEN 1 THEN 2 END; END IF; UPDATE parents SET name = 1; END",
    "/* UPDATE parents SET name = 'x' */ SELECT 1",
  ],
};

for (const dialect of ["sqlite", "postgresql", "mysql"] as const) {
  test.each(bad[dialect])(`${dialect}: %s is found: %s`, async (rule, sql) => {
    expect((await lint(dialect, sql)).map((finding) => finding.rule)).toContain(rule);
  });
  test.each(good[dialect])(`${dialect}: nothing is found: %s`, async (sql) => {
    expect(await lint(dialect, sql)).toEqual([]);
  });
}

const index = "CREATE INDEX i ON parents (name);";
const allow = (fields: string) => `-- tidemark-lint: allow blocking-ddl ${fields}\n${index}`;
const evidence = 'rows=71000 ms=420 measured=2026-11-20 on="copy of production" reason="in the quiet hour"';

test("an annotation with measured evidence allows, and only what it names, and only right above", async () => {
  expect(await lint("sqlite", allow(evidence))).toEqual([]);
  const rules = async (text: string) => (await lint("sqlite", text)).map(({ rule, line }) => `${line} ${rule}`);
  expect(await rules(`${allow(evidence)}\n${index.replace(" i ", " j ")}`)).toEqual(["3 blocking-ddl"]);
  expect(await rules(allow(evidence).replace("blocking-ddl", "full-table-write"))).toEqual([
    "2 blocking-ddl",
    "1 annotation-unused",
  ]);
});

test.each([
  ["", /rows must say how many/],
  ['reason="we know what we do"', /rows must say/],
  [evidence.replace("rows=71000", "rows=many"), /rows must say.*got "many"/],
  [evidence.replace("ms=420", ""), /ms must say how long it took/],
  [evidence.replace("ms=420", "ms=30000"), /above 1000 ms nothing is harmless/],
  [evidence.replace("2026-11-20", "soon"), /measured must be a date, got "soon"/],
  [evidence.replace("2026-11-20", "2026-01-20"), /more than 180 days ago/],
  [evidence.replace("2026-11-20", "2027-01-20"), /in the future/],
  [evidence.replace(/on="[^"]*"/, ""), /on is missing/],
  [evidence.replace(/reason="[^"]*"/, 'reason=" "'), /reason is missing/],
])("an annotation without evidence allows nothing: %s", async (fields, message) => {
  const found = await lint("sqlite", allow(fields));
  expect(found.map(({ rule }) => rule)).toEqual(["annotation-invalid", "blocking-ddl"]);
  expect(found[0]?.message).toMatch(message);
});

test("a statement is shown in one line, with its place in the file", async () => {
  const [found] = await lint("sqlite", "select 1;\n\n-- what follows is old\nupdate parents\n  set name = 'x'");
  expect(found).toEqual({
    rule: "full-table-write",
    file: "0001.sql",
    line: 4,
    message: expect.stringMatching(/^it updates every row of parents at once; instead: a migration/),
    statement: "update parents set name = 'x'",
  });
});

test("files are cut where statements end, and nowhere else", () => {
  const texts = (sql: string, dialect: DialectName = "sqlite") => statementsOf(sql, dialect).map(({ text }) => text);
  expect(texts("a ';' b; [c;d] \"e;f\" `g;h`;; -- i;\n/* j; */ k")).toEqual([`a ';' b`, '[c;d] "e;f" `g;h`', "k"]);
  expect(texts("do $$ a; b $$; do $x$ $$; $x$ c", "postgresql")).toEqual(["do $$ a; b $$", "do $x$ $$; $x$ c"]);
  expect(texts("select 'a\\';b'; c", "mysql")).toEqual(["select 'a\\';b'", "c"]);
  expect(texts("select E'a\\';b', e'c'; d", "postgresql")).toEqual(["select E'a\\';b', e'c'", "d"]);
  expect(texts("select 'a\\', date'b'; c", "postgresql")).toEqual(["select 'a\\', date'b'", "c"]);
  expect(texts("select 'unfinished; b")).toEqual(["select 'unfinished; b"]);
  expect(texts("")).toEqual([]);
});
