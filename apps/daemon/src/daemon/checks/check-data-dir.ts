import { constants, existsSync } from "node:fs";
import { access, statfs, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { DaemonError } from "../../daemon-error.ts";
import { unusable } from "../data-dir.ts";

/** Whether a daemon has the folder now. */
export function isFolderTaken(folder: string): boolean {
  const file = join(folder, "daemon.lock");
  if (!existsSync(file)) return false;
  let lock: Database.Database | undefined;
  try {
    lock = new Database(file, { timeout: 0, fileMustExist: true });
    lock.exec("BEGIN EXCLUSIVE");
    return false;
  } catch (error) {
    return String((error as { readonly code?: unknown }).code).startsWith("SQLITE_BUSY");
  } finally {
    lock?.close();
  }
}

/** The folder, or the one that is there and in which it would be made. */
function nearest(folder: string): string {
  return existsSync(folder) ? folder : nearest(dirname(folder));
}

export async function checkDataDir(folder: string, isRunning: boolean): Promise<string> {
  const there = nearest(folder);
  try {
    if (there === folder) {
      // Rights do not tell of a full disk or a read-only file system.
      const probe = join(folder, `.check-${process.pid}`);
      await writeFile(probe, "");
      await unlink(probe);
    } else await access(there, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(folder, error);
  }
  if (isRunning) return `${folder}; a daemon is running there`;
  return there === folder ? folder : `${folder} will be made`;
}

const mib = 1024 ** 2;

export async function checkDisk(folder: string): Promise<string | { readonly warning: string; readonly fix: string }> {
  const { bavail, bsize, blocks } = await statfs(nearest(folder));
  const freeMib = Math.floor((bavail * bsize) / mib);
  const percent = blocks === 0 ? 100 : Math.floor((bavail * 100) / blocks);
  const said = `${freeMib} MiB free, ${percent} %`;
  const fix = "Free some space, or choose another folder with `dataDir`.";
  if (freeMib < 64) throw new DaemonError("DATA_DIR", `${said}: too little to keep anything.`, { fix });
  return freeMib < 1024 || percent < 3 ? { warning: `${said}: that may not last.`, fix } : said;
}
