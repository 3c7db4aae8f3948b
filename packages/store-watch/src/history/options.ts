import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { StoreWatchError } from "../errors.ts";
import type { AsOf, HistoryOptions, OpenStreamOptions, PageOptions, Position } from "../history-types.ts";
import type { AsOfInput, PositionNumber } from "./methods.ts";

export const historyDefaults = { synchronous: "normal", readers: 1 } as const satisfies Partial<HistoryOptions>;
export const pageDefaults = { limit: 1000 } as const satisfies PageOptions;

const maxReaders = 16;
const maxPageLimit = 10_000;

const invalid = (message: string) => new StoreWatchError("OPTIONS_INVALID", message);

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function resolveHistoryOptions(options: HistoryOptions): Required<HistoryOptions> {
  const { file } = options;
  const synchronous = options.synchronous ?? historyDefaults.synchronous;
  const readers = options.readers ?? historyDefaults.readers;
  if (typeof file !== "string" || file === "" || file === ":memory:") {
    throw invalid(
      `file must be a path or a file: URL (a history has several connections), got ${JSON.stringify(file)}`,
    );
  }
  if (synchronous !== "normal" && synchronous !== "full") {
    throw invalid(`synchronous must be "normal" or "full", got ${JSON.stringify(synchronous)}`);
  }
  if (!Number.isInteger(readers) || readers < 1 || readers > maxReaders) {
    throw invalid(`readers must be a whole number in [1, ${maxReaders}], got ${readers}`);
  }
  return { file: placeOf(toPath(file)), synchronous, readers };
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function checkStreamOptions(options: OpenStreamOptions): void {
  for (const field of ["name", "kind", "description", "scope"] as const) {
    if (typeof options[field] !== "string")
      throw invalid(`${field} of a stream must be text, got ${typeof options[field]}`);
  }
  if (options.name === "") throw invalid("the name of a stream must not be empty");
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function checkLimit(limit: number | undefined): number {
  const value = limit ?? pageDefaults.limit;
  if (Number.isInteger(value) && value >= 1 && value <= maxPageLimit) return value;
  throw invalid(`limit must be a whole number in [1, ${maxPageLimit}], got ${value}`);
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function toPosition(position: Position): PositionNumber {
  if (typeof position === "bigint" && position >= 0n && position <= BigInt(Number.MAX_SAFE_INTEGER)) {
    return Number(position);
  }
  throw invalid(`a position is a bigint in [0, 2^53), got ${String(position)}`);
}

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
export function toAsOf(at: AsOf): AsOfInput {
  const { timeMs, position, cursor } = at;
  if (timeMs !== undefined && !Number.isFinite(timeMs)) throw invalid(`timeMs must be a number, got ${timeMs}`);
  return {
    ...(timeMs !== undefined && { timeMs }),
    ...(position !== undefined && { position: toPosition(position) }),
    ...(cursor !== undefined && { cursor }),
  };
}

function toPath(file: string): string {
  if (!file.startsWith("file:")) return resolve(file);
  try {
    return fileURLToPath(file);
  } catch (error) {
    throw new StoreWatchError("OPTIONS_INVALID", `expected a file: URL of a local file, got ${file}`, { cause: error });
  }
}

/** Where the file is, whatever links lead there: SQLite follows them, and what lies beside it must, too. */
function placeOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // It is still to be made, or opening it says what is wrong.
    return path;
  }
}
