import { serviceTest } from "@tidemark/tooling/services";
import pg from "pg";
import { inject, onTestFinished } from "vitest";
import { openPostgresHistory } from "../../../src/history-postgres/history.ts";
import type { PostgresHistoryOptions } from "../../../src/history-types.ts";
import type { Backend, RawDatabase } from "./backend.ts";

let schemas = 0;

function postgresUrl(): string {
  return `postgres://localhost/postgres?host=${inject("postgresFolder")}&user=postgres`;
}

/** A schema of a test's own, and a connection that sees it as a person does. */
export async function temporarySchema(): Promise<{
  readonly options: PostgresHistoryOptions;
  readonly client: pg.Client;
  readonly database: RawDatabase;
}> {
  const schema = `test_${process.pid}_${++schemas}`;
  const client = new pg.Client({
    connectionString: postgresUrl(),
    options: `-c search_path=${schema} -c client_min_messages=warning -c TimeZone=UTC`,
    types: { getTypeParser: (oid, format) => (oid === 20 ? Number : pg.types.getTypeParser(oid, format as "text")) },
  });
  await client.connect();
  onTestFinished(async () => {
    await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    await client.end();
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
        `CREATE TRIGGER refuse BEFORE ${event} FOR EACH ROW ${condition} EXECUTE FUNCTION ${schema}.refuse()`,
      );
    },
    accept: async () => void (await client.query(`DROP TRIGGER refuse ON ${table}`)),
    bytes: (text) => `'${text}'::bytea`,
    hex: (column) => `upper(encode(${column}, 'hex'))`,
    translate: (query) => query.replace(/unixepoch\(('[^']*')\)/, "extract(epoch FROM timestamptz $1)"),
  };
  return { options: { database: postgresUrl(), schema }, client, database };
}

export const postgresBackend: Backend = {
  test: serviceTest("postgres"),
  async openedHistory(more) {
    const { options, database } = await temporarySchema();
    const history = await openPostgresHistory({ ...options, ...more });
    onTestFinished(() => history.close());
    return { history, database };
  },
};
