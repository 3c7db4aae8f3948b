import { copyFile, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { RoleProcess, startRole } from "../../role-process.ts";
import type { FollowOptions, FollowRole } from "../../roles/follow-options.ts";

/** What one run of one contender has cost. */
export interface RunCost {
  readonly changes: number;
  readonly ms: number;
  readonly cpuMs: number | undefined;
  readonly peakRssBytes: number | undefined;
}

/** A folder for the databases of a benchmark. */
export class BenchFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

export async function benchFolder(): Promise<BenchFolder> {
  return new BenchFolder(await mkdtemp(join(tmpdir(), "tidemark-bench-")));
}

/** Follows a store until it is live, and stops: the history then knows where to go on. */
export async function prepareHistory(options: FollowOptions): Promise<void> {
  await using role = await startRole<FollowRole>("follow");
  await role.call("open", options);
  await role.call("sync");
  await role.call("close");
  await role.release();
}

/** From the start of everything to the last revision committed, in a process of its own. */
export async function followTo(
  options: FollowOptions,
  revision: bigint,
  nodeArgs: readonly string[],
): Promise<RunCost> {
  await using role: RoleProcess<FollowRole> = await startRole<FollowRole>("follow", { nodeArgs });
  const booted = role.usage();
  const before = versionsIn(options.file);
  await role.call("open", options);
  const { ms } = await role.call("until", revision);
  const usage = role.usage();
  await role.call("close");
  // A profile is written by a process that ends by itself.
  await role.release();
  return {
    changes: versionsIn(options.file) - before,
    ms,
    cpuMs: usage.cpuMs === undefined ? undefined : usage.cpuMs - (booted.cpuMs ?? 0),
    peakRssBytes: usage.peakRssBytes,
  };
}

/** How many versions a database holds, by its own word to a stranger; 0 where there is none. */
export function versionsIn(file: string): number {
  let database: Database.Database;
  try {
    database = new Database(file, { readonly: true, fileMustExist: true });
  } catch {
    return 0;
  }
  try {
    return database.prepare("select count(*) from versions").pluck().get() as number;
  } finally {
    database.close();
  }
}

export async function copyHistory(from: string, to: string): Promise<void> {
  await rm(`${to}-wal`, { force: true });
  await rm(`${to}-shm`, { force: true });
  await copyFile(from, to);
}

export async function fileBytes(file: string): Promise<number> {
  return (await stat(file)).size;
}
