import * as v from "valibot";
import type { TidemarkConfig } from "./config.ts";
import { migrationsEntries } from "./migrations-settings.ts";
import { mirrorEntries, siteEntries } from "./site-settings.ts";
import { auditSchema, retentionSchema } from "./upkeep-settings.ts";
import { closest } from "../closest.ts";

// The message of each piece is what it expects, as it ends the sentence "… must be …".
const text = (expected: string) => v.pipe(v.string(expected), v.nonEmpty(expected));
const flag = v.boolean("true or false");
const streamName = v.pipe(
  v.string('a name such as "etcd"'),
  v.regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "a name of at most 63 small letters, digits, dots, dashes and underscores"),
);

const secret = v.union(
  [text("text"), v.strictObject({ env: text("a name") }), v.strictObject({ file: text("a path") })],
  'text, { env: "NAME" } or { file: "path" }',
);

const tls = v.strictObject(
  {
    caFile: v.optional(text("the path of a PEM file")),
    certFile: v.optional(text("the path of a PEM file")),
    keyFile: v.optional(text("the path of a PEM file")),
  },
  'an object such as { caFile: "ca.pem" }',
);

const etcd = v.strictObject({
  kind: v.literal("etcd"),
  name: v.optional(streamName),
  endpoints: v.pipe(
    v.array(text('a URL such as "http://127.0.0.1:2379"'), 'a list of URLs such as ["http://127.0.0.1:2379"]'),
    v.minLength(1, 'a list of URLs such as ["http://127.0.0.1:2379"]'),
  ),
  prefix: v.optional(v.string("text")),
  username: v.optional(text("text")),
  password: v.optional(secret),
  tls: v.optional(tls),
});

const watch = v.strictObject({
  kind: v.literal("watch"),
  name: v.optional(streamName),
  url: text('a URL such as "http://127.0.0.1:4651"'),
  prefix: v.optional(v.string("text")),
  token: v.optional(secret),
  tls: v.optional(tls),
});

const milliseconds = v.pipe(v.number("a number of milliseconds"), v.minValue(0, "a number of milliseconds"));

const gnmiSubscription = v.strictObject(
  {
    path: text('a path such as "/interfaces"'),
    mode: v.optional(
      v.picklist(["on_change", "sample", "target_defined"], '"on_change", "sample" or "target_defined"'),
    ),
    sampleIntervalMs: v.optional(milliseconds),
    suppressRedundant: v.optional(flag),
    heartbeatIntervalMs: v.optional(milliseconds),
  },
  'an object such as { path: "/interfaces" }',
);

const gnmi = v.strictObject({
  kind: v.literal("gnmi"),
  name: v.optional(streamName),
  address: text('an address such as "https://192.0.2.1:9339"'),
  paths: v.optional(v.array(text('a path such as "/interfaces"'), 'a list such as ["/interfaces"]')),
  subscriptions: v.optional(v.array(gnmiSubscription, 'a list such as [{ path: "/interfaces" }]')),
  mode: v.optional(v.picklist(["stream", "poll", "once", "get"], '"stream", "poll", "once" or "get"')),
  intervalMs: v.optional(v.pipe(v.number("a number of milliseconds"), v.minValue(1, "at least 1 millisecond"))),
  encoding: v.optional(
    v.picklist(
      ["auto", "proto", "json_ietf", "json", "bytes", "ascii"],
      '"auto", "proto", "json_ietf", "json", "bytes" or "ascii"',
    ),
  ),
  configOnly: v.optional(flag),
  target: v.optional(text("text")),
  listKeys: v.optional(
    v.record(
      v.string(),
      v.array(text("the name of a key"), 'a list such as ["name"]'),
      'an object such as { route: ["prefix"] }',
    ),
  ),
  username: v.optional(text("text")),
  password: v.optional(secret),
  token: v.optional(secret),
  allowPlaintextSecrets: v.optional(flag),
  tls: v.optional(tls),
});

const count = v.pipe(v.number("a number"), v.minValue(1, "at least 1"));
const url = text('a URL such as "https://host/apps.json"');

