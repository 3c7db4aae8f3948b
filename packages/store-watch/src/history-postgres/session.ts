import type { Later } from "../history/flow.ts";
import type { PostgresQuery, PostgresResult } from "./driver.ts";

/** Who asks the server: the one connection of the writer while it is in a transaction, or that of one read. */
export interface PostgresSession {
  query<Row = Record<string, unknown>>(query: PostgresQuery | string): Promise<PostgresResult<Row>>;
  /**
   * Sends a statement whose answer nobody needs, and does not wait for it: what goes wrong with it is told instead of the
   * next answer, or of the commit. Only the writer has this.
   */
  post?(query: PostgresQuery | string): Later<void>;
}

/** The first row of an answer. */
export async function one<Row>(
  session: PostgresSession,
  text: string,
  values: readonly unknown[] = [],
  name?: string,
): Promise<Row | undefined> {
  return (await all<Row>(session, text, values, name))[0];
}

/** A statement with a name is prepared once for each connection. */
export async function all<Row>(
  session: PostgresSession,
  text: string,
  values: readonly unknown[] = [],
  name?: string,
): Promise<Row[]> {
  return (await session.query<Row>(queryOf(text, values, name))).rows;
}

/** Runs a statement without an answer. In the writer's transactions the next one is sent without waiting for it. */
export function run(
  session: PostgresSession,
  text: string,
  values: readonly unknown[] = [],
  name?: string,
): Later<void> {
  const query = queryOf(text, values, name);
  return session.post === undefined ? session.query(query).then(() => undefined) : session.post(query);
}

function queryOf(text: string, values: readonly unknown[], name: string | undefined): PostgresQuery {
  return name === undefined ? { text, values } : { text, values, name: `tidemark_${name}` };
}
