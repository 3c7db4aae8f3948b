import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "@tidemark/clock";
import { openSqliteClient, type SqliteDriver } from "./sqlite/sqlite-client.ts";

// A reader and a writer of SQLite that nobody waits for: what they wait for is what others wait for. In a thread of its
// own, because the driver stands still while it waits.

/** What the thread of the probes is started with. */
export interface ProbeStart {
  readonly file: string;
  readonly driver: SqliteDriver | undefined;
  readonly busyTimeoutMs: number;
}

/** To the thread. */
export interface ProbeQuestion {
  readonly id: number;
  readonly kind: "reader" | "writer";
}

/** From the thread. `error`: it could not even be tried; somebody who only kept it waiting is no error. */
export type ProbeAnswer =
  | { readonly id: number; readonly tookMs: number }
  | { readonly id: number; readonly error: string };

if (parentPort !== null) {
  const port = parentPort;
  const { file, driver, busyTimeoutMs } = workerData as ProbeStart;
  const opened = openSqliteClient(file, driver).then((client) => {
    client.execute(`pragma busy_timeout = ${busyTimeoutMs}`, []);
    return client;
  });
  const answer = async ({ id, kind }: ProbeQuestion): Promise<ProbeAnswer> => {
    try {
      const client = await opened;
      const startMs = systemClock.monotonic();
      try {
        if (kind === "reader") client.execute("select count(*) from tidemark_migrations", []);
        else {
          client.execute("begin immediate", []);
          client.execute("rollback", []);
        }
      } catch (error) {
        const { code, errcode } = error as { readonly code?: unknown; readonly errcode?: unknown };
        const isBusy = errcode === 5 || String(code).startsWith("SQLITE_BUSY");
        if (!isBusy) throw error;
      }
      return { id, tookMs: systemClock.monotonic() - startMs };
    } catch (error) {
      return { id, error: error instanceof Error ? error.message : String(error) };
    }
  };
  port.on("message", (question: ProbeQuestion) => void answer(question).then((each) => port.postMessage(each)));
}
