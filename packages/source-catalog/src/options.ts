import type { Clock, Rng } from "@tidemark/clock";
import { CatalogError } from "./catalog-error.ts";

/**
 * One catalogue. Every URL may contain `{tenant}`; then each tenant has a list of its own, otherwise all share one. All URLs
 * must be on the host of `url`, and so must redirects.
 */
export interface CatalogDefinition {
  /** Part of every key: `/<tenant>/<name>/<id>`. No slash. */
  readonly name: string;
  /** Answers with the list: a JSON array, or an object with one in `entries`, `items` or `data`. */
  readonly url: string;
  /** Answers, cheaply, with a text that changes whenever the list does. Without it the list's ETag is asked for. */
  readonly hashUrl?: string;
  /** Answers with the details of one entry, as JSON. Must contain `{id}`. */
  readonly detailUrl?: string;
  /**
   * Answers with what happened after `{after}` (0 at first), ascending by id: `[{"id": 7, "entry": "some-id"}]`, or an
   * object with that in `events`. `{limit}` is how many at most. Each makes its entry be looked at again.
   */
  readonly eventsUrl?: string;
  /** Answers with what is really there: `[{"id": "some-id", "status": …}]`, or an object with that in `statuses`. */
  readonly statusUrl?: string;
  /**
   * The field of an entry that names it: a text or an integer.
   * @default "id"
   */
  readonly idField?: string;
  /** The field of an entry that changes whenever its details do. @default the whole entry as listed */
  readonly versionField?: string;
  /** Sent with every request, for example authorization. They are in no log, error or digest. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Names of the tenants that see it. @default all */
  readonly tenants?: readonly string[];
}

export interface CatalogSourceOptions {
  readonly catalogs: readonly CatalogDefinition[];
  /** Names without a slash. @default ["default"] */
  readonly tenants?: readonly string[];
  /** SQLite file of the state: what was listed and hydrated. It can be lost; then everything is asked for again. */
  readonly stateFile: string;
  /**
   * From the start of one cycle to the start of the next, in milliseconds.
   * @default 30_000
   */
  readonly everyMs?: number;
  /**
   * A list is fetched at least this often, in milliseconds, whatever its hash or ETag says: they may lie.
   * @default 300_000
   */
  readonly refetchMs?: number;
  /**
   * How many lists are fetched at a time.
   * @default 5
   */
  readonly fetchConcurrency?: number;
  /**
   * How long a list may take, in milliseconds.
   * @default 60_000
   */
  readonly fetchTimeoutMs?: number;
  /**
   * How many detail calls run at a time.
   * @default 5
   */
  readonly detailConcurrency?: number;
  /**
   * How long a detail call, hash, page of events or list of statuses may take, in milliseconds.
   * @default 3_000
   */
  readonly detailTimeoutMs?: number;
  /**
   * After how many failures in a row the details of an entry are given up until it changes or somebody retries it.
   * @default 10
   */
  readonly quarantineAfter?: number;
  /**
   * Bound of the wait after the first failure of a list or an entry, in milliseconds. Doubles, with full jitter.
   * @default 1_000
   */
  readonly retryInitialMs?: number;
  /**
   * Highest bound of that wait, in milliseconds.
   * @default 300_000
   */
  readonly retryMaxMs?: number;
  /**
   * Largest answer, in bytes.
   * @default 67_108_864
   */
  readonly maxBytes?: number;
  /** @default the system's clock */
  readonly clock?: Clock;
  /** @default the system's source of randomness */
  readonly rng?: Rng;
}

export const catalogDefaults = {
  everyMs: 30_000,
  refetchMs: 300_000,
  fetchConcurrency: 5,
  fetchTimeoutMs: 60_000,
  detailConcurrency: 5,
  detailTimeoutMs: 3_000,
  quarantineAfter: 10,
  retryInitialMs: 1_000,
  retryMaxMs: 300_000,
  maxBytes: 67_108_864,
} as const;

export type ResolvedCatalogs = Required<Omit<CatalogSourceOptions, "clock" | "rng">>;

/** @throws {CatalogError} `OPTIONS_INVALID` */
export function resolveCatalogs(options: CatalogSourceOptions): ResolvedCatalogs {
  const { catalogs, stateFile, tenants = ["default"], clock: _clock, rng: _rng, ...numbers } = options;
  const resolved = { ...catalogDefaults, ...defined(numbers), catalogs, tenants, stateFile };
  for (const name of Object.keys(catalogDefaults) as (keyof typeof catalogDefaults)[]) {
    if (!(resolved[name] >= 1)) throw invalid(`${name} must be at least 1, got ${resolved[name]}`);
  }
  requireNames("tenant", tenants);
  requireNames(
    "catalogue",
    catalogs.map((each) => each.name),
  );
  for (const each of catalogs) checkCatalog(each, tenants);
  return resolved;
}

function defined<T extends object>(options: T): { [K in keyof T]-?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

function requireNames(what: string, names: readonly string[]): void {
  for (const name of names) {
    if (name === "" || name.includes("/")) throw invalid(`a ${what} needs a name without a slash, got "${name}"`);
  }
  if (new Set(names).size !== names.length) throw invalid(`two ${what}s have the same name: ${names.join(", ")}`);
}

function checkCatalog(catalog: CatalogDefinition, tenants: readonly string[]): void {
  const { name, detailUrl, eventsUrl } = catalog;
  const origin = originOf(name, catalog.url);
  for (const url of [catalog.hashUrl, detailUrl, eventsUrl, catalog.statusUrl]) {
    if (url === undefined) continue;
    const other = originOf(name, url);
    // The headers of a catalogue are meant for its host alone.
    if (other !== origin) throw invalid(`${name}: every URL must be on ${origin}, got one on ${other}`);
  }
  if (detailUrl !== undefined && !detailUrl.includes("{id}")) throw invalid(`${name}: detailUrl must contain {id}`);
  if (eventsUrl !== undefined && !eventsUrl.includes("{after}")) {
    throw invalid(`${name}: eventsUrl must contain {after}`);
  }
  const unknown = catalog.tenants?.find((each) => !tenants.includes(each));
  if (unknown !== undefined) throw invalid(`${name}: there is no tenant ${unknown}, only ${tenants.join(", ")}`);
}

function originOf(name: string, url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    throw invalid(`${name}: expected a URL such as https://host/catalogue.json, got one that is not http(s)`);
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw invalid(`${name}: the URL has a user or password; put it into headers.authorization instead`);
  }
  return parsed.origin;
}

function invalid(message: string): CatalogError {
  return new CatalogError("OPTIONS_INVALID", message);
}
