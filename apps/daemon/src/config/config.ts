import type { AuditConfig, RetentionConfig } from "./upkeep-settings.ts";
import type { MigrationsConfig } from "./migrations-settings.ts";
import type { MirrorConfig, SiteConfig } from "./site-settings.ts";

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
   * The host that clients of topics are told to dial: a name or an address, without a port. Set it where clients of other
   * machines reach this one by a name, or where `topicsListen` is every address.
   * @default the host of `topicsListen`, or 127.0.0.1 where that is every address
   */
  readonly topicsPublicHost?: string;
  /**
   * `always`: a message is acknowledged when it is on the disk. `interval`: before that, and a power cut can take the last
   * second.
   * @default "always"
   */
  readonly topicsSync?: "always" | "interval";
  /**
   * Who may do what, at the AdminService, the Watch API and topics alike.
   * @default whoever reaches a listener may do everything
   */
  readonly tokens?: readonly TokenConfig[];
  /** What those without a token may do, once there are `tokens`. @default nothing */
  readonly anonymous?: AccessRight;
  /** TLS for all listeners. @default none */
  readonly tls?: ServerTlsConfig;
  readonly limits?: LimitsConfig;
  /**
   * Users that only topics know, besides `tokens`.
   * @default none
   */
  readonly topicsAuth?: TopicsAuthConfig;
  /**
   * TLS for topics. Clients then connect to `grpcs://…`.
   * @default `tls`
   */
  readonly topicsTls?: ServerTlsConfig;
  /**
   * Allows addresses that other machines can reach, although nobody there is asked for a password, or is asked for it in
   * plain text: put a proxy in front.
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
  /** Groups of daemons that share keys, see `SiteConfig`. @default [] */
  readonly sites?: readonly SiteConfig[];
  /** Etcds that are kept like another one, see `MirrorConfig`. @default [] */
  readonly mirrors?: readonly MirrorConfig[];
  /** Databases whose migrations are shown and controlled, see `MigrationsConfig`. @default [] */
  readonly migrations?: readonly MigrationsConfig[];
  readonly history?: HistoryConfig;
  /** How the replica is compared with its sources, see `AuditConfig`. */
  readonly audit?: AuditConfig;
  /** How long superseded versions are kept, see `RetentionConfig`. */
  readonly retention?: RetentionConfig;
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
  /**
   * A PostgreSQL database for the history, `postgres://user:password@host/name`: the text, or where it is. A second daemon
   * with the same one waits until the first one is gone, and goes on in its place, sites and mirrors included.
   * @default a SQLite file in `dataDir`
   */
  readonly database?: SecretConfig;
  /** The schema in that database, which is created. @default "tidemark" */
  readonly schema?: string;
  /**
   * How long a daemon that is not heard of keeps the right to write in that database, in milliseconds, in
   * [1000, 600_000].
   * @default 10_000
   */
  readonly leaseMs?: number;
}

/** Users, and what they may do with topics. */
export interface TopicsAuthConfig {
  /** At least one, each with a name of its own. */
  readonly users: readonly TopicsUserConfig[];
  /** What clients that do not say who they are may do. @default nothing */
  readonly anonymous?: "all" | readonly TopicsRightsConfig[];
  /** How long a login with a password is good for, in milliseconds, at least 1000. @default 43_200_000 */
  readonly tokenLifetimeMs?: number;
}

/** Somebody with a password, tokens or both. */
export interface TopicsUserConfig {
  readonly name: string;
  /** For clients that log in. @default nobody logs in under this name */
  readonly password?: SecretConfig;
  /** Whoever has one of them is this user. No two users share one. @default none */
  readonly tokens?: readonly SecretConfig[];
  readonly rights: "all" | readonly TopicsRightsConfig[];
}

/** Rights that add up. */
export interface TopicsRightsConfig {
  /** `/local/orders`, or the beginning of paths: `/local/team-a/*`. */
  readonly topic: string;
  /** `manage` is to create, alter and drop. */
  readonly can: readonly ("read" | "write" | "manage")[];
}

/** A secret, or where it is read once at the start: `{ env: "NAME" }`, or `{ file: "path" }` without its last line end. */
export type SecretConfig = string | { readonly env: string } | { readonly file: string };

/** What a token allows. Whoever may write may read, and admins may do both. */
export type AccessRight = "read" | "write" | "admin";

/** Somebody who shows a token: `Authorization: Bearer …`. */
export interface TokenConfig {
  /** Who it is; each has a name of its own. */
  readonly name: string;
  /** At least 16 letters, digits and signs without a space: `openssl rand -hex 32` makes one. */
  readonly token: SecretConfig;
  /**
   * `read`: keys, history and status, and topics. `write`: also changes keys and writes to topics. `admin`: also decides
   * about what was set aside, manages topics, reloads.
   */
  readonly rights: AccessRight;
}

export interface LimitsConfig {
  /** Open connections of each listener; more are refused at once. @default 4096 */
  readonly connections?: number;
  /** Largest request, in bytes, in [1024, 2^31). @default 16_777_216 */
  readonly requestBytes?: number;
  /** Calls that each token may begin in a second, at topics as well, and all without a token together. @default 10_000 */
  readonly requestsPerSecond?: number;
}

