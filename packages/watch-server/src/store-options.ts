import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import { StoreError } from "./store-error.ts";

export interface StoreOptions {
  /** Path of the SQLite file; it is created if it is missing, its folder must exist. `-wal`, `-shm` and `.lock` appear beside it. */
  readonly file: string;
  /** Longest key, in bytes, in [1, 65_536]. @default 4096 */
  readonly maxKeyBytes?: number;
  /** Longest value, in bytes, in [0, 64 MiB]. @default 1_048_576 */
  readonly maxValueBytes?: number;
  /** Most operations of one transaction, at least 1. @default 1000 */
  readonly maxTxnOps?: number;
  /** Most bytes of keys and values of one transaction, at least `maxKeyBytes + maxValueBytes`. @default 4_194_304 */
  readonly maxTxnBytes?: number;
  /** Most bytes of writes that wait for the disk; more fail with `OVERLOADED`. At least `maxTxnBytes`. @default 67_108_864 */
  readonly maxPendingBytes?: number;
  /** Memory for the newest transactions, from which watchers who are up to date are served, in bytes. @default 8_388_608 */
  readonly tailBytes?: number;
  /** How long `close()` waits for the disk, in milliseconds, above 0. @default 30_000 */
  readonly closeTimeoutMs?: number;
  /** @default the system's */
  readonly clock?: Clock;
  /** @default the system's */
  readonly rng?: Rng;
}

export const storeDefaults = {
  maxKeyBytes: 4096,
  maxValueBytes: 1024 * 1024,
  maxTxnOps: 1000,
  maxTxnBytes: 4 * 1024 * 1024,
  maxPendingBytes: 64 * 1024 * 1024,
  tailBytes: 8 * 1024 * 1024,
  closeTimeoutMs: 30_000,
} as const satisfies Partial<StoreOptions>;

/** @throws StoreError `OPTIONS_INVALID` */
export function resolveStore(options: StoreOptions): Required<StoreOptions> {
  const resolved = {
    file: options.file,
    maxKeyBytes: options.maxKeyBytes ?? storeDefaults.maxKeyBytes,
    maxValueBytes: options.maxValueBytes ?? storeDefaults.maxValueBytes,
    maxTxnOps: options.maxTxnOps ?? storeDefaults.maxTxnOps,
    maxTxnBytes: options.maxTxnBytes ?? storeDefaults.maxTxnBytes,
    maxPendingBytes: options.maxPendingBytes ?? storeDefaults.maxPendingBytes,
    tailBytes: options.tailBytes ?? storeDefaults.tailBytes,
    closeTimeoutMs: options.closeTimeoutMs ?? storeDefaults.closeTimeoutMs,
    clock: options.clock ?? systemClock,
    rng: options.rng ?? systemRng,
  };
  if (resolved.file === "" || resolved.file.startsWith(":memory:")) {
    throw new StoreError("OPTIONS_INVALID", `file must be a path, got ${JSON.stringify(resolved.file)}`);
  }
  check("maxKeyBytes", resolved.maxKeyBytes, 1, 65_536);
  check("maxValueBytes", resolved.maxValueBytes, 0, 64 * 1024 * 1024);
  check("maxTxnOps", resolved.maxTxnOps, 1, 1_000_000);
  check("maxTxnBytes", resolved.maxTxnBytes, resolved.maxKeyBytes + resolved.maxValueBytes, 256 * 1024 * 1024);
  check("maxPendingBytes", resolved.maxPendingBytes, resolved.maxTxnBytes, 2 ** 32);
  check("tailBytes", resolved.tailBytes, 0, 2 ** 32);
  check("closeTimeoutMs", resolved.closeTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  return resolved;
}

function check(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new StoreError("OPTIONS_INVALID", `${name} must be a whole number in [${min}, ${max}], got ${value}`);
  }
}
