import { MigrateError } from "./migrate-error.ts";
import { requireAbove } from "./options.ts";
import { throttleDefaults, type ThrottleOptions } from "./throttle.ts";

/** How an engine behaves towards others. */
export interface EngineOptions extends ThrottleOptions {
  /**
   * After so long without a sign of life a run is taken over, in milliseconds. No safety hangs on it: whoever lost a
   * lease cannot write any more, however late it wakes up.
   * @default 15_000
   */
  readonly leaseMs?: number;
  /**
   * How often a sign of life is given while no chunk gives it, in milliseconds; at most a third of `leaseMs`.
   * @default 5000
   */
  readonly heartbeatMs?: number;
  /**
   * How often the engine looks for work while there is none, in milliseconds.
   * @default 1000
   */
  readonly pollMs?: number;
  /**
   * How often throttle signals are read, in milliseconds.
   * @default 500
   */
  readonly signalIntervalMs?: number;
  /**
   * SQLite: how much may pile up in the WAL behind a reader that does not end, in bytes, before the run waits for it.
   * @default 33_554_432
   */
  readonly maxWalBytes?: number;
  /**
   * How many migrations this process works on at a time, at least 1; never two on one table. With a server each has a
   * connection of its own while its chunk is in a transaction; with SQLite they take turns.
   * @default 1
   */
  readonly maxRuns?: number;
}

/** The defaults of `EngineOptions`. */
export const engineDefaults = {
  ...throttleDefaults,
  leaseMs: 15_000,
  heartbeatMs: 5000,
  pollMs: 1000,
  signalIntervalMs: 500,
  maxWalBytes: 32 * 2 ** 20,
  maxRuns: 1,
} as const satisfies Required<EngineOptions>;

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function resolveEngine(options: EngineOptions): Required<EngineOptions> {
  const resolved = {
    resumeBelow: options.resumeBelow ?? engineDefaults.resumeBelow,
    staleAfterMs: options.staleAfterMs ?? engineDefaults.staleAfterMs,
    leaseMs: options.leaseMs ?? engineDefaults.leaseMs,
    heartbeatMs:
      options.heartbeatMs ?? Math.min(engineDefaults.heartbeatMs, Math.floor((options.leaseMs ?? Infinity) / 3)),
    pollMs: options.pollMs ?? engineDefaults.pollMs,
    signalIntervalMs: options.signalIntervalMs ?? engineDefaults.signalIntervalMs,
    maxWalBytes: options.maxWalBytes ?? engineDefaults.maxWalBytes,
    maxRuns: options.maxRuns ?? engineDefaults.maxRuns,
  };
  for (const [name, value] of Object.entries(resolved)) requireAbove(name, value, 0);
  if (!Number.isSafeInteger(resolved.maxRuns)) {
    throw new MigrateError("OPTIONS_INVALID", `maxRuns must be a whole number, got ${resolved.maxRuns}`);
  }
  if (resolved.resumeBelow > 1) {
    throw new MigrateError("OPTIONS_INVALID", `resumeBelow must be at most 1, got ${resolved.resumeBelow}`);
  }
  if (resolved.heartbeatMs * 3 <= resolved.leaseMs) return resolved;
  throw new MigrateError(
    "OPTIONS_INVALID",
    `heartbeatMs must be at most a third of leaseMs (${resolved.leaseMs}), got ${resolved.heartbeatMs}`,
  );
}
