import { createHash } from "node:crypto";
import type { CatalogDefinition, ResolvedCatalogs } from "./options.ts";

/** A list that is fetched: of one catalogue, for all its tenants or for one. */
export interface Feed {
  /** Unique: the catalogue's name, with the tenant's where it has a list of its own. */
  readonly name: string;
  readonly catalog: CatalogDefinition;
  readonly tenants: readonly string[];
  /** Digest of everything that decides what is asked for. */
  readonly config: string;
  /** A URL of the catalogue for this feed, with these put in. */
  url(template: string, values?: Readonly<Record<string, string>>): string;
}

export function feedsOf({ catalogs, tenants }: Pick<ResolvedCatalogs, "catalogs" | "tenants">): Feed[] {
  return catalogs.flatMap((catalog) => {
    const own = catalog.tenants ?? tenants;
    const isShared = !JSON.stringify(catalog).includes("{tenant}");
    if (isShared) return [feed(catalog.name, catalog, own)];
    return own.map((tenant) => feed(`${catalog.name}/${tenant}`, catalog, [tenant]));
  });
}

function feed(name: string, catalog: CatalogDefinition, tenants: readonly string[]): Feed {
  const { url, hashUrl, detailUrl, eventsUrl, statusUrl, idField, versionField } = catalog;
  const decisive = [url, hashUrl, detailUrl, eventsUrl, statusUrl, idField, versionField];
  return {
    name,
    catalog,
    tenants,
    config: digest(JSON.stringify(decisive)),
    url: (template, values = {}) =>
      template.replaceAll(/\{(\w+)\}/g, (whole, key: string) => {
        const value = key === "tenant" ? tenants[0] : values[key];
        return value === undefined ? whole : encodeURIComponent(value);
      }),
  };
}

/** Short enough to store with every entry, long enough never to meet another. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}