const catalogEntry = v.strictObject(
  {
    name: text("a name without a slash"),
    url,
    hashUrl: v.optional(url),
    detailUrl: v.optional(url),
    eventsUrl: v.optional(url),
    statusUrl: v.optional(url),
    idField: v.optional(text("the name of a field")),
    versionField: v.optional(text("the name of a field")),
    headers: v.optional(v.record(v.string(), v.string("text"), 'an object such as { authorization: "Bearer …" }')),
    tenants: v.optional(v.array(text("a name"), 'a list such as ["red"]')),
  },
  'an object such as { name: "apps", url: "https://host/apps.json" }',
);

const catalog = v.strictObject({
  kind: v.literal("catalog"),
  name: v.optional(streamName),
  catalogs: v.pipe(
    v.array(catalogEntry, 'a list such as [{ name: "apps", url: "https://host/apps.json" }]'),
    v.minLength(1, 'a list such as [{ name: "apps", url: "https://host/apps.json" }]'),
  ),
  tenants: v.optional(v.array(text("a name without a slash"), 'a list such as ["red", "blue"]')),
  everyMs: v.optional(count),
  refetchMs: v.optional(count),
  detailConcurrency: v.optional(count),
  detailTimeoutMs: v.optional(count),
  quarantineAfter: v.optional(count),
});

const topicsRight = v.strictObject(
  {
    topic: v.pipe(
      v.string('a path such as "/local/orders" or "/local/team-a/*"'),
      v.regex(/^\/local\/[^*]*\*?$/, 'a path such as "/local/orders" or "/local/team-a/*"'),
      v.check((path) => path !== "/local/", 'a path such as "/local/orders" or "/local/team-a/*"'),
    ),
    can: v.array(v.picklist(["read", "write", "manage"], '"read", "write" or "manage"'), 'a list such as ["read"]'),
  },
  'an object such as { topic: "/local/orders", can: ["read"] }',
);

// Not a union, which would only say that none of its kinds fits.
const topicsRightsList = v.array(topicsRight, "a list");
const allRights = v.literal("all", '"all" or a list such as [{ topic: "/local/orders", can: ["read"] }]');
const topicsRights = v.lazy((input) => (Array.isArray(input) ? topicsRightsList : allRights));

const topicsUser = v.strictObject(
  {
    name: text('a name such as "shop"'),
    password: v.optional(secret),
    tokens: v.optional(v.array(secret, 'a list such as [{ env: "NAME" }]')),
    rights: topicsRights,
  },
  'an object such as { name: "shop", tokens: [{ env: "NAME" }], rights: "all" }',
);

const topicsAuth = v.strictObject(
  {
    users: v.pipe(v.array(topicsUser, "a list of users"), v.minLength(1, "a list of at least one user")),
    anonymous: v.optional(topicsRights),
    tokenLifetimeMs: v.optional(v.pipe(v.number("a number of milliseconds"), v.minValue(1000, "at least 1000"))),
  },
  'an object such as { users: [{ name: "shop", tokens: [{ env: "NAME" }], rights: "all" }] }',
);

const serverTls = v.strictObject(
  {
    certFile: text("the path of a PEM file"),
    keyFile: text("the path of a PEM file"),
    clientCaFile: v.optional(text("the path of a PEM file")),
  },
  'an object such as { certFile: "cert.pem", keyFile: "key.pem" }',
);

const right = v.picklist(["read", "write", "admin"], '"read", "write" or "admin"');
const token = v.strictObject(
  { name: text('a name such as "dashboard"'), token: secret, rights: right },
  'an object such as { name: "dashboard", token: { env: "NAME" }, rights: "read" }',
);
const whole = (min: number, max: number) =>
  v.pipe(
    v.number("a whole number"),
    v.integer("a whole number"),
    v.minValue(min, `at least ${min}`),
    v.maxValue(max, `at most ${max}`),
  );
const limits = v.strictObject(
  {
    connections: v.optional(whole(1, 2 ** 31 - 1)),
    requestBytes: v.optional(whole(1024, 2 ** 31 - 1)),
    requestsPerSecond: v.optional(whole(1, 2 ** 31 - 1)),
  },
  "an object such as { connections: 100 }",
);

const history = v.strictObject(
  {
    synchronous: v.optional(v.picklist(["normal", "full"], '"normal" or "full"')),
    database: v.optional(secret),
    schema: v.optional(
      v.pipe(
        v.string('a name such as "tidemark"'),
        v.regex(/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/, "a name of a-z, 0-9 and _ that does not begin with pg_"),
      ),
    ),
    leaseMs: v.optional(
      v.pipe(
        v.number("a number of milliseconds"),
        v.integer("a whole number of milliseconds"),
        v.minValue(1000, "at least 1000 milliseconds"),
        v.maxValue(600_000, "at most 600000 milliseconds"),
      ),
    ),
  },
  'an object such as { synchronous: "full" }',
);

