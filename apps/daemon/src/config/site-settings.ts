import { type ConflictPolicy, type SiteRetention, siteRetentionDefaults } from "@tidemark/sync";
import * as v from "valibot";
import { DaemonError } from "../daemon-error.ts";
import type { EtcdSourceConfig, SecretConfig } from "./config.ts";
import { type DatabaseSettings, mirrorDatabaseOf } from "./database-settings.ts";
import { storeStreamName } from "./defaults.ts";
import { type Environment, readSecret } from "./secrets.ts";
import type { EtcdSettings, SourceSettings } from "./settings.ts";

/** A site of a group that shares keys over a topic. */
export interface SiteConfig {
  /** Names the site in its group: its consumer of the topic, for good. */
  readonly name: string;
  /** Names the group, the same at every site, and the stream that has the versions of all of them. */
  readonly group: string;
  /** The topic service of the group: `grpc://host:2136/local`, with `grpcs://` over TLS. */
  readonly topics: string;
  /** Where that service asks for one. @default none */
  readonly token?: SecretConfig;
  /** Made with one partition if it is not there, and this site's consumer, too. @default the group */
  readonly topic?: string;
  /**
   * The store that is shared: `"store"`, which is the embedded one, or the name of an etcd in `sources`. All sites of a group
   * follow the same keys.
   * @default none: the versions are here to be read, and nobody writes here
   */
  readonly source?: string;
  /** Whether what other sites make is written into that store; `"dry-run"`: logged instead. @default true */
  readonly write?: boolean | "dry-run";
  /** What becomes of keys that were changed at two sites at once. A function needs a configuration in TypeScript or JavaScript. @default "last-writer" */
  readonly policy?: ConflictPolicy;
  /** Addresses of other daemons of the group, such as `http://oslo:4650`, to get from what the topic does not have any more. @default [] */
  readonly peers?: readonly string[];
  /** Where those ask for one; it needs the right to read. @default none */
  readonly peersToken?: SecretConfig;
  /** Writes in one transaction of etcd at most; not more than its `--max-txn-ops`. @default 128 */
  readonly maxTransactionOps?: number;
  /**
   * How long a version is kept after something took its place here, in milliseconds, and until the other sites have what did.
   * @default for good
   */
  readonly keepMs?: number;
  /** How long it is kept for a site that does not have that, in milliseconds, at least `keepMs`. @default a week */
  readonly holdMs?: number;
}

/** Keeps the keys of an etcd in another one, without a topic. */
export interface MirrorConfig {
  /**
   * Names it: its stream in the history, and what has the history of the other side: the file `NAME.mirror.db` in the data
   * folder, or with `history.database` a schema of its own there, `tidemark_mirror_NAME`.
   */
  readonly name: string;
  /** The name of an etcd in `sources`. */
  readonly from: string;
  /** The other etcd, as in `sources`, with the same keys. */
  readonly to: Omit<EtcdSourceConfig, "kind" | "name" | "prefix">;
  /** Whether what is edited in the other one comes back. @default false */
  readonly twoWay?: boolean;
  /** As of sites. @default "last-writer" */
  readonly policy?: ConflictPolicy;
  readonly maxTransactionOps?: number;
  /** As of sites. */
  readonly keepMs?: number;
  readonly holdMs?: number;
}

/** A site, checked. */
export interface SiteSettings {
  readonly name: string;
  readonly group: string;
  readonly topics: string;
  readonly topic: string;
  readonly token: string | undefined;
  /** Undefined: there is none. `"store"`: the embedded one. */
  readonly source: "store" | EtcdSettings | undefined;
  readonly write: boolean | "dry-run";
  readonly policy: ConflictPolicy | undefined;
  readonly peers: readonly string[];
  readonly peersToken: string | undefined;
  readonly maxTransactionOps: number | undefined;
  readonly retention: SiteRetention | undefined;
}

