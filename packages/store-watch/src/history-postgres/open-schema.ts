import { StoreWatchError } from "../errors.ts";
import { schemaSteps, viewStatements } from "./ddl.ts";
import type { PostgresClient } from "./driver.ts";
import { sqlState } from "./postgres-errors.ts";

/** So that two that start at once do not both create the schema. */
const creationLock = 0x54_4d_72_6b;

/**
 * Creates the schema or brings it up to date, all or nothing, and gives a new one its identity.
 *
 * @returns the identity. @throws {StoreWatchError} `SCHEMA_NEWER`, `DATABASE_UNREADABLE`
 */
export async function openSchema(
  client: PostgresClient,
  options: { readonly schema: string; readonly where: string; readonly origin: string },
  steps: readonly string[] = schemaSteps,
): Promise<string> {
  const { schema, where } = options;
  await client.query("BEGIN");
  try {
    await client.query({ text: "SELECT pg_advisory_xact_lock($1)", values: [creationLock] });
    await client.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
    const known = await readMeta(client, schema, where);
    const version = Number(known.get("schema_version") ?? 0);
    if (version > steps.length) {
      throw new StoreWatchError(
        "SCHEMA_NEWER",
        `${where} has schema version ${version}, this Tidemark knows up to ${steps.length}; ` +
          "start the newer Tidemark that wrote it, or restore the backup from before",
      );
    }
    if (version < steps.length) {
      for (const step of steps.slice(version)) await client.query(step);
      await client.query(viewStatements);
      await client.query({
        text: `INSERT INTO meta (key, value) VALUES ('schema_version', $1)
          ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
        values: [String(steps.length)],
      });
    }
    let origin = known.get("origin");
    if (origin === undefined) {
      ({ origin } = options);
      await client.query({ text: "INSERT INTO meta (key, value) VALUES ('origin', $1)", values: [origin] });
      await client.query({ text: "INSERT INTO origins (id, name) VALUES (1, $1)", values: [origin] });
    }
    await client.query("COMMIT");
    return origin;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

async function readMeta(client: PostgresClient, schema: string, where: string): Promise<Map<string, string>> {
  const tables = await client.query<{ readonly name: string }>({
    text: "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1",
    values: [schema],
  });
  if (tables.rows.length === 0) {
    await client.query("CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)");
    return new Map();
  }
  const foreign = new StoreWatchError(
    "DATABASE_UNREADABLE",
    `${where} has tables of another program; give the history a schema of its own`,
  );
  if (!tables.rows.some(({ name }) => name === "meta")) throw foreign;
  await client.query("SAVEPOINT meta");
  try {
    const { rows } = await client.query<{ readonly key: string; readonly value: string }>(
      "SELECT key, value FROM meta",
    );
    const meta = new Map(rows.map(({ key, value }) => [key, value]));
    if (meta.has("schema_version")) return meta;
  } catch (error) {
    if (sqlState(error) === undefined) throw error;
    await client.query("ROLLBACK TO meta");
  }
  throw foreign;
}
