/** What `tidemark.config.ts` exports. Flags of the command line override it. */
export interface TidemarkConfig {
  /**
   * Folder of everything the daemon keeps; relative to the configuration file.
   * @default "./tidemark-data" in the working directory
   */
  readonly dataDir?: string;
  /**
   * Where the page, the AdminService, health and metrics are served: `HOST:PORT`; port 0 takes a free one.
   * @default "127.0.0.1:4650"
   */
  readonly listen?: string;
  /**
   * Where the embedded store serves its Watch API: `HOST:PORT`; port 0 takes a free one.
   * @default "127.0.0.1:4651"
   */
  readonly watchListen?: string;
  /**
   * Whether the daemon serves topics.
   * @default true
   */
  readonly topics?: boolean;
  /**
   * Where topics are served, as the YDB Topic API over gRPC: `HOST:PORT`; port 0 takes a free one.
   * @default "127.0.0.1:2136"
   */
  readonly topicsListen?: string;
  /**
   * `always`: a message is acknowledged when it is on the disk. `interval`: before that, and a power cut can take the last
   * second.
   * @default "always"
   */
  readonly topicsSync?: "always" | "interval";
  /**
   * Allows addresses that other machines can reach. Nobody is asked for a password: put a proxy in front.
   * @default false
   */
  readonly insecure?: boolean;
  /**
   * Names, besides localhost and IP addresses, under which a proxy on this machine may ask for the page.
   * @default []
   */
  readonly hosts?: readonly string[];
  /** @default "info" */
  readonly logLevel?: LogLevel;
  /**
   * Whether the embedded store runs and is followed.
   * @default true without sources, false with some
   */
  readonly store?: boolean;
  /** What is followed besides the embedded store. @default [] */
  readonly sources?: readonly SourceConfig[];
  readonly history?: HistoryConfig;
  /**
   * How long a stop may take to commit what was received, in milliseconds, in [100, 600_000].
   * @default 10_000
   */
  readonly stopTimeoutMs?: number;
}

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "silent";

export interface HistoryConfig {
  /**
   * `normal`: a power cut may take the last commits together with their cursor, and following goes on from there.
   * `full`: every commit is on disk before it is shown.
   * @default "normal"
   */
  readonly synchronous?: "normal" | "full";
}

export type SourceConfig = EtcdSourceConfig | WatchSourceConfig;

/** Follows the keys of an etcd cluster. */
export interface EtcdSourceConfig {
  readonly kind: "etcd";
  /** Name of the stream in the history; keep it, or the keys become another stream's. @default "etcd" */
  readonly name?: string;
  /** URLs of the members, at least one: `http://127.0.0.1:2379`. */
  readonly endpoints: readonly string[];
  /** Only keys that begin with this. @default "" (every key) */
  readonly prefix?: string;
  /** @default the user in the URLs, or TIDEMARK_ETCD_USERNAME */
  readonly username?: string;
  /** @default the password in the URLs, or TIDEMARK_ETCD_PASSWORD */
  readonly password?: string;
  readonly tls?: TlsConfig;
}

/** PEM files, relative to the configuration file. */
export interface TlsConfig {
  /** Certificate authorities to trust instead of the system's. */
  readonly caFile?: string;
  /** Our own certificate; needs `keyFile`. */
  readonly certFile?: string;
  /** The key of `certFile`. */
  readonly keyFile?: string;
}

/** Follows another store that serves the Watch API, such as the embedded store of another daemon. */
export interface WatchSourceConfig {
  readonly kind: "watch";
  /** Name of the stream in the history. @default "watch" */
  readonly name?: string;
  /** `http://host:4651`. */
  readonly url: string;
  /** Only keys that begin with this. @default "" (every key) */
  readonly prefix?: string;
}

/** Returns the configuration unchanged; gives editors its type. */
export function defineConfig(config: TidemarkConfig): TidemarkConfig {
  return config;
}