export interface MirrorSettings {
  readonly name: string;
  /** Where the other side's history is; undefined: a file in the data folder. */
  readonly database: DatabaseSettings | undefined;
  readonly from: EtcdSettings;
  readonly to: EtcdSettings;
  readonly twoWay: boolean;
  readonly policy: ConflictPolicy | undefined;
  readonly maxTransactionOps: number | undefined;
  readonly retention: SiteRetention | undefined;
}

const expectedName = "a name of at most 63 small letters, digits, dots, dashes and underscores";
const name = v.pipe(v.string(expectedName), v.regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, expectedName));
const expectedPolicy = '"last-writer", "keep" or a function';
const policy = v.custom<ConflictPolicy>(
  (input) => input === "last-writer" || input === "keep" || typeof input === "function",
  expectedPolicy,
);
const text = (expected: string) => v.pipe(v.string(expected), v.nonEmpty(expected));
const operations = v.pipe(v.number("a number"), v.integer("a whole number"), v.minValue(1, "at least 1"));

const keptMs = v.pipe(v.number("milliseconds"), v.integer("whole milliseconds"), v.minValue(0, "at least 0"));

/** `secret` is what the configuration knows as one. */
export function siteEntries(secret: v.GenericSchema<SecretConfig>) {
  return {
    name,
    group: name,
    topics: v.pipe(
      v.string('an address such as "grpc://127.0.0.1:2136/local"'),
      v.regex(/^grpcs?:\/\/[^@]+\/./, 'an address such as "grpc://127.0.0.1:2136/local"'),
    ),
    token: v.optional(secret),
    topic: v.optional(text('a name such as "config"')),
    source: v.optional(text('"store" or the name of a source')),
    write: v.optional(v.union([v.boolean(), v.literal("dry-run")], 'true, false or "dry-run"')),
    policy: v.optional(policy),
    peers: v.optional(
      v.array(
        v.pipe(
          v.string('a URL such as "http://127.0.0.1:4650"'),
          v.regex(/^https?:\/\/[^@/]+\/?$/, 'a URL such as "http://127.0.0.1:4650"'),
        ),
        'a list such as ["http://127.0.0.1:4650"]',
      ),
    ),
    peersToken: v.optional(secret),
    maxTransactionOps: v.optional(operations),
    keepMs: v.optional(keptMs),
    holdMs: v.optional(keptMs),
  };
}

/** `etcd` are the settings of an etcd source. */
export function mirrorEntries<E extends v.ObjectEntries>(etcd: E) {
  const { kind: _, name: __, prefix: ___, ...to } = etcd;
  return {
    name,
    from: text("the name of a source"),
    to: v.strictObject(to, 'an object such as { endpoints: ["http://127.0.0.1:2379"] }'),
    twoWay: v.optional(v.boolean("true or false")),
    policy: v.optional(policy),
    maxTransactionOps: v.optional(operations),
    keepMs: v.optional(keptMs),
    holdMs: v.optional(keptMs),
  };
}

export interface SitesInput {
  readonly sites: readonly SiteConfig[];
  readonly mirrors: readonly MirrorConfig[];
  readonly sources: readonly SourceSettings[];
  readonly hasStore: boolean;
  /** Where the history is; undefined: a file in the data folder. */
  readonly database: DatabaseSettings | undefined;
  readonly env: Environment;
  /** Checks an etcd as one in `sources`. */
  readonly etcdOf: (config: EtcdSourceConfig, setting: string) => EtcdSettings;
}

