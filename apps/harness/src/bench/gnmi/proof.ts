import Database from "better-sqlite3";
import { counterPaths } from "../../gnmi/device-load.ts";
import { deviceName } from "../../gnmi/roles.ts";

/**
 * Reads the database as a stranger and compares it with what each device did: after the snapshot, value n of the n-th change
 * at the path that was its turn, nothing missing, nothing twice, nothing else.
 *
 * @throws where they differ.
 */
export function proveHistory(file: string, interfaces: number, changes: readonly number[]): void {
  const paths = counterPaths(interfaces);
  const database = new Database(file, { readonly: true, fileMustExist: true });
  try {
    const rows = database
      .prepare("SELECT CAST(key AS TEXT), CAST(value AS TEXT) FROM history WHERE stream = ? ORDER BY position")
      .raw();
    for (const [index, count] of changes.entries()) {
      const name = deviceName(index);
      let seen = 0;
      for (const [key, value] of rows.iterate(name) as IterableIterator<[string, string | null]>) {
        // The snapshot, in which every counter is 0.
        if (seen === 0 && value !== "1") continue;
        const path = paths[seen % paths.length];
        seen++;
        if (key !== path || value !== String(seen)) {
          throw new Error(`${name}: change ${seen} must be ${path} = ${seen}, but ${key} = ${value} is there`);
        }
      }
      if (seen !== count) throw new Error(`${name} made ${count} changes, and ${seen} are in the history`);
    }
  } finally {
    database.close();
  }
}
