import type { Clock } from "@tidemark/clock";
import { TopicServerError } from "../topic-server-error.ts";
import type { LogFiles } from "./log-files.ts";
import type { SyncPolicy } from "./log-options.ts";

export interface TopicStoreOptions {
  /** Where everything is kept. Undefined: in memory, gone with the process. */
  readonly dataDir?: string | undefined;
  /**
   * When a write is acknowledged: `always`, once it is on the disk; `{ intervalMs }`, once the system has it, so that a
   * power failure can take back the last interval.
   * @default "always"
   */
  readonly sync?: SyncPolicy;
  /** A segment takes records until it has so many bytes, in [4096, 2^31). @default 67_108_864 */
  readonly segmentBytes?: number;
  /** What is kept in memory of what was written last, for readers that keep up, in bytes. @default 67_108_864 */
  readonly tailCacheBytes?: number;
  /** Between looks at retention, auto-partitioning and checkpoints, in milliseconds, above 0. @default 1000 */
  readonly maintenanceIntervalMs?: number;
  /** @default the system's */
  readonly clock?: Clock;
}

/** What only tests set. */
export interface StoreOptions extends TopicStoreOptions {
  /** Where segments are kept. @default `dataDir`, or memory */
  readonly files?: LogFiles;
}

export const topicStoreDefaults = {
  sync: "always",
  segmentBytes: 64 * 1024 * 1024,
  tailCacheBytes: 64 * 1024 * 1024,
  maintenanceIntervalMs: 1000,
} as const satisfies Partial<TopicStoreOptions>;

export function checkStoreOptions(options: Required<Omit<TopicStoreOptions, "clock" | "dataDir">>): void {
  const check = (name: string, value: number, min: number, max: number) => {
    if (Number.isFinite(value) && value >= min && value < max) return;
    throw new TopicServerError("OPTIONS_INVALID", `${name} must be in [${min}, ${max}), got ${value}`);
  };
  check("segmentBytes", options.segmentBytes, 4096, 2 ** 31);
  check("tailCacheBytes", options.tailCacheBytes, 0, Number.MAX_SAFE_INTEGER);
  check("maintenanceIntervalMs", options.maintenanceIntervalMs, 1, Number.MAX_SAFE_INTEGER);
  if (options.sync !== "always") check("sync.intervalMs", options.sync.intervalMs, 1, Number.MAX_SAFE_INTEGER);
}
