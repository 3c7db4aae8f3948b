import type { Simulation } from "@tidemark/clock/testing";
import { PGlite } from "@electric-sql/pglite";
import { postgresState, type SqliteTransaction, sqliteState, type StateStore } from "@tidemark/reconcile";
import Database from "better-sqlite3";
import type { SQL } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzlePostgres } from "drizzle-orm/node-postgres";
import { drizzle as drizzlePglite } from "drizzle-orm/pglite";
import { drizzle as drizzlePostgresJs } from "drizzle-orm/postgres-js";
import { hasService, serviceTest } from "@tidemark/tooling/services";
import pg from "pg";
import postgres from "postgres";
import { inject, onTestFinished, test } from "vitest";

export function sqlite(): { store: StateStore<SqliteTransaction>; client: Database.Database } {
  const client = new Database(":memory:");
  return { store: sqliteState(drizzle({ client })), client };
}

let pglite: PGlite | undefined;

/** One PGlite for all tests of a file: each gets its own name for its cycle. */
function pgliteState(): StateStore {
  pglite ??= new PGlite();
  return postgresState(drizzlePglite({ client: pglite }));
}

const serverAt = () => ({ host: inject("postgresFolder"), user: "postgres", database: "postgres" });

/** A real server, through node-postgres. */
export function nodePostgres(): { store: ReturnType<typeof postgresState<NodePostgresTx>>; pool: pg.Pool } {
  const pool = new pg.Pool({ ...serverAt(), max: 4 });
  // As postgresState says: node-postgres throws where nobody listens when the server ends a connection.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  onTestFinished(() => pool.end());
  return { store: postgresState(drizzlePostgres({ client: pool })), pool };
}
type NodePostgresTx = Parameters<Parameters<ReturnType<typeof drizzlePostgres>["transaction"]>[0]>[0];

/** A real server, through postgres.js. */
function postgresJsState(): StateStore {
  const client = postgres({ ...serverAt(), max: 4, onnotice: () => {} });
  onTestFinished(() => client.end());
  return postgresState(drizzlePostgresJs({ client })) as StateStore;
}

/** Every database and driver that there is, with its name and the `test` for it. */
export const databases: readonly {
  readonly name: string;
  readonly test: (name: string, run: () => Promise<void>) => void;
  readonly state: () => StateStore;
}[] = [
  { name: "SQLite", test, state: () => sqlite().store as StateStore },
  { name: "PostgreSQL", test: serviceTest("postgres"), state: () => nodePostgres().store as StateStore },
  { name: "PostgreSQL, postgres.js", test: serviceTest("postgres"), state: postgresJsState },
  // In the process itself: not the real thing, but there on every machine.
  ...(hasService("postgres") ? [] : [{ name: "PGlite", test, state: pgliteState }]),
];

/** A database that answers in real time, within virtual time. */
export function within<Tx>(simulation: Simulation, store: StateStore<Tx>): StateStore<Tx> {
  return {
    all: (query) => simulation.external(() => store.all(query)),
    commit: (statements, write) => simulation.external(() => store.commit(statements, write)),
  };
}

/** A database that fails when told to: before a commit, or after it, so that nobody knows. */
export class FaultyStore<Tx> implements StateStore<Tx> {
  fault: () => "none" | "before" | "after" = () => "none";
  /** The process has died: nothing reaches the database any more. */
  isDead = false;
  readonly #store: StateStore<Tx>;

  constructor(store: StateStore<Tx>) {
    this.#store = store;
  }

  all<Row>(query: SQL): Promise<Row[]> {
    return this.#faulty(() => this.#store.all<Row>(query));
  }

  commit(statements: readonly SQL[], write?: (tx: Tx) => void | Promise<void>): Promise<void> {
    return this.#faulty(() => this.#store.commit(statements, write));
  }

  async #faulty<T>(work: () => Promise<T>): Promise<T> {
    const fault = this.fault();
    if (this.isDead || fault === "before") throw new Error("the database is away");
    const result = await work();
    if (fault === "after") throw new Error("the connection was lost");
    return result;
  }
}
