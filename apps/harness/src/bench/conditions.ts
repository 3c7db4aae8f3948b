import { execFile } from "node:child_process";
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from "node:os";
import { promisify } from "node:util";
import Database from "better-sqlite3";

/** Under what circumstances something was measured, by name. */
export type Conditions = Readonly<Record<string, string>>;

const run = promisify(execFile);

/** What is the same for every benchmark. */
export async function conditionsOf(more: Conditions = {}): Promise<Conditions> {
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? "unknown processor"}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${platform()} ${release()}`,
    "load before": loadavg()
      .map((load) => load.toFixed(2))
      .join(" "),
    node: process.version,
    sqlite: `${sqliteVersion()} (better-sqlite3)`,
    etcd: await etcdVersion(),
    ...more,
  };
}

function sqliteVersion(): string {
  const database = new Database(":memory:");
  try {
    return database.prepare("select sqlite_version()").pluck().get() as string;
  } finally {
    database.close();
  }
}

async function etcdVersion(): Promise<string> {
  try {
    const { stdout } = await run("etcd", ["--version"]);
    return /etcd Version: (\S+)/.exec(stdout)?.[1] ?? "unknown";
  } catch {
    return "not on PATH";
  }
}
