import { CatalogError } from "./catalog-error.ts";
import { digest } from "./feeds.ts";
import { longNumberOf } from "./http.ts";
import type { CatalogDefinition } from "./options.ts";

interface ListedEntry {
  readonly id: string;
  readonly version: string;
  /** The entry as listed, as JSON. */
  readonly listing: string;
}

export interface Listing {
  readonly entries: ReadonlyMap<string, ListedEntry>;
  /** Entries that cannot be used, by their place in the list: the others can. */
  readonly problems: readonly { readonly at: number; readonly raw: string; readonly error: string }[];
}

/** @throws {CatalogError} `INVALID` when there is no list in it. */
export function listingOf(document: unknown, catalog: CatalogDefinition, place: string): Listing {
  const { idField = "id", versionField } = catalog;
  const entries = new Map<string, ListedEntry>();
  const problems: { at: number; raw: string; error: string }[] = [];
  for (const [at, entry] of arrayIn(document, ["entries", "items", "data"], place).entries()) {
    const listing = JSON.stringify(entry);
    const fail = (error: string) => problems.push({ at, raw: listing, error: `${place}, entry ${at}: ${error}` });
    const id = textOf((entry as Record<string, unknown> | null)?.[idField]);
    if (id === undefined) fail(`expected a text or an integer as ${idField}`);
    else if (entries.has(id)) fail(`${idField} ${id} was there before`);
    else {
      const field = versionField === undefined ? undefined : (entry as Record<string, unknown>)[versionField];
      entries.set(id, { id, version: field === undefined ? digest(listing) : JSON.stringify(field), listing });
    }
  }
  return { entries, problems };
}

export interface CatalogEvent {
  readonly id: bigint;
  readonly entry: string;
  readonly raw: string;
}

/** What happened. An event without a usable id makes the page unusable; one without an entry fails by itself. */
export function eventsOf(document: unknown, place: string): CatalogEvent[] {
  return arrayIn(document, ["events"], place).map((event, at) => {
    const { id, entry } = (event ?? {}) as Record<string, unknown>;
    const text = textOf(id);
    if (text === undefined || !/^[0-9]+$/.test(text)) {
      throw new CatalogError("INVALID", `${place}, event ${at}: expected a whole number as id`, { retryable: true });
    }
    return { id: BigInt(text), entry: textOf(entry) ?? "", raw: JSON.stringify(event) };
  });
}

/** What is really there, by id: the status as JSON. */
export function statusesOf(document: unknown, idField: string, place: string): Map<string, string> {
  const statuses = new Map<string, string>();
  for (const each of arrayIn(document, ["statuses", "items", "data"], place)) {
    const fields = (each ?? {}) as Record<string, unknown>;
    const id = textOf(fields[idField]);
    if (id !== undefined && fields["status"] !== undefined) statuses.set(id, JSON.stringify(fields["status"]));
  }
  return statuses;
}

function arrayIn(document: unknown, names: readonly string[], place: string): unknown[] {
  if (Array.isArray(document)) return document;
  for (const name of names) {
    const value = (document as Record<string, unknown> | null)?.[name];
    if (Array.isArray(value)) return value;
  }
  const text = `${place}: expected an array, or an object with one in ${names.join(", ")}`;
  throw new CatalogError("INVALID", text, { retryable: true });
}

function textOf(value: unknown): string | undefined {
  if (typeof value === "string" && value !== "") return value;
  const long = longNumberOf(value);
  if (long !== undefined) return /^-?\d+$/.test(long) ? long : undefined;
  return typeof value === "number" && Number.isSafeInteger(value) ? String(value) : undefined;
}
