import type { Dialect } from "../dialect.ts";
import { MigrateError } from "../migrate-error.ts";
import type { ThrottleSignal } from "../signals.ts";

/** Signals that the engine can read by itself. */
export type SignalName =
  /** How late the event loop of the caller's thread was at worst, in milliseconds. */
  | "event-loop"
  /** How long a small read of the engine's own takes beside its chunks, in milliseconds. */
  | "reader"
  /** How long a small write of the engine's own takes beside its chunks, in milliseconds. */
  | "writer"
  /** How much must stay free on the disk of the database, in bytes. */
  | "disk-free"
  /** SQLite: what is in the WAL and cannot be moved into the database, in bytes. Read always. */
  | "wal"
  /** PostgreSQL: WAL that the whole server writes, in bytes per second. */
  | "wal-rate"
  /** PostgreSQL: dead rows for each live row of the table. */
  | "vacuum"
  /** PostgreSQL, MariaDB and MySQL: how far the slowest replica is behind, in milliseconds. */
  | "replica-lag"
  /** PostgreSQL, MariaDB and MySQL: how long the first of those waits who wait for a lock of a chunk, in milliseconds. */
  | "blocked";

/** A replica of MariaDB or MySQL, which alone knows how far it is behind: a pool of `mysql2/promise`. */
export interface MysqlReplica {
  query(sql: string): Promise<[unknown, unknown]>;
}

/** A signal of the engine's own, and how much of it is bearable. */
export interface SignalRequest {
  readonly name: SignalName;
  /**
   * What is just bearable, in the unit of the signal, above 0. Can be changed while a run goes.
   * @default 50 for event-loop and reader, 100 for writer and blocked, 1 GiB for disk-free, 32 MiB for wal and wal-rate,
   * 0.2 for vacuum, 10_000 for replica-lag
   */
  readonly limit?: number;
  /**
   * disk-free: a folder on the disk in question.
   * @default the folder of a SQLite database; a server's has to be said, and to be on this machine
   */
  readonly path?: string;
  /** replica-lag of MariaDB and MySQL: the replicas. PostgreSQL's primary knows its own. */
  readonly replicas?: readonly MysqlReplica[];
  /**
   * replica-lag of PostgreSQL: how many there should be; with fewer the run waits.
   * @default 0
   */
  readonly minReplicas?: number;
  /**
   * vacuum: whether the engine vacuums the table by itself when there are too many dead rows, or waits for autovacuum.
   * @default false
   */
  readonly vacuums?: boolean;
}

/** What may be listed under `signals`. */
export type SignalOption = SignalName | SignalRequest | ThrottleSignal;

/** The defaults of `SignalRequest.limit`. */
export const signalLimits = {
  "event-loop": 50,
  reader: 50,
  writer: 100,
  "disk-free": 2 ** 30,
  wal: 32 * 2 ** 20,
  "wal-rate": 32 * 2 ** 20,
  vacuum: 0.2,
  "replica-lag": 10_000,
  blocked: 100,
} as const satisfies Record<SignalName, number>;

const everywhere = ["event-loop", "reader", "writer", "disk-free"] as const;
const known: Readonly<Record<Dialect["name"], readonly SignalName[]>> = {
  sqlite: [...everywhere, "wal"],
  postgresql: [...everywhere, "wal-rate", "vacuum", "replica-lag", "blocked"],
  mysql: [...everywhere, "replica-lag", "blocked"],
};

/** Signals of the engine's own with their limits, and those of the caller. */
export interface ResolvedSignals {
  readonly requests: readonly SignalRequest[];
  readonly custom: readonly ThrottleSignal[];
  readonly limits: SignalLimits;
}

/** How much is bearable of each signal of the engine's own, by name. May change at any time. */
export type SignalLimits = Map<string, number>;

/**
 * Sorts what was listed. The WAL of SQLite is watched in any case.
 *
 * @throws {MigrateError} `OPTIONS_INVALID`
 */
export function resolveSignals(
  dialect: Dialect["name"],
  options: readonly SignalOption[],
  { maxWalBytes }: { readonly maxWalBytes: number },
): ResolvedSignals {
  const custom: ThrottleSignal[] = [];
  const requests: SignalRequest[] = [];
  for (const option of options) {
    if (typeof option === "string") requests.push({ name: option });
    else if ("read" in option) custom.push(option);
    else requests.push(option);
  }
  for (const request of requests) check(dialect, request);
  if (dialect === "sqlite" && !requests.some(({ name }) => name === "wal")) {
    requests.push({ name: "wal", limit: maxWalBytes });
  }
  const names = [...requests, ...custom].map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw invalid(`signals need names of their own, and "${twice}" is taken`);
  }
  const limits: SignalLimits = new Map(requests.map(({ name, limit }) => [name, limit ?? signalLimits[name]]));
  return { requests, custom, limits };
}

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function requireLimit(name: string, limit: number): void {
  if (!(limit > 0)) throw invalid(`the limit of "${name}" must be above 0, got ${limit}`);
}

function check(dialect: Dialect["name"], { name, limit, path, replicas }: SignalRequest): void {
  if (!known[dialect].includes(name)) {
    throw invalid(
      `signal "${name}" is none of ${dialect}, which has ${known[dialect].join(", ")}; give your own a read()`,
    );
  }
  if (limit !== undefined) requireLimit(name, limit);
  if (name === "disk-free" && dialect !== "sqlite" && path === undefined) {
    throw invalid('signal "disk-free" of a server needs the `path` of a folder on its disk, on this machine');
  }
  if (name === "replica-lag" && dialect === "mysql" && (replicas === undefined || replicas.length === 0)) {
    throw invalid('signal "replica-lag" of MySQL needs `replicas`: the primary does not know how far they are');
  }
}

function invalid(message: string): MigrateError {
  return new MigrateError("OPTIONS_INVALID", message);
}
