import { test } from "vitest";
import { openedHistory, plain } from "../helpers.ts";
import type { Backend } from "./backend.ts";

export const sqliteBackend: Backend = {
  test,
  async openedHistory(options) {
    const { history, file } = await openedHistory(options);
    return {
      history,
      database: {
        rows: async (query) => plain(file, (db) => db.prepare(query).raw().all() as unknown[][]),
        refuse: async (event, { when, message = "refused" } = {}) => {
          const condition = when === undefined ? "" : `WHEN ${when}`;
          const trigger = `CREATE TRIGGER refuse BEFORE ${event} ${condition} BEGIN SELECT raise(ABORT, '${message}'); END`;
          plain(file, (db) => db.exec(trigger));
        },
        accept: async () => void plain(file, (db) => db.exec("DROP TRIGGER refuse")),
        bytes: (text) => `CAST('${text}' AS BLOB)`,
        hex: (column) => `hex(${column})`,
        translate: (query) => query,
      },
    };
  },
};