/** @throws {DaemonError} `CONFIG_INVALID` */
export function sitesOf(input: SitesInput): {
  readonly sites: readonly SiteSettings[];
  readonly mirrors: readonly MirrorSettings[];
} {
  const { sources, hasStore } = input;
  const sites = input.sites.map((site, index) => siteOf(site, `sites[${index}]`, input));
  const mirrors = input.mirrors.map((mirror, index) => mirrorOf(mirror, `mirrors[${index}]`, input));
  const streams = [
    ...(hasStore ? [storeStreamName] : []),
    ...sources.map((source) => source.name),
    ...sites.map(({ group }) => group),
    ...mirrors.map((mirror) => mirror.name),
  ];
  const twice = streams.find((stream, index) => streams.indexOf(stream) !== index);
  if (twice !== undefined) {
    throw new DaemonError("CONFIG_INVALID", `Two streams are called ${JSON.stringify(twice)}.`, {
      fix: "Sources, the groups of `sites` and the names of `mirrors` are streams of one history: give each its own name.",
    });
  }
  const schemas = mirrors.flatMap(({ database }) => database?.schema ?? []);
  const shared = schemas.find((schema, index) => schemas.indexOf(schema) !== index);
  if (shared !== undefined) {
    throw new DaemonError("CONFIG_INVALID", `The other sides of two mirrors would both be in schema ${shared}.`, {
      fix: "Dots and dashes become underscores there: give each mirror a `name` that differs in more.",
    });
  }
  return { sites, mirrors };
}

function siteOf(site: SiteConfig, setting: string, { sources, hasStore, env }: SitesInput): SiteSettings {
  const write = site.write ?? true;
  return {
    name: site.name,
    group: site.group,
    topics: site.topics,
    topic: site.topic ?? site.group,
    token: site.token === undefined ? undefined : readSecret(site.token, `${setting}.token`, env),
    source:
      site.source === undefined
        ? undefined
        : site.source === storeStreamName && hasStore
          ? "store"
          : etcdSource(site.source, `${setting}.source`, sources),
    write,
    policy: site.policy,
    peers: site.peers ?? [],
    peersToken: site.peersToken === undefined ? undefined : readSecret(site.peersToken, `${setting}.peersToken`, env),
    maxTransactionOps: site.maxTransactionOps,
    retention: retentionOf(site, setting),
  };
}

function retentionOf({ keepMs, holdMs }: SiteConfig | MirrorConfig, setting: string): SiteRetention | undefined {
  if (keepMs === undefined) {
    if (holdMs === undefined) return undefined;
    throw new DaemonError(
      "CONFIG_INVALID",
      `${setting}.holdMs is for versions that are not kept for good: set keepMs, too`,
    );
  }
  const longest = holdMs ?? siteRetentionDefaults.holdMs;
  if (keepMs > longest) {
    throw new DaemonError("CONFIG_INVALID", `${setting}.keepMs must be at most holdMs (${longest}), got ${keepMs}`);
  }
  return { keepMs, holdMs: longest };
}

function mirrorOf(mirror: MirrorConfig, setting: string, input: SitesInput): MirrorSettings {
  const { sources, database, etcdOf } = input;
  const from = etcdSource(mirror.from, `${setting}.from`, sources);
  const config = { ...mirror.to, kind: "etcd", name: mirror.name, prefix: from.prefix } as const;
  return {
    name: mirror.name,
    database: database && mirrorDatabaseOf(database, mirror.name),
    from,
    to: etcdOf(config, `${setting}.to`),
    twoWay: mirror.twoWay ?? false,
    policy: mirror.policy,
    maxTransactionOps: mirror.maxTransactionOps,
    retention: retentionOf(mirror, setting),
  };
}

function etcdSource(wanted: string, setting: string, sources: readonly SourceSettings[]): EtcdSettings {
  const source = sources.find((each) => each.name === wanted);
  if (source?.kind === "etcd") return source;
  const known = sources.filter(({ kind }) => kind === "etcd").map((each) => JSON.stringify(each.name));
  throw new DaemonError(
    "CONFIG_INVALID",
    `\`${setting}\` must name an etcd in \`sources\`${source === undefined ? "" : `, and ${JSON.stringify(wanted)} is of kind ${JSON.stringify(source.kind)}`}.`,
    { fix: known.length === 0 ? "Add one to `sources`." : `Known here: ${known.join(", ")}.` },
  );
}
