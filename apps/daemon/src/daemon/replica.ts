import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type FsckReport,
  type History,
  type HistoryOptions,
  openHistory,
  StoreWatchError,
} from "@tidemark/store-watch";
import type { Clock } from "@tidemark/clock";
import type { DatabaseSettings } from "../config/database-settings.ts";
import { DaemonError } from "../daemon-error.ts";

const replicaFileName = "replica.db";

/** Opens the history in a data folder. @throws {DaemonError} `SCHEMA_NEWER`, `DATA_DIR_IN_USE` or `DATA_DIR`. */
export async function openReplica(folder: string, options: Omit<HistoryOptions, "file"> = {}): Promise<History> {
  return openFile(join(folder, replicaFileName), options);
}

async function openFile(file: string, options: Omit<HistoryOptions, "file">): Promise<History> {
  try {
    return await openHistory({ ...options, file });
  } catch (error) {
    throw historyError(error, file);
  }
}

export interface SharedReplicaOptions {
  readonly synchronous: "normal" | "full";
  /** Ends the wait for another daemon. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Another daemon has the right to write; told once, with who it is. */
  readonly onStandby: (reason: string) => void;
}

/** How long one try waits: a stop must not wait for longer. */
const standbyPollMs = 1000;

/**
 * Opens the history in a PostgreSQL database, as soon as no other daemon writes it.
 *
 * @throws {DaemonError} `SCHEMA_NEWER` or `DATABASE`; the reason of the signal.
 */
export async function openSharedReplica(settings: DatabaseSettings, options: SharedReplicaOptions): Promise<History> {
  const { url, schema, leaseMs, shown } = settings;
  const { synchronous, signal, clock, onStandby } = options;
  let isTold = false;
  for (;;) {
    signal.throwIfAborted();
    try {
      const waitMs = isTold ? standbyPollMs : 0;
      return await openHistory({ database: url, schema, leaseMs, synchronous, waitMs, clock });
    } catch (error) {
      if (!StoreWatchError.is(error) || error.code !== "DATABASE_LOCKED") throw databaseError(error, shown);
      if (!isTold) onStandby(sentenceOf(error));
      isTold = true;
    }
  }
}

/** Connections for reads: nobody asks it but its own site. */
const mirrorReaders = 2;

/**
 * Opens the history of a mirror's other side: a file in the data folder, or beside `main` in its database, which then decides
 * who writes it.
 *
 * @throws {DaemonError} as the others.
 */
export async function openMirrorReplica(
  folder: string,
  { name, database }: { readonly name: string; readonly database: DatabaseSettings | undefined },
  main: { readonly history: History; readonly clock: Clock },
): Promise<History> {
  if (database === undefined) return openFile(join(folder, `${name}.mirror.db`), { synchronous: "full" });
  const { url, schema, leaseMs, shown } = database;
  const { history: leader, clock } = main;
  const own = { database: url, schema, leaseMs, readers: mirrorReaders };
  try {
    // Whoever had it may be within a transaction, which the server ends.
    return await openHistory({ ...own, synchronous: "full", leader, waitMs: leaseMs, clock });
  } catch (error) {
    throw databaseError(error, shown);
  }
}

const sentenceOf = (error: StoreWatchError) => error.message.replace(/^\[[A-Z_]+\] /, "");

function databaseError(error: unknown, shown: string): unknown {
  if (!StoreWatchError.is(error)) return error;
  const sentence = sentenceOf(error);
  if (error.code === "SCHEMA_NEWER") {
    return new DaemonError("SCHEMA_NEWER", `${shown} was written by a newer Tidemark: ${sentence}`, {
      cause: error,
      fix: "Update Tidemark, or use another `history.schema`. Nothing was changed.",
    });
  }
  return new DaemonError("DATABASE", `The history in ${shown} cannot be opened: ${sentence}`, {
    cause: error,
    fix:
      error.code === "DATABASE_LOCKED"
        ? "Start it again: another daemon has gone on with this history meanwhile, and this one will stand by."
        : "Check `history.database` of the configuration, and that its user may create a schema; `tidemark check` tries it.",
  });
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