/** PEM files, relative to the configuration file, read at the start and at each reload. */
export interface ServerTlsConfig {
  /** The server's certificate, followed by those above it. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Lets in only clients with a certificate of one of these authorities. @default all */
  readonly clientCaFile?: string;
}

export type SourceConfig = CatalogSourceConfig | EtcdSourceConfig | GnmiSourceConfig | WatchSourceConfig;

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
  readonly password?: SecretConfig;
  readonly tls?: TlsConfig;
}

/** Follows a network device over gNMI. */
export interface GnmiSourceConfig {
  readonly kind: "gnmi";
  /** Name of the stream in the history; keep it, or the keys become another stream's. @default "gnmi" */
  readonly name?: string;
  /** `https://host:9339`, `http://host:9339` or `host:9339`, which is TLS but for addresses of this machine. */
  readonly address: string;
  /** What is followed as it changes: `["/interfaces"]`. One of `paths` and `subscriptions` must name something. */
  readonly paths?: readonly string[];
  /** What is followed in other ways. @default [] */
  readonly subscriptions?: readonly GnmiSubscriptionConfig[];
  /** `stream` follows; `poll`, `once` and `get` ask at intervals. @default "stream" */
  readonly mode?: "stream" | "poll" | "once" | "get";
  /** Time between two rounds of `poll`, `once` and `get`, in milliseconds. @default 30_000 */
  readonly intervalMs?: number;
  /** @default "auto": the best one that the device knows */
  readonly encoding?: "auto" | "proto" | "json_ietf" | "json" | "bytes" | "ascii";
  /** Configuration only, with the device's commits as groups where it tells them. @default false */
  readonly configOnly?: boolean;
  /** Whom a gateway should ask. @default whoever answers */
  readonly target?: string;
  /** The keys of lists in JSON, where they cannot be told from it: `{ route: ["prefix"] }`. @default {} */
  readonly listKeys?: Readonly<Record<string, readonly string[]>>;
  /** @default TIDEMARK_GNMI_USERNAME */
  readonly username?: string;
  /** @default TIDEMARK_GNMI_PASSWORD */
  readonly password?: SecretConfig;
  /** A bearer token instead of user and password. @default TIDEMARK_GNMI_TOKEN */
  readonly token?: SecretConfig;
  /** Sends password and token also without TLS, where everybody on the way can read them. @default false */
  readonly allowPlaintextSecrets?: boolean;
  readonly tls?: TlsConfig;
}

/** One path of a device and how it is followed. */
export interface GnmiSubscriptionConfig {
  /** `/interfaces/interface[name=*]/state` */
  readonly path: string;
  /** @default "on_change" */
  readonly mode?: "on_change" | "sample" | "target_defined";
  /** With `sample`: time between two samples, in milliseconds. */
  readonly sampleIntervalMs?: number;
  /** With `sample`: values that did not change are not sent. @default false */
  readonly suppressRedundant?: boolean;
  /** Every value comes at least so often, in milliseconds. @default none */
  readonly heartbeatIntervalMs?: number;
}

/** Follows HTTP catalogues. */
export interface CatalogSourceConfig {
  readonly kind: "catalog";
  /** Name of the stream in the history; keep it, or the keys become another stream's. @default "catalog" */
  readonly name?: string;
  readonly catalogs: readonly CatalogConfig[];
  /** Names of those who have entries of their own. @default ["default"] */
  readonly tenants?: readonly string[];
  /** From one look to the next, in milliseconds. @default 30_000 */
  readonly everyMs?: number;
  /** A list is fetched at least this often, in milliseconds, whatever its hash says. @default 300_000 */
  readonly refetchMs?: number;
  /** Detail calls at a time. @default 5 */
  readonly detailConcurrency?: number;
  /** How long a detail call may take, in milliseconds. @default 3_000 */
  readonly detailTimeoutMs?: number;
  /** Failures in a row after which an entry waits for a person. @default 10 */
  readonly quarantineAfter?: number;
}

/** One catalogue: see `@tidemark/source-catalog` for what each URL has to answer. */
export interface CatalogConfig {
  /** Part of every key: `/<tenant>/<name>/<id>`. */
  readonly name: string;
  /** The list. `{tenant}` in it, or in the others: each tenant has its own. */
  readonly url: string;
  readonly hashUrl?: string;
  /** With `{id}`. */
  readonly detailUrl?: string;
  /** With `{after}`. */
  readonly eventsUrl?: string;
  readonly statusUrl?: string;
  /** @default "id" */
  readonly idField?: string;
  /** @default all of the entry */
  readonly versionField?: string;
  /** @default `authorization: Bearer …` with TIDEMARK_CATALOG_TOKEN, if that is set */
  readonly headers?: Readonly<Record<string, string>>;
  /** @default all */
  readonly tenants?: readonly string[];
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
  /** `http://host:4651`, or `https:` for TLS. */
  readonly url: string;
  /** A token of the other daemon; without TLS everybody on the way can read it. @default none */
  readonly token?: SecretConfig;
  /** Only with `https:`. */
  readonly tls?: TlsConfig;
  /** Only keys that begin with this. @default "" (every key) */
  readonly prefix?: string;
}

/** Returns the configuration unchanged; gives editors its type. */
export function defineConfig(config: TidemarkConfig): TidemarkConfig {
  return config;
}