const site = v.strictObject(
  siteEntries(secret),
  'an object such as { name: "oslo", group: "config", topics: "grpc://127.0.0.1:2136/local" }',
);
const mirror = v.strictObject(
  mirrorEntries(etcd.entries),
  'an object such as { name: "copy", from: "etcd", to: { … } }',
);

const migrations = v.strictObject(
  migrationsEntries(secret),
  'an object such as { url: "app.db", folder: "./migrations" }',
);

const schema = v.strictObject(
  {
    dataDir: v.optional(text('a path such as "./tidemark-data"')),
    listen: v.optional(text('an address such as "127.0.0.1:4650"')),
    watchListen: v.optional(text('an address such as "127.0.0.1:4651"')),
    topics: v.optional(flag),
    topicsListen: v.optional(text('an address such as "127.0.0.1:2136"')),
    topicsPublicHost: v.optional(
      v.pipe(
        v.string('a host such as "topics.example.org"'),
        v.regex(/^[^\s:/@[\]]+$|^[0-9a-f:.]+$/i, 'a host such as "topics.example.org"'),
      ),
    ),
    topicsSync: v.optional(v.picklist(["always", "interval"], '"always" or "interval"')),
    topicsAuth: v.optional(topicsAuth),
    topicsTls: v.optional(serverTls),
    tokens: v.optional(
      v.array(token, 'a list such as [{ name: "dashboard", token: { env: "NAME" }, rights: "read" }]'),
    ),
    anonymous: v.optional(right),
    tls: v.optional(serverTls),
    limits: v.optional(limits),
    insecure: v.optional(flag),
    hosts: v.optional(
      v.array(text('a name such as "tidemark.example.org"'), 'a list such as ["tidemark.example.org"]'),
    ),
    logLevel: v.optional(
      v.picklist(
        ["trace", "debug", "info", "warn", "error", "silent"],
        '"trace", "debug", "info", "warn", "error" or "silent"',
      ),
    ),
    store: v.optional(flag),
    sources: v.optional(
      v.array(
        v.variant("kind", [etcd, gnmi, catalog, watch], 'an object with kind: "etcd", "gnmi", "catalog" or "watch"'),
        'a list such as [{ kind: "etcd", endpoints: ["http://127.0.0.1:2379"] }]',
      ),
    ),
    sites: v.optional(v.array(site, "a list of sites")),
    mirrors: v.optional(v.array(mirror, "a list of mirrors")),
    migrations: v.optional(v.array(migrations, 'a list such as [{ url: "app.db", folder: "./migrations" }]')),
    history: v.optional(history),
    audit: v.optional(auditSchema),
    retention: v.optional(retentionSchema),
    stopTimeoutMs: v.optional(
      v.pipe(
        v.number("a number of milliseconds"),
        v.minValue(100, "at least 100 milliseconds"),
        v.maxValue(600_000, "at most 600000 milliseconds"),
      ),
    ),
  },
  'an object such as { listen: "127.0.0.1:4650" }',
);

/** One thing that is wrong with a configuration, in a sentence, and what would be right. */
export interface ConfigProblem {
  readonly problem: string;
  readonly fix: string | undefined;
}

// The name of the list is no secret, and neither is what belongs to a token.
const isSecret = (path: string) =>
  /password|token|endpoints|address|url|headers|database|peers|\.topics$/i.test(path.replace(/^tokens\[\d+\]\./, ""));

function shown(path: string, value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  const type = typeof value === "object" ? "an object" : typeof value;
  if (isSecret(path)) return type;
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "number" || typeof value === "boolean" ? `${type} ${value}` : type;
}

type Issue = v.BaseIssue<unknown>;

function pathOf(issue: Issue): string {
  let path = "";
  for (const { key } of issue.path ?? []) {
    path += typeof key === "number" ? `[${key}]` : `${path === "" ? "" : "."}${String(key)}`;
  }
  return path;
}

