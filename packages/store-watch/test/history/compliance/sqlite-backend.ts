import { test } from "vitest";
import { createMemoryGraph } from "../../../src/testing/memory-graph.ts";
import { openedHistory, plain } from "../helpers.ts";
import type { Backend } from "./backend.ts";

export const sqliteBackend: Backend = {
  test,
  async openedHistory(options) {
    const { history, file } = await openedHistory(options);
    return {
      history,
      reopen: async () => {
        await history.close();
        return (await openedHistory({ ...options, file })).history;
      },
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
  async openedGraph(options) {
    const memory = createMemoryGraph(options);
    return {
      graph: memory.open(),
      reopen: async () => memory.open(),
      append: async (stream, frames) => void memory.append(stream, frames),
      findings: async () => memory.fsck().findings,
      values: async () =>
        memory
          .query("SELECT CAST(value AS TEXT) AS value FROM versions ORDER BY pos")
          .map((row) => (row as { value: string }).value),
      run: async (sql) => memory.run(sql),
      close: async () => memory.close(),
    };
  },
};
