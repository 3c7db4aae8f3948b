import { serviceTest } from "@tidemark/tooling/services";
import { getTableConfig, type PgTable } from "drizzle-orm/pg-core";
import { expect } from "vitest";
import { booleanArray, bytesArray, numberArray, textArray } from "../../src/history-postgres/array-literals.ts";
import { schemaSteps, views } from "../../src/history-postgres/ddl.ts";
import type { PostgresClient } from "../../src/history-postgres/driver.ts";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { openSchema } from "../../src/history-postgres/open-schema.ts";
import * as schema from "../../src/history-postgres/schema.ts";
import { openHistory } from "../../src/open-history.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, begin, bytes, commit, end, put, streamOptions } from "./helpers.ts";

const test = serviceTest("postgres");
const { keyStart: _, ...tablesByName } = schema;
const tables = Object.values(tablesByName) as PgTable[];

async function created() {
  const found = await temporarySchema({ isNew: true });
  await (await openPostgresHistory(found.options)).close();
  return found;
}

test("the statements create exactly the tables, columns and indexes that drizzle knows", async () => {
  const { client, options } = await created();
  const names = await client.query<{ name: string }>({
    text: "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1 AND table_type = 'BASE TABLE' ORDER BY 1",
    values: [options.schema],
  });
  expect(names.rows.map(({ name }) => name)).toEqual(tables.map((table) => getTableConfig(table).name).sort());
  for (const table of tables) {
    const config = getTableConfig(table);
    const columns = await client.query<{ name: string; type: string; required: boolean; fallback: string | null }>({
      text: `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
          pg_get_expr(d.adbin, d.adrelid) AS fallback
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
      values: [config.name],
    });
    const composite = config.primaryKeys.flatMap((key) => key.columns.map((column) => column.name));
    const inDrizzle = config.columns.map((column) => ({
      name: column.name,
      type: column.getSQLType(),
      required: column.notNull || column.primary || composite.includes(column.name),
      fallback:
        column.default === undefined
          ? null
          : typeof column.default === "string"
            ? `'${column.default}'::text`
            : JSON.stringify(column.default),
    }));
    expect({ table: config.name, columns: columns.rows }).toEqual({ table: config.name, columns: inDrizzle });

    const indexes = await client.query<{ name: string; columns: number }>({
      text: `SELECT c.relname AS name, i.indnkeyatts AS columns FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = $1::regclass AND NOT i.indisunique ORDER BY 1`,
      values: [config.name],
    });
    const indexed = config.indexes
      .map(({ config: { name, columns } }) => ({ name: String(name), columns: columns.length }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    expect({ table: config.name, indexes: indexes.rows }).toEqual({ table: config.name, indexes: indexed });
  }
});

test("text that is compared has the order of its bytes, and every view can be selected from", async () => {
  const { client, options } = await created();
  const { rows } = await client.query<{ column: string }>({
    text: `SELECT c.relname || '.' || a.attname AS column FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' 
        AND a.attname IN ('cursor', 'version', 'seen', 'store_version', 'written') AND a.atttypid = 'text'::regtype
        AND a.attcollation <> '"C"'::regcollation`,
    values: [options.schema],
  });
  expect(rows).toEqual([]);
  for (const view of Object.keys(views)) expect((await client.query(`SELECT * FROM ${view}`)).rows).toEqual([]);
});

test("keys longer than an index takes are kept, listed in order and found", async () => {
  const { options } = await temporarySchema({ isNew: true });
  await using history = await openHistory(options);
  const stream = await history.openStream(streamOptions());
  // No two bytes alike, so nothing makes them shorter; they differ after what the index has of them.
  const long = Array.from({ length: 50_000 }, (_, index) =>
    String.fromCharCode((index * index * 31 + index * 7) % 256),
  ).join("");
  const keys = [`${long}a`, `${long}b`, `${long}b\0`, `${long}c`, "z", long.slice(0, 1000)].sort();
  await append(stream, [begin("e"), ...keys.map((key) => put(key, "1", 1)), end(1)]);
  await append(stream, [put(`${long}b`, "2", 2), commit(2)]);
  const listed: Uint8Array[] = [];
  for (let after: string | undefined; ; ) {
    const page = await history.list({}, { limit: 2, ...(after !== undefined && { after }) });
    listed.push(...page.items.map(({ key }) => key));
    after = page.next;
    if (after === undefined) break;
  }
  expect(listed.map((key) => Buffer.from(key).toString("latin1"))).toEqual(keys);
  const between = await history.list({ start: bytes(`${long}b`), end: bytes(`${long}c`) });
  expect(between.items.map(({ key }) => key.length)).toEqual([50_001, 50_002]);
  expect(await history.get("s", bytes(`${long}b`))).toMatchObject({ value: bytes("2"), level: 2 });
  expect(await history.streams()).toMatchObject([{ keys: 6, versions: 7 }]);
  expect((await history.fsck()).findings).toEqual([]);
});

test("a version with 0x00, which PostgreSQL does not take, sets its change aside and nothing else", async () => {
  const { options } = await temporarySchema({ isNew: true });
  await using history = await openHistory(options);
  const stream = await history.openStream(streamOptions());
  const bad = { ...put("bad", "1", 1, { attributes: '{"a":"\0"}' }), version: "\0" };
  expect(await append(stream, [begin("e"), put("a", "1", 1), bad, end(1)])).toMatchObject({
    versions: 1,
    quarantined: 1,
  });
  expect(await history.quarantine()).toMatchObject([
    { key: bytes("bad"), value: bytes("1"), error: expect.stringMatching(/0x00/) as unknown },
  ]);
  expect((await history.fsck()).findings).toEqual([]);
});

test("says what is wrong with a database that cannot be a history, and never its password", async () => {
  const { options, client } = await temporarySchema({ isNew: true });
  const failure = async (more: object) => {
    const error: unknown = await openHistory({ ...options, ...more }).then(
      async (history) => history.close(),
      (thrown: unknown) => thrown,
    );
    expect(String(error)).not.toContain("s3cret");
    return error;
  };
  for (const database of ["mysql://u:s3cret@host/db", "s3cret", "postgres//u:s3cret@host/db"]) {
    expect(await failure({ database })).toMatchObject({
      code: "OPTIONS_INVALID",
      message: expect.stringMatching(/postgres:\/\//) as unknown,
    });
  }
  for (const [more, message] of [
    [{ schema: "Robert'; DROP" }, /schema must be a name/],
    [{ leaseMs: 10 }, /leaseMs must be a whole number in \[1000, 600000\], got 10/],
    [{ readers: 0 }, /readers must be/],
    [{ waitMs: -1 }, /waitMs must be/],
  ] as const) {
    expect(await failure(more)).toMatchObject({
      code: "OPTIONS_INVALID",
      message: expect.stringMatching(message) as unknown,
    });
  }
  expect(await failure({ database: "postgres://u:s3cret@127.0.0.1:1/db" })).toMatchObject({
    code: "DATABASE_UNREADABLE",
    retryable: true,
    message: expect.stringMatching(/PostgreSQL 127\.0\.0\.1:1\/db.*ECONNREFUSED.*start the server/) as unknown,
  });
  expect(await failure({ database: options.database.replace("/postgres?", "/missing?") })).toMatchObject({
    code: "DATABASE_UNREADABLE",
    retryable: false,
    message: expect.stringMatching(/"missing" does not exist/) as unknown,
  });

  await client.query(`CREATE SCHEMA ${options.schema}; CREATE TABLE contacts (name text)`);
  expect(await failure({})).toMatchObject({
    code: "DATABASE_UNREADABLE",
    message: expect.stringMatching(/of another program/) as unknown,
  });
  await client.query("CREATE TABLE meta (id int)");
  expect(await failure({})).toMatchObject({
    code: "DATABASE_UNREADABLE",
    message: expect.stringMatching(/of another program/) as unknown,
  });
  expect((await client.query("SELECT * FROM contacts")).rows).toEqual([]);
});

test("a newer schema is refused, and an older one is brought up to date", async () => {
  const { options, client } = await created();
  const where = "the test";
  const origin = "unused";
  const steps = [...schemaSteps, "ALTER TABLE meta ADD COLUMN later text"];
  const raw = client as unknown as PostgresClient;
  const known = await openSchema(raw, { schema: options.schema as string, where, origin }, steps);
  expect(known).not.toBe(origin);
  expect((await client.query("SELECT later FROM meta")).rows).toHaveLength(2);
  await expect(openHistory(options)).rejects.toMatchObject({
    code: "SCHEMA_NEWER",
    message: expect.stringContaining(
      `version ${steps.length}, this Tidemark knows up to ${schemaSteps.length};`,
    ) as unknown,
  });
});

test("the identity stays, and a history that was closed says so", async () => {
  const { options } = await temporarySchema({ isNew: true });
  const first = await openHistory(options);
  const stream = await first.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  const following = first.follow(1n)[Symbol.asyncIterator]().next();
  following.catch(() => undefined);
  await first.close();
  await expect(following).rejects.toMatchObject({ code: "CLOSED" });
  for (const call of [
    () => first.streams(),
    () => first.openStream(streamOptions()),
    () => append(stream, [put("a", "2", 2), commit(2)]),
    () => first.fsck(),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: "CLOSED" });
  }
  await using second = await openHistory(options);
  expect(second.origin).toBe(first.origin);
  expect(await second.streams()).toMatchObject([{ name: "s", keys: 1, cursor: "a1" }]);
});

test("arrays arrive as they were written, whatever is in them", async () => {
  const { client } = await temporarySchema({ isNew: true });
  const texts = ["", "NULL", "null", '"', "\\", '\\"', "{}", "a,b", " a ", "'", "é🙂", "\n\t", "$1", null];
  const bytesOf = [new Uint8Array(), Buffer.from([0, 255, 92, 34]), Buffer.from("NULL").subarray(1, 3), null];
  const numbers = [0, -1, 2 ** 53 - 1, null];
  const { rows } = await client.query({
    text: "SELECT $1::text[] AS texts, $2::bytea[] AS bytes, $3::bigint[] AS numbers, $4::boolean[] AS booleans",
    values: [textArray(texts), bytesArray(bytesOf), numberArray(numbers), booleanArray([true, false])],
  });
  expect(rows).toEqual([
    {
      texts,
      bytes: bytesOf.map((each) => each && Buffer.from(each)),
      numbers: numbers.map((each) => (each === null ? null : String(each))),
      booleans: [true, false],
    },
  ]);
});
