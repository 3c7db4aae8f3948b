// Database servers of the tests' own, in temporary folders and on sockets there, started once for all test files.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** Folder of its socket. */
    postgresFolder: string;
    /** Its socket. */
    mariadbSocket: string;
  }
}

export const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

export function pathOf(program: string): string {
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions) ? readdirSync(versions).map((each) => join(versions, each, "bin")) : [];
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", ...debian];
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no ${program}`);
  return found;
}

/** Neither server runs as root; and none outlives the process that started it, however that ends. */
export async function asUser(user: string, folder: string, isServer: boolean): Promise<string[]> {
  if (!isRoot) return [];
  const id = async (flag: string) => Number((await run("id", [flag, user])).stdout);
  const [uid, gid] = [await id("-u"), await id("-g")];
  chownSync(folder, uid, gid);
  const pdeathsig = isServer ? ["--pdeathsig=TERM"] : [];
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", ...pdeathsig];
}

/** Starts a server and waits until its socket answers. */
export async function serve(command: readonly string[], socket: string): Promise<ChildProcess> {
  const [file = "", ...args] = command;
  const server = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  server.stdout.on("data", (data: Buffer) => (output += data.toString()));
  server.stderr.on("data", (data: Buffer) => (output += data.toString()));
  for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 20) {
    if (server.exitCode !== null) throw new Error(`${file} ended: ${output}`);
    if (existsSync(socket) && (await answers(socket))) return server;
    await sleep(20);
  }
  server.kill("SIGKILL");
  throw new Error(`${file} does not answer: ${output}`);
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

export function scratchFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `tidemark-${name}-`));
  chmodSync(folder, 0o755);
  return folder;
}

const hasty = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

/**
 * A server on the socket `.s.PGSQL.5432` in `folder`. Without `settings` it is quick: it forgets what it wrote when the
 * machine stops, and loses nothing when it is killed itself.
 */
export async function startPostgres(folder: string, settings: readonly string[] = hasty): Promise<ChildProcess> {
  const data = join(folder, "data");
  await run(...split([...(await asUser("postgres", folder, false)), pathOf("initdb"), ...initdb, "-D", data]));
  const options = [...settings, "max_connections=60"].flatMap((setting) => ["-c", setting]);
  const socket = ["-c", "listen_addresses=", "-k", folder];
  const command = [...(await asUser("postgres", folder, true)), pathOf("postgres"), "-D", data, ...socket, ...options];
  const server = await serve(command, join(folder, ".s.PGSQL.5432"));
  // It takes connections before it has started up, and refuses them then.
  for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 20) {
    const isReady = await run(pathOf("pg_isready"), ["-q", "-h", folder]).then(
      () => true,
      () => false,
    );
    if (isReady) return server;
    await sleep(20);
  }
  server.kill("SIGKILL");
  throw new Error(`the PostgreSQL in ${folder} does not get ready`);
}
const initdb = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];

const quick = ["--skip-networking", "--skip-log-bin", "--innodb-buffer-pool-size=32M"];

/** A server on the socket `socket` in `folder`, with settings in place of those that suit most tests. */
export async function startMariaDb(folder: string, settings: readonly string[] = quick): Promise<ChildProcess> {
  // A server that starts removes temporary tables that it finds, also those of another one.
  const common = ["--no-defaults", `--datadir=${join(folder, "data")}`, `--tmpdir=${folder}`];
  const program = [pathOf("mariadb-install-db"), ...common, "--auth-root-authentication-method=normal"];
  const install = [...program, "--skip-test-db", "--skip-name-resolve"];
  await run(...split([...(await asUser("mysql", folder, false)), ...install]));
  const socket = join(folder, "socket");
  const options = [`--socket=${socket}`, `--pid-file=${join(folder, "pid")}`, ...settings];
  const lazy = ["--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M"];
  const command = [...(await asUser("mysql", folder, true)), pathOf("mariadbd"), ...common, ...options, ...lazy];
  return serve(command, socket);
}

export function split([file = "", ...args]: readonly string[]): [string, string[]] {
  return [file, args];
}

/** Resolves when it has ended: then nobody writes into its folder any more. */
export async function stop(server: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, "exit");
  server.kill(signal);
  await Promise.race([ended, sleep(10_000, undefined, { ref: false })]);
  server.kill("SIGKILL");
  await ended;
}

/**
 * Starts those of the databases that this machine has, see TIDEMARK_SERVICES: to be called by the `globalSetup` of a
 * package's tests. Tests find them with `inject("postgresFolder")` and `inject("mariadbSocket")`.
 */
export async function startDatabases(
  project: TestProject,
  wanted: readonly ("postgres" | "mariadb")[],
): Promise<() => Promise<void>> {
  const services = (process.env["TIDEMARK_SERVICES"] ?? "").split(",");
  const ends: (() => Promise<void>)[] = [];
  const start = async (
    service: "postgres" | "mariadb",
    launch: (folder: string) => Promise<ChildProcess>,
    signal: NodeJS.Signals,
  ): Promise<string> => {
    if (!wanted.includes(service) || !services.includes(service)) return "";
    const folder = scratchFolder(service);
    ends.push(async () => rmSync(folder, { recursive: true, force: true }));
    const server = await launch(folder);
    ends.push(() => stop(server, signal));
    return folder;
  };
  const end = async () => {
    for (const each of ends.toReversed()) await each();
  };
  try {
    const [postgres, mariadb] = await Promise.all([
      start("postgres", startPostgres, "SIGINT"),
      start("mariadb", startMariaDb, "SIGTERM"),
    ]);
    project.provide("postgresFolder", postgres);
    project.provide("mariadbSocket", join(mariadb, "socket"));
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}
