import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { DaemonError } from "../daemon-error.ts";

/** The folder of a daemon, held by this process until it is released or the process ends, however it ends. */
export interface DataDir {
  readonly path: string;
  readonly storeFile: string;
  readonly topicsFolder: string;
  /** Tells a second daemon, which finds the folder taken, where the first one is. */
  announce(url: string): void;
  release(): void;
}

/**
 * Makes the folder if it is not there and takes it.
 *
 * @throws {DaemonError} `DATA_DIR` when it cannot be written, `DATA_DIR_IN_USE` when another daemon has it.
 */
export function openDataDir(path: string): DataDir {
  const noteFile = join(path, "daemon.json");
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw unusable(path, error);
  }
  // Node has no file locks, SQLite has: this one ends with the process, also after SIGKILL.
  let lock: Database.Database | undefined;
  try {
    lock = new Database(join(path, "daemon.lock"), { timeout: 0 });
    // A journal would be left behind by a kill, and there is nothing to journal.
    lock.pragma("journal_mode = MEMORY");
    lock.exec("BEGIN EXCLUSIVE");
    writeFileSync(noteFile, JSON.stringify({ pid: process.pid }));
  } catch (error) {
    lock?.close();
    if (String((error as { readonly code?: unknown }).code).startsWith("SQLITE_BUSY")) {
      throw new DaemonError("DATA_DIR_IN_USE", `Another daemon${readNote(noteFile)} is using ${path}.`, {
        cause: error,
        fix: "Stop that one, or give this one a folder of its own: --data DIR.",
      });
    }
    throw unusable(path, error);
  }
  const held = lock;
  return {
    path,
    storeFile: join(path, "store.db"),
    topicsFolder: join(path, "topics"),
    announce: (url) => writeFileSync(noteFile, JSON.stringify({ pid: process.pid, url })),
    release: () => {
      rmSync(noteFile, { force: true });
      held.close();
    },
  };
}

function readNote(file: string): string {
  try {
    const { pid, url } = JSON.parse(readFileSync(file, "utf8")) as { readonly pid?: unknown; readonly url?: unknown };
    return ` (process ${String(pid)}${typeof url === "string" ? `, ${url}` : ""})`;
  } catch {
    return "";
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: "this user may not write there",
  EPERM: "this user may not write there",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  ENOTDIR: "a part of the path is a file",
  EEXIST: "it is a file",
  SQLITE_CANTOPEN: "files in it cannot be created or opened",
  SQLITE_READONLY: "files in it cannot be written",
  SQLITE_PERM: "this user may not write there",
  SQLITE_NOTADB: "its daemon.lock is not Tidemark's",
};

export function unusable(path: string, error: unknown): DaemonError {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  const reason = reasons[String(code)] ?? reasons[String(code).split("_").slice(0, 2).join("_")] ?? String(message);
  return new DaemonError("DATA_DIR", `The data folder ${path} cannot be used: ${reason}.`, {
    cause: error,
    fix: "Choose another one with --data DIR, or give this user the right to write there.",
  });
}
