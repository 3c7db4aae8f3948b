// Databases for tests of the command line: a server in a temporary folder, on a socket there, gone with the test file.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll } from "vitest";

const run = promisify(execFile);

function pathOf(program: string): string {
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions) ? readdirSync(versions).map((each) => join(versions, each, "bin")) : [];
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", ...debian];
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no ${program}`);
  return found;
}

/** Neither server runs as root. */
async function asUser(user: string, folder: string): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return [];
  const id = async (flag: string) => Number((await run("id", [flag, user])).stdout);
  const [uid, gid] = [await id("-u"), await id("-g")];
  chownSync(folder, uid, gid);
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--pdeathsig=TERM"];
}

async function command(words: readonly string[]): Promise<void> {
  const [file = "", ...args] = words;
  await run(file, args);
}

async function start(words: readonly string[], socket: string): Promise<ChildProcess> {
  const [file = "", ...args] = words;
  const server = spawn(file, args, { stdio: "ignore" });
  for (let waitedMs = 0; waitedMs < 60_000 && server.exitCode === null; waitedMs += 20) {
    if (existsSync(socket) && (await answers(socket))) return server;
    await sleep(20);
  }
  server.kill("SIGKILL");
  throw new Error(`${file} does not answer`);
}

async function answers(socket: string): Promise<boolean> {
  const link = connect(socket);
  try {
    await once(link, "connect");
    return true;
  } catch {
    return false;
  } finally {
    link.destroy();
  }
}

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) await end();
});

async function folderFor(
  name: string,
  launch: (folder: string) => Promise<ChildProcess>,
  signal: NodeJS.Signals,
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), `tidemark-${name}-`));
  chmodSync(folder, 0o755);
  ends.push(async () => rmSync(folder, { recursive: true, force: true }));
  const server = await launch(folder);
  ends.push(async () => {
    const exited = once(server, "exit");
    server.kill(signal);
    await Promise.race([exited, sleep(10_000, undefined, { ref: false })]);
    server.kill("SIGKILL");
  });
  return folder;
}

let postgres: Promise<string> | undefined;
let mariadb: Promise<string> | undefined;

/** The URL of a PostgreSQL database, whose server asks for this password. */
export async function postgresUrl(password: string): Promise<string> {
  postgres ??= folderFor(
    "postgres",
    async (folder) => {
      const user = await asUser("postgres", folder);
      const data = join(folder, "data");
      await command([
        ...user,
        pathOf("initdb"),
        "-A",
        "trust",
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--no-sync",
        "-D",
        data,
      ]);
      const settings = ["fsync=off", "listen_addresses="].flatMap((setting) => ["-c", setting]);
      const words = [...user, pathOf("postgres"), "-D", data, "-k", folder, ...settings];
      return start(words, join(folder, ".s.PGSQL.5432"));
    },
    "SIGINT",
  );
  return `postgres://postgres:${encodeURIComponent(password)}@/postgres?host=${await postgres}`;
}

/** The URL of a MariaDB database. */
export async function mariadbUrl(password: string): Promise<string> {
  mariadb ??= folderFor(
    "mariadb",
    async (folder) => {
      const user = await asUser("mysql", folder);
      const common = ["--no-defaults", `--datadir=${join(folder, "data")}`];
      const install = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"];
      await command([...user, pathOf("mariadb-install-db"), ...common, ...install]);
      const socket = join(folder, "socket");
      const options = [
        "--skip-networking",
        `--socket=${socket}`,
        `--pid-file=${join(folder, "pid")}`,
        "--skip-log-bin",
      ];
      const server = await start([...user, pathOf("mariadbd"), ...common, ...options], socket);
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
