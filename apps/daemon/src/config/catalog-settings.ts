import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import type { CatalogConfig, CatalogSourceConfig } from "./config.ts";

/** Catalogues, checked as far as the daemon can; the source checks the rest. */
export interface CatalogSettings {
  readonly kind: "catalog";
  readonly name: string;
  readonly catalogs: readonly CatalogConfig[];
  readonly tenants: readonly string[] | undefined;
  readonly everyMs: number | undefined;
  readonly refetchMs: number | undefined;
  readonly detailConcurrency: number | undefined;
  readonly detailTimeoutMs: number | undefined;
  readonly quarantineAfter: number | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** One or more lists without details, each named by the last part of its path. @throws {DaemonError} `USAGE`. */
export function catalogFromFlags(urls: readonly string[], env: Environment): CatalogSettings {
  const catalogs = urls.map((url) => {
    const parsed = URL.parse(url);
    if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
      throw new DaemonError("USAGE", "--catalog must be a URL such as https://host/apps.json.", {});
    }
    const last = parsed.pathname.split("/").findLast((part) => part !== "");
    return { name: decodeURIComponent(last ?? parsed.hostname).replace(/\.json$/, ""), url };
  });
  return catalogFromConfig({ kind: "catalog", catalogs }, env);
}

export function catalogFromConfig(config: CatalogSourceConfig, env: Environment): CatalogSettings {
  const token = env["TIDEMARK_CATALOG_TOKEN"];
  rememberSecret(token);
  const catalogs = config.catalogs.map((catalog) => {
    for (const value of Object.values(catalog.headers ?? {})) rememberSecret(value);
    rememberSecret(/:([^:@/]*)@/.exec(catalog.url.replace(/^\w+:/, ""))?.[1]);
    if (token === undefined || catalog.headers !== undefined) return catalog;
    return { ...catalog, headers: { authorization: `Bearer ${token}` } };
  });
  return {
    kind: "catalog",
    name: config.name ?? "catalog",
    catalogs,
    tenants: config.tenants,
    everyMs: config.everyMs,
    refetchMs: config.refetchMs,
    detailConcurrency: config.detailConcurrency,
    detailTimeoutMs: config.detailTimeoutMs,
    quarantineAfter: config.quarantineAfter,
  };
}
