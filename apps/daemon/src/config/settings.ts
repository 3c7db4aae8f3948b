import { resolve } from "node:path";
import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import { type DatabaseSettings, databaseOf } from "./database-settings.ts";
import { type AccessSettings, accessOf, requireGuard, type ServerTls, serverTlsOf } from "./access-settings.ts";
import { type Address, parseAddress } from "./address.ts";
import type { EtcdSourceConfig, LogLevel, TidemarkConfig, TlsConfig } from "./config.ts";
import { configDefaults, storeStreamName } from "./defaults.ts";
import { parseEtcdEndpoints } from "./etcd-endpoints.ts";
import { type CatalogSettings, catalogFromConfig, catalogFromFlags } from "./catalog-settings.ts";
import { type GnmiSettings, gnmiFromConfig, gnmiFromFlags } from "./gnmi-settings.ts";
import { type Environment, readSecret } from "./secrets.ts";
import { type MigrationDatabaseSettings, migrationsOf } from "./migrations-settings.ts";
import { type MirrorSettings, type SiteSettings, sitesOf } from "./site-settings.ts";
import { topicsOf, type TopicsSettings } from "./topics-settings.ts";
import { upkeepOf, type UpkeepSettings } from "./upkeep-settings.ts";

/** What `tidemark up` was given on the command line. */
export interface UpFlags {
  readonly data?: string;
  readonly listen?: string;
  readonly watchListen?: string;
  /** False: `--no-topics`. */
  readonly topics?: boolean;
  readonly topicsListen?: string;
  readonly etcd?: string;
  readonly prefix?: string;
  readonly gnmi?: string;
  readonly path?: readonly string[];
  readonly catalog?: readonly string[];
  readonly insecure?: boolean;
  readonly logLevel?: LogLevel;
}

export interface EtcdSettings {
  readonly kind: "etcd";
  readonly name: string;
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: TlsConfig | undefined;
}

interface WatchSettings {
  readonly kind: "watch";
  readonly name: string;
  readonly url: string;
  readonly prefix: string;
  readonly token: string | undefined;
  readonly tls: TlsConfig | undefined;
}

export type SourceSettings = CatalogSettings | EtcdSettings | GnmiSettings | WatchSettings;

/** Everything the daemon needs to know, checked, without defaults left to apply. */
export interface Settings extends UpkeepSettings {
  readonly dataDir: string;
  readonly listen: Address;
  readonly watchListen: Address;
  /** Undefined: topics are not served. */
  readonly topics: TopicsSettings | undefined;
  readonly hosts: readonly string[];
  readonly access: AccessSettings;
  /** Of the page and the Watch API; topics may have their own. Undefined: none. */
  readonly tls: ServerTls | undefined;
  readonly maxConnections: number;
  readonly maxRequestBytes: number;
  readonly requestsPerSecond: number;
  readonly logLevel: LogLevel;
  readonly hasStore: boolean;
  readonly sources: readonly SourceSettings[];
  readonly migrations: readonly MigrationDatabaseSettings[];
  readonly sites: readonly SiteSettings[];
  readonly mirrors: readonly MirrorSettings[];
  readonly synchronous: "normal" | "full";
  /** Undefined: the history is a file in `dataDir`. */
  readonly database: DatabaseSettings | undefined;
  readonly stopTimeoutMs: number;
}

