import type { Simulation } from "@tidemark/clock/testing";
import { PGlite } from "@electric-sql/pglite";
import { postgresState, type SqliteTransaction, sqliteState, type StateStore } from "@tidemark/reconcile";
import Database from "better-sqlite3";
import type { SQL } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzlePglite } from "drizzle-orm/pglite";

export function sqlite(): { store: StateStore<SqliteTransaction>; client: Database.Database } {
  const client = new Database(":memory:");
  return { store: sqliteState(drizzle({ client })), client };
}

let pglite: PGlite | undefined;

/** One PGlite for all tests of a file: each gets its own name for its cycle. */
export function pgliteState(): StateStore {
  pglite ??= new PGlite();
  return postgresState(drizzlePglite({ client: pglite }));
}

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
