import { execFile, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { promisify } from "node:util";
import { join } from "node:path";

const run = promisify(execFile);

/** What the program of NATS is, and whether it can sync each message. */
export interface NatsProgram {
  readonly file: string;
  readonly version: string;
  /** `sync_interval: always` came with 2.10. */
  readonly canSyncAlways: boolean;
}

/** Undefined where there is none. */
export async function findNats(file: string, folder: string): Promise<NatsProgram | undefined> {
  let version: string;
  try {
    const { stdout, stderr } = await run(file, ["--version"]);
    version = /v?(\d+\.\d+\.\d+)/.exec(stdout + stderr)?.[1] ?? "unknown";
  } catch {
    return undefined;
  }
  const config = join(folder, "nats-check.conf");
  await writeFile(config, configOf({ port: 4222, folder, syncAlways: true }));
  const canSyncAlways = await run(file, ["-t", "-c", config]).then(
    () => true,
    () => false,
  );
  return { file, version, canSyncAlways };
}

interface NatsOptions {
  readonly folder: string;
  readonly syncAlways: boolean;
}

export interface RunningNats extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
}

/** JetStream with file storage in a folder, listening on loopback. */
export async function startNats({ file }: NatsProgram, { folder, syncAlways }: NatsOptions): Promise<RunningNats> {
  const port = await freePort();
  const config = join(folder, "nats.conf");
  await writeFile(config, configOf({ port, folder, syncAlways }));
  const child = spawn(file, ["-c", config], { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const stop = async () => {
    process.off("exit", kill);
    kill();
    await ended;
  };
  try {
    await untilListening(port, ended);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, pid: child.pid ?? 0, [Symbol.asyncDispose]: stop };
}

function configOf({ port, folder, syncAlways }: NatsOptions & { readonly port: number }): string {
  const sync = syncAlways ? "\n  sync_interval: always" : "";
  return `listen: "127.0.0.1:${port}"\njetstream {\n  store_dir: "${folder}"${sync}\n}\n`;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilListening(port: number, ended: Promise<void>): Promise<void> {
  let isOver = false;
  void ended.then(() => (isOver = true));
  const untilMs = performance.now() + 10_000;
  while (!isOver && performance.now() < untilMs) {
    const isThere = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nats-server did not listen on port ${port} within 10 s`);
}