/** @throws {DaemonError} `USAGE` or `CONFIG_INVALID`, naming the flag or setting. */
export function resolveSettings(config: TidemarkConfig, flags: UpFlags = {}, env: Environment = process.env): Settings {
  if (flags.prefix !== undefined && flags.etcd === undefined) {
    throw new DaemonError("USAGE", "--prefix says which keys of etcd are followed, but there is no --etcd.", {
      fix: "Add --etcd http://127.0.0.1:2379, or set `prefix` of a source in tidemark.config.ts.",
    });
  }
  if (flags.path !== undefined && flags.gnmi === undefined) {
    throw new DaemonError("USAGE", "--path says which part of a device is followed, but there is no --gnmi.", {
      fix: "Add --gnmi HOST:PORT, or set `paths` of a source in tidemark.config.ts.",
    });
  }
  const flagged: readonly SourceSettings[] = [
    ...(flags.etcd === undefined ? [] : [etcdFromFlags(flags.etcd, flags.prefix, env)]),
    ...(flags.gnmi === undefined ? [] : [gnmiFromFlags(flags.gnmi, flags.path, flags.insecure ?? false, env)]),
    ...(flags.catalog === undefined ? [] : [catalogFromFlags(flags.catalog, env)]),
  ];
  const sources = flagged.length > 0 ? flagged : configuredSources(config, env);
  const hasStore = config.store ?? sources.length === 0;
  if (!hasStore && sources.length === 0) {
    throw new DaemonError("CONFIG_INVALID", "There is nothing to follow: `store` is false and there are no sources.", {
      fix: "Leave `store` out to follow the embedded store, or add a source: --etcd http://127.0.0.1:2379.",
    });
  }
  const names = [...(hasStore ? [storeStreamName] : []), ...sources.map(({ name }) => name)];
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new DaemonError("CONFIG_INVALID", `Two streams are called ${JSON.stringify(twice)}.`, {
      fix: 'Give each source a `name` of its own; the embedded store\'s is "store".',
    });
  }
  const database = databaseOf(config.history, env);
  const shared = sitesOf({
    sites: config.sites ?? [],
    mirrors: config.mirrors ?? [],
    sources,
    hasStore,
    database,
    env,
    etcdOf: (etcd, setting) => etcdFromConfig(etcd, `\`${setting}`, env),
  });
  // What others have of us must not be lost here.
  const isShared = shared.sites.length + shared.mirrors.length > 0;
  if (isShared && config.history?.synchronous === "normal") {
    throw new DaemonError("CONFIG_INVALID", '`sites` and `mirrors` need `history.synchronous` to be "full".', {
      fix: "Leave it out: with them it is.",
    });
  }
  const isInsecureAllowed = flags.insecure ?? config.insecure ?? false;
  const guard = {
    isInsecureAllowed,
    isAsking: config.tokens !== undefined || config.tls?.clientCaFile !== undefined,
    isEncrypted: config.tls !== undefined,
    askWith: "`tokens`",
    encryptWith: "`tls`",
  };
  const listen = address("--listen", "listen", flags.listen, config.listen ?? configDefaults.listen);
  requireGuard(listen, flags.listen === undefined ? "`listen`" : "--listen", guard);
  const watchListen = address(
    "--watch-listen",
    "watchListen",
    flags.watchListen,
    config.watchListen ?? configDefaults.watchListen,
  );
  requireGuard(watchListen, flags.watchListen === undefined ? "`watchListen`" : "--watch-listen", guard);
  const topics =
    (flags.topics ?? true) && (config.topics ?? true)
      ? topicsOf(config, { flag: "--topics-listen", listen: flags.topicsListen, isInsecureAllowed }, env)
      : undefined;
  requireDifferent([
    ["--listen", listen],
    ...(hasStore ? [["--watch-listen", watchListen] as const] : []),
    ...(topics === undefined ? [] : [["--topics-listen", topics.listen] as const]),
  ]);
  return {
    dataDir: resolve(flags.data ?? config.dataDir ?? configDefaults.dataDir),
    listen,
    watchListen,
    topics,
    hosts: config.hosts ?? [],
    access: accessOf(config, env),
    tls: config.tls && serverTlsOf(config.tls, "tls"),
    maxConnections: config.limits?.connections ?? configDefaults.maxConnections,
    maxRequestBytes: config.limits?.requestBytes ?? configDefaults.maxRequestBytes,
    requestsPerSecond: config.limits?.requestsPerSecond ?? configDefaults.requestsPerSecond,
    logLevel: flags.logLevel ?? config.logLevel ?? configDefaults.logLevel,
    hasStore,
    sources,
    migrations: migrationsOf(config.migrations ?? [], env),
    ...shared,
    synchronous: config.history?.synchronous ?? (isShared ? "full" : configDefaults.synchronous),
    database,
    ...upkeepOf(config),
    stopTimeoutMs: config.stopTimeoutMs ?? configDefaults.stopTimeoutMs,
  };
}

