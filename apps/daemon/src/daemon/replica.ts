import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type FsckReport,
  type History,
  type HistoryOptions,
  openHistory,
  StoreWatchError,
} from "@tidemark/store-watch";
import { DaemonError } from "../daemon-error.ts";

const replicaFileName = "replica.db";

/** Opens the history in a data folder. @throws {DaemonError} `SCHEMA_NEWER`, `DATA_DIR_IN_USE` or `DATA_DIR`. */
export async function openReplica(folder: string, options: Omit<HistoryOptions, "file"> = {}): Promise<History> {
  const file = join(folder, replicaFileName);
  try {
    return await openHistory({ ...options, file });
  } catch (error) {
    throw historyError(error, file);
  }
}

/** Checks the history of a daemon that is not running. @throws {DaemonError} as above. */
export async function checkReplica(folder: string, signal: AbortSignal): Promise<FsckReport> {
  if (!existsSync(join(folder, replicaFileName))) {
    throw new DaemonError("DATA_DIR", `There is no history in ${folder}: ${replicaFileName} is missing.`, {
      fix: "Name the folder that `tidemark up --data` was given; without that it is ./tidemark-data.",
    });
  }
  await using history = await openReplica(folder);
  return await history.fsck({ signal });
}

/** Why a history cannot be opened, for the person who wants to open it. */
function historyError(error: unknown, file: string): unknown {
  if (!StoreWatchError.is(error)) return error;
  // The file is named already.
  const sentence = error.message.replace(/^\[[A-Z_]+\] /, "").replace(`${file} `, "it ");
  switch (error.code) {
    case "SCHEMA_NEWER":
      return new DaemonError("SCHEMA_NEWER", `${file} was written by a newer Tidemark: ${sentence}`, {
        cause: error,
        fix: "Update Tidemark, or use another folder with --data. Nothing was changed.",
      });
    case "DATABASE_LOCKED":
      return new DaemonError("DATA_DIR_IN_USE", `${file} is in use: ${sentence}`, {
        cause: error,
        fix: "Stop the daemon that uses it; while it runs, `tidemark fsck` without --data asks it to check itself.",
      });
    case "DATABASE_UNREADABLE":
      return new DaemonError("DATA_DIR", `${file} cannot be opened: ${sentence}`, {
        cause: error,
        fix: "Check the file and its rights, or use another folder with --data.",
      });
    default:
      return error;
  }
}