/** The settings that exist where an unknown one was found. */
function siblings(issue: Issue): string[] {
  const parents = (issue.path ?? []).slice(0, -1).map(({ key }) => key);
  const input = issue.path?.at(-1)?.input as { readonly kind?: unknown } | undefined;
  if (parents[0] === "sources" && parents.at(-1) === "tls") return Object.keys(tls.entries);
  if (parents[0] === "sources" && parents.includes("subscriptions")) return Object.keys(gnmiSubscription.entries);
  if (parents[0] === "sources" && parents.includes("catalogs")) return Object.keys(catalogEntry.entries);
  if (parents[0] === "sources") {
    const kinds = { gnmi, catalog, watch } as const;
    return Object.keys((kinds[input?.kind as keyof typeof kinds] ?? etcd).entries);
  }
  if (parents[0] === "sites") return Object.keys(site.entries);
  if (parents[0] === "mirrors") {
    if (parents.at(-1) === "tls") return Object.keys(tls.entries);
    return Object.keys(parents.at(-1) === "to" ? mirror.entries.to.entries : mirror.entries);
  }
  if (parents[0] === "migrations") return Object.keys(migrations.entries);
  if (parents[0] === "history") return Object.keys(history.entries);
  if (parents[0] === "audit") return Object.keys(auditSchema.entries);
  if (parents[0] === "retention") return Object.keys(retentionSchema.entries);
  if (parents[0] === "topicsTls" || parents[0] === "tls") return Object.keys(serverTls.entries);
  if (parents[0] === "tokens") return Object.keys(token.entries);
  if (parents[0] === "limits") return Object.keys(limits.entries);
  if (parents[0] === "topicsAuth") return Object.keys(topicsEntries(parents));
  return Object.keys(schema.entries);
}

function topicsEntries(parents: readonly unknown[]): Readonly<Record<string, unknown>> {
  if (parents.includes("rights") || parents.includes("anonymous")) return topicsRight.entries;
  return parents.includes("users") ? topicsUser.entries : topicsAuth.entries;
}

function describe(issue: Issue): ConfigProblem {
  const path = pathOf(issue);
  const isObjectIssue = issue.type === "strict_object";
  if (isObjectIssue && issue.expected === "never") {
    const known = siblings(issue);
    const key = String(issue.path?.at(-1)?.key);
    const guess = closest(key, known);
    return {
      problem: `\`${path}\` is not a setting.`,
      fix: `${guess === undefined ? "" : `Did you mean \`${guess}\`? `}Known here: ${known.join(", ")}.`,
    };
  }
  if (isObjectIssue && issue.input === undefined) {
    return { problem: `\`${path}\` is missing.`, fix: `Known here: ${siblings(issue).join(", ")}.` };
  }
  const expected = issue.message;
  return {
    problem: `${path === "" ? "The configuration" : `\`${path}\``} must be ${expected}, got ${shown(path, issue.input)}.`,
    fix: undefined,
  };
}

/** Checks what a file exported. Returns the configuration, or everything that is wrong with it. */
export function checkConfig(
  value: unknown,
): { readonly config: TidemarkConfig } | { readonly problems: readonly ConfigProblem[] } {
  const result = v.safeParse(schema, value);
  // Optional keys of the schema may hold undefined, which means the same as leaving them out.
  if (result.success) return { config: result.output as TidemarkConfig };
  return { problems: result.issues.map(describe) };
}

/** Every setting there is, as `history.synchronous`; those of a source without the list before them. */
export function settingNames(): readonly string[] {
  const inSources = [etcd, gnmi, gnmiSubscription, catalog, catalogEntry, watch]
    .flatMap(({ entries }) => Object.keys(entries))
    .filter((name) => name !== "kind" && name !== "tls");
  const inTopics = [topicsAuth, topicsUser, topicsRight, serverTls, token].flatMap(({ entries }) =>
    Object.keys(entries),
  );
  const parts = { audit: auditSchema, retention: retentionSchema, limits, history };
  const top = Object.keys(schema.entries).filter((name) => !(name in parts));
  return [
    ...top,
    ...Object.entries(parts).flatMap(([part, { entries }]) => Object.keys(entries).map((name) => `${part}.${name}`)),
    ...inTopics,
    ...inSources,
    ...Object.keys(site.entries),
    ...Object.keys(mirror.entries),
    ...Object.keys(tls.entries).map((name) => `tls.${name}`),
  ];
}