/** @throws {DaemonError} `USAGE` */
function requireDifferent(listeners: readonly (readonly [flag: string, address: Address])[]): void {
  for (const [index, [flag, { host, port }]] of listeners.entries()) {
    const same = listeners
      .slice(0, index)
      .find(([, other]) => port !== 0 && other.port === port && other.host === host);
    if (same === undefined) continue;
    throw new DaemonError("USAGE", `${same[0]} and ${flag} are both ${host}:${port}.`, {
      fix: "They speak different protocols: give them different ports.",
    });
  }
}

function address(flag: string, key: string, given: string | undefined, otherwise: string) {
  return parseAddress(given ?? otherwise, given === undefined ? `\`${key}\`` : flag);
}

function etcdFromFlags(urls: string, prefix: string | undefined, env: Environment): EtcdSettings {
  const parsed = parseEtcdEndpoints(urls.split(","), "--etcd");
  return {
    kind: "etcd",
    name: "etcd",
    prefix: prefix ?? "",
    tls: undefined,
    ...withCredentials(parsed, {}, "--etcd", env),
  };
}

function configuredSources(config: TidemarkConfig, env: Environment): SourceSettings[] {
  return (config.sources ?? []).map((source, index) => {
    const setting = `\`sources[${index}]`;
    if (source.kind === "gnmi") return gnmiFromConfig(source, `${setting}\``, env);
    if (source.kind === "catalog") return catalogFromConfig(source, env);
    if (source.kind === "watch") {
      const url = URL.parse(source.url);
      if (
        url === null ||
        (url.protocol !== "http:" && url.protocol !== "https:") ||
        url.username !== "" ||
        url.password !== ""
      ) {
        throw new DaemonError(
          "CONFIG_INVALID",
          `${setting}.url\` must be a URL such as http://127.0.0.1:4651, without a user.`,
        );
      }
      return {
        kind: "watch",
        name: source.name ?? "watch",
        url: source.url,
        prefix: source.prefix ?? "",
        token: source.token && readSecret(source.token, `sources[${index}].token`, env),
        tls: source.tls,
      };
    }
    return etcdFromConfig(source, setting, env);
  });
}

function etcdFromConfig(source: EtcdSourceConfig, setting: string, env: Environment): EtcdSettings {
  const password = source.password && readSecret(source.password, `${setting.replaceAll("`", "")}.password`, env);
  const parsed = parseEtcdEndpoints(source.endpoints, `${setting}.endpoints\``);
  return {
    kind: "etcd",
    name: source.name ?? "etcd",
    prefix: source.prefix ?? "",
    tls: source.tls,
    ...withCredentials(parsed, { username: source.username, password }, setting, env),
  };
}

interface Credentials {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

function withCredentials<T extends Credentials>(
  parsed: T,
  own: Credentials,
  setting: string,
  env: Environment,
): T & Required<Credentials> {
  const username = own.username ?? parsed.username ?? env["TIDEMARK_ETCD_USERNAME"];
  const password = own.password ?? parsed.password ?? env["TIDEMARK_ETCD_PASSWORD"];
  rememberSecret(password);
  if (username === undefined && password !== undefined) {
    throw new DaemonError("CONFIG_INVALID", `${setting} has a password but no user.`, {
      fix: "Set TIDEMARK_ETCD_USERNAME, `username`, or write http://user:password@host:2379.",
    });
  }
  return { ...parsed, username, password };
}
