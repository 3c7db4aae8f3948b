/** What holds where neither a flag nor the configuration says otherwise. */
export const configDefaults = {
  dataDir: "tidemark-data",
  listen: "127.0.0.1:4650",
  watchListen: "127.0.0.1:4651",
  topicsListen: "127.0.0.1:2136",
  topicsSync: "always",
  logLevel: "info",
  synchronous: "normal",
  schema: "tidemark",
  leaseMs: 10_000,
  maxConnections: 4096,
  maxRequestBytes: 16 * 1024 * 1024,
  requestsPerSecond: 10_000,
  stopTimeoutMs: 10_000,
} as const;

/** The database whose topics the daemon serves. */
export const topicsDatabase = "/local";

/** How often `topicsSync: "interval"` writes to the disk, in milliseconds. */
export const topicsSyncIntervalMs = 1000;

/** The name of the embedded store's stream in the history. */
export const storeStreamName = "store";
