import { createSimulation } from "@tidemark/clock/testing";
import { onTestFinished } from "vitest";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import type { History } from "../../src/history-types.ts";
import { StoreWatchError } from "../../src/errors.ts";
import type { temporarySchema } from "./compliance/postgres-backend.ts";

type Schema = Awaited<ReturnType<typeof temporarySchema>>;

/** A history that renews its lease by nothing but what it writes: by its clock no time passes. */
export async function openSleeper(options: Parameters<typeof openPostgresHistory>[0]): Promise<History> {
  const { clock } = createSimulation({ seed: 1 });
  const history = await openPostgresHistory({ ...options, clock });
  onTestFinished(() => history.close());
  return history;
}

/** As if the holder had not been heard of for as long as its lease lasts. */
export const letRunOut = ({ client }: Pick<Schema, "client">) =>
  client.query("UPDATE writer SET expires_at = clock_timestamp()");

/**
 * Opens the history of a holder that is awake: what that one writes, or its heartbeat, may come between the end of its
 * lease and whoever takes it. Then the lease has to end once more.
 */
export async function overtake(schema: Pick<Schema, "client" | "options">): Promise<History> {
  for (;;) {
    await letRunOut(schema);
    try {
      return await openPostgresHistory(schema.options);
    } catch (error) {
      if (!StoreWatchError.is(error) || error.code !== "DATABASE_LOCKED") throw error;
    }
  }
}
