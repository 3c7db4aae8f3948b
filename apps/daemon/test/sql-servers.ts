// Databases for tests of the command line: a server in a temporary folder, on a socket there, gone with the test file.

import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { scratchFolder, startMariaDb, startPostgres, stop } from "@tidemark/tooling/servers";
import { afterAll } from "vitest";

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) await end();
});

async function folderFor(
  name: string,
  launch: (folder: string) => Promise<ChildProcess>,
  signal: NodeJS.Signals,
): Promise<string> {
  const folder = scratchFolder(name);
  ends.push(async () => rmSync(folder, { recursive: true, force: true }));
  const server = await launch(folder);
  ends.push(() => stop(server, signal));
  return folder;
}

let postgres: Promise<string> | undefined;
let mariadb: Promise<string> | undefined;

/** The URL of a PostgreSQL database. Its server takes any password. */
export async function postgresUrl(password: string): Promise<string> {
  postgres ??= folderFor("postgres", startPostgres, "SIGINT");
  return `postgres://postgres:${encodeURIComponent(password)}@/postgres?host=${await postgres}`;
}

/** The URL of a MariaDB database. */
export async function mariadbUrl(password: string): Promise<string> {
  mariadb ??= folderFor(
    "mariadb",
    async (folder) => {
      const server = await startMariaDb(folder);
      const socket = join(folder, "socket");
      const { createConnection } = await import("mysql2/promise");
      const root = await createConnection({ socketPath: socket, user: "root" });
      await root.query("create database app");
      await root.query(`create user app identified by ${root.escape(password)}`);
      await root.query("grant all on app.* to app");
      await root.end();
      return server;
    },
    "SIGTERM",
  );
  const socket = encodeURIComponent(join(await mariadb, "socket"));
  return `mysql://app:${encodeURIComponent(password)}@localhost/app?socketPath=${socket}`;
}
