// PostgreSQL and MariaDB of the benchmark's own, from Debian's packages, in a temporary folder and on a socket there.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

export type ServerName = "postgres" | "mariadb";

/** Where a server is. */
export interface ServerAddress {
  readonly server: ServerName;
  /** PostgreSQL: the folder of its socket; MariaDB: its socket. */
  readonly socket: string;
  readonly name: string;
}

/** A server, ended when it is disposed of. */
export interface SqlServer extends AsyncDisposable {
  readonly address: ServerAddress;
  /** What it says it is. */
  readonly version: string;
}

const run = promisify(execFile);
const startTimeoutMs = 60_000;

export async function startSqlServer(server: ServerName): Promise<SqlServer> {
  const folder = mkdtempSync(join(tmpdir(), `tidemark-${server}-`));
  chmodSync(folder, 0o755);
  const user = await userOf(server === "postgres" ? "postgres" : "mysql", folder);
  const start = server === "postgres" ? startPostgres : startMariaDb;
  let process: ChildProcess | undefined;
  try {
    const { command, socket, address, version, isReady } = await start(folder, user);
    process = await serve([...user, ...command], socket, isReady);
    const running = process;
    return {
      address: { server, socket: address, name: server === "postgres" ? "postgres" : "mysql" },
      version,
      async [Symbol.asyncDispose]() {
        const ended = once(running, "exit");
        running.kill(server === "postgres" ? "SIGINT" : "SIGTERM");
        await Promise.race([ended, sleep(20_000, undefined, { ref: false })]);
        running.kill("SIGKILL");
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    process?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

interface Start {
  readonly command: readonly string[];
  /** A file that is there when it answers. */
  readonly socket: string;
  readonly address: string;
  readonly version: string;
  /** Whether it takes connections, once there is such a file. */
  readonly isReady: () => Promise<boolean>;
}

async function startPostgres(folder: string, user: readonly string[]): Promise<Start> {
  const data = join(folder, "data");
  const initdb = [programOf("initdb"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D", data];
  await runAs(user, initdb);
  const postgres = programOf("postgres");
  const settings = ["shared_buffers=512MB", "max_wal_size=2GB", "listen_addresses="].flatMap((each) => ["-c", each]);
  return {
    command: [postgres, "-D", data, "-k", folder, ...settings],
    socket: join(folder, ".s.PGSQL.5432"),
    address: folder,
    version: (await run(postgres, ["--version"])).stdout.trim(),
    // It listens before it can say more than that it is starting up.
    isReady: () =>
      run(programOf("pg_isready"), ["-q", "-h", folder]).then(
        () => true,
        () => false,
      ),
  };
}

async function startMariaDb(folder: string, user: readonly string[]): Promise<Start> {
  const common = ["--no-defaults", `--datadir=${join(folder, "data")}`, `--tmpdir=${folder}`];
  const install = [programOf("mariadb-install-db"), ...common, "--auth-root-authentication-method=normal"];
  await runAs(user, [...install, "--skip-test-db", "--skip-name-resolve"]);
  const mariadbd = programOf("mariadbd");
  const socket = join(folder, "socket");
  const options = ["--skip-networking", `--socket=${socket}`, `--pid-file=${join(folder, "pid")}`, "--skip-log-bin"];
  return {
    command: [mariadbd, ...common, ...options, "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"],
    socket,
    address: socket,
    version: (await run(mariadbd, ["--version"])).stdout.trim().replace(/^.*Ver /, "MariaDB "),
    isReady: () => answers(socket),
  };
}

/** Neither runs as root; and none outlives this process, however that ends. */
async function userOf(name: string, folder: string): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return [];
  const id = async (flag: string) => Number((await run("id", [flag, name])).stdout);
  const [uid, gid] = [await id("-u"), await id("-g")];
  chownSync(folder, uid, gid);
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--pdeathsig=TERM"];
}

async function runAs(user: readonly string[], command: readonly string[]): Promise<void> {
  const [file = "", ...args] = [...user, ...command];
  await run(file, args);
}

function programOf(program: string): string {
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions) ? readdirSync(versions).map((each) => join(versions, each, "bin")) : [];
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", ...debian];
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no ${program}: install Debian's postgresql and mariadb-server`);
  return found;
}

async function serve(
  command: readonly string[],
  socket: string,
  isReady: () => Promise<boolean>,
): Promise<ChildProcess> {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => (output = (output + data.toString()).slice(-10_000)));
  }
  for (let waitedMs = 0; waitedMs < startTimeoutMs; waitedMs += 50) {
    if (child.exitCode !== null) throw new Error(`${file} ended: ${output}`);
    if (existsSync(socket) && (await isReady())) return child;
    await sleep(50);
  }
  child.kill("SIGKILL");
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
