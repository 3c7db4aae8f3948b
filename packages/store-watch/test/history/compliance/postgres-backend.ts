import { type Rng, systemRng } from "@tidemark/clock";
import { onFileFinished } from "@tidemark/tooling/file-scope";
import { serviceTest } from "@tidemark/tooling/services";
import pg from "pg";
import { is } from "drizzle-orm";
import { getTableConfig, PgTable } from "drizzle-orm/pg-core";
import { inject, onTestFinished } from "vitest";
import type { PostgresClient } from "../../../src/history-postgres/driver.ts";
import { openPostgresHistory } from "../../../src/history-postgres/history.ts";
import { openSchema } from "../../../src/history-postgres/open-schema.ts";
import * as schema from "../../../src/history-postgres/schema.ts";
import type { HistoryStream, PostgresHistoryOptions } from "../../../src/history-types.ts";
import { append } from "../helpers.ts";
import type { Backend, RawDatabase } from "./backend.ts";

const tables = Object.values(schema)
  .filter((each) => is(each, PgTable))
  .map((table) => getTableConfig(table).name);
let schemas = 0;

interface Schema {
  readonly name: string;
  /** Sees it as a person does. */
  readonly client: pg.Client;
}

/**
 * Schemas of earlier tests, as empty as they came into being. To make the tables takes longer than most tests do; the
 * server is gone with the tests, so what cannot be used again stays.
 */
const unused: Schema[] = [];
onFileFinished(async () => {
  for (const { client } of unused.splice(0)) await client.end();
});

function postgresUrl(): string {
  return `postgres://localhost/postgres?host=${inject("postgresFolder")}&user=postgres`;
}

async function newSchema(): Promise<Schema> {
  const name = `test_${process.pid}_${++schemas}`;
  const client = new pg.Client({
    connectionString: postgresUrl(),
    // Some tests ask several questions at once.
    pipeline: true,
    options: `-c search_path=${name} -c client_min_messages=warning -c TimeZone=UTC`,
    types: { getTypeParser: (oid, format) => (oid === 20 ? Number : pg.types.getTypeParser(oid, format as "text")) },
  });
  await client.connect();
  return { name, client };
}

async function emptySchema(): Promise<Schema> {
  const made = await newSchema();
  await openSchema(made.client as unknown as PostgresClient, { schema: made.name, where: "a test", origin: "nobody" });
  await empty(made);
  return made;
}

async function empty({ client }: Schema): Promise<void> {
  const filled = tables.map((name) => `SELECT '${name}' WHERE EXISTS (SELECT 1 FROM ${name})`).join(" UNION ALL ");
  const names = (await client.query<[string]>({ text: filled, rowMode: "array" })).rows.flat();
  const version = "SELECT value FROM meta WHERE key = 'schema_version'";
  const [[known]] = (await client.query<[string]>({ text: version, rowMode: "array" })).rows as [[string]];
  await client.query(`TRUNCATE ${names.join(", ")}; DROP FUNCTION IF EXISTS refuse CASCADE;
    INSERT INTO meta VALUES ('schema_version', '${known}'); INSERT INTO writer VALUES (1, 0, 0, '', '', '-infinity')`);
}

/** A schema of a test's own. `isNew`: there is none yet, and afterwards it may look as it likes. */
export async function temporarySchema({ isNew = false } = {}): Promise<{
  readonly options: PostgresHistoryOptions;
  readonly client: pg.Client;
  readonly database: RawDatabase;
}> {
  const taken = isNew ? await newSchema() : (unused.pop() ?? (await emptySchema()));
  const { name, client } = taken;
  onTestFinished(async ({ task }) => {
    if (isNew || task.result?.state === "fail") return client.end();
    await empty(taken);
    unused.push(taken);
  });
  let table = "";
  const database: RawDatabase = {
    rows: async (query) => (await client.query<unknown[]>({ text: query, rowMode: "array" })).rows,
    refuse: async (event, { when, message = "refused" } = {}) => {
      table = event.split(" ON ")[1] as string;
      await client.query(
        `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '${message}'; END $$`,
      );
      const condition = when === undefined ? "" : `WHEN (${when})`;
      await client.query(
        `CREATE TRIGGER refuse BEFORE ${event} FOR EACH ROW ${condition} EXECUTE FUNCTION ${name}.refuse()`,
      );
    },
    accept: async () => void (await client.query(`DROP TRIGGER refuse ON ${table}`)),
    bytes: (text) => `'${text}'::bytea`,
    hex: (column) => `upper(encode(${column}, 'hex'))`,
    translate: (query) => query.replace(/unixepoch\(('[^']*')\)/, "extract(epoch FROM timestamptz $1)"),
  };
  return { options: { database: postgresUrl(), schema: name }, client, database };
}

export const postgresBackend: Backend = {
  test: serviceTest("postgres"),
  async openedHistory(more) {
    const { options, database } = await temporarySchema();
    const open = async () => {
      const history = await openPostgresHistory({ ...options, ...more });
      onTestFinished(() => history.close());
      return history;
    };
    const history = await open();
    const reopen = async () => {
      await history.close();
      return open();
    };
    return { history, database, reopen };
  },
  async openedGraph({ name, origin, clock }) {
    const { options, client } = await temporarySchema();
    const open = async () => {
      const opened = await openPostgresHistory({ ...options, clock, rng: namedRng(origin), readers: 1 });
      onTestFinished(() => opened.close());
      return opened;
    };
    const openGraph = () => history.openGraph({ name, description: "a test" });
    let history = await open();
    let graph = await openGraph();
    const streams = new Map<string, HistoryStream>();
    return {
      graph,
      reopen: async () => {
        await history.close();
        streams.clear();
        history = await open();
        graph = await openGraph();
        return graph;
      },
      append: async (streamOptions, frames) => {
        const stream = streams.get(streamOptions.name) ?? (await history.openStream(streamOptions));
        streams.set(streamOptions.name, stream);
        await append(stream, frames);
      },
      findings: async () => (await history.fsck()).findings,
      values: async () => {
        const text = "SELECT convert_from(value, 'UTF8') AS value FROM versions ORDER BY pos";
        return (await client.query<{ value: string }>(text)).rows.map(({ value }) => value);
      },
      run: async (sql) => void (await client.query(sql)),
      close: () => history.close(),
    };
  },
};

/** The first name is that of the session, the second one of a new history. */
function namedRng(origin: string): Rng {
  const names = [`session of ${origin}`, origin];
  return Object.assign(Object.create(systemRng) as Rng, { uuid: () => names.shift() as string });
}
