import type Database from "better-sqlite3";
import type { HeldValues, Savepoints } from "./object-rows.ts";
import { classifySqliteError } from "./sqlite-errors.ts";
import type { VersionStore } from "./version-store.ts";

/** Compares with what the database has, which SQLite tells at once. */
export class StoredValues implements HeldValues {
  readonly #store: VersionStore;
  readonly isAhead = false;

  constructor(store: VersionStore) {
    this.#store = store;
  }

  readAhead(): void {}

  add(): void {}

  isSame(position: number, value: Buffer): boolean {
    const held = this.#store.valueAt(position);
    return held !== null && value.equals(held);
  }

  hasAttributes(position: number, attributes: string | null): boolean {
    return this.#store.attributesAt(position) === attributes;
  }
}

export function sqliteSavepoints(db: Database.Database): Savepoints {
  return {
    begin: () => void db.exec("SAVEPOINT change"),
    rollBack: () => void db.exec("ROLLBACK TO change"),
    check: () => undefined,
    release: () => void db.exec("RELEASE change"),
    refusalOf(error) {
      if (classifySqliteError(error) !== "data") return undefined;
      return error instanceof Error ? error.message : String(error);
    },
  };
}
