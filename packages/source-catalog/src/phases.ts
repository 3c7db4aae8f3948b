import type { Clock } from "@tidemark/clock";
import {
  changePhase,
  gateReason,
  itemPhase,
  memoAfter,
  phase,
  type Phase,
  type PhaseContext,
  type SqliteTransaction,
} from "@tidemark/reconcile";
import { sql } from "drizzle-orm";
import { CatalogError } from "./catalog-error.ts";
import type { CatalogState, EntryRow } from "./catalog-state.ts";
import type { Feed } from "./feeds.ts";
import { get, type HttpAnswer, parseJson, placeOf } from "./http.ts";
import { type CatalogEvent, eventsOf, type Listing, listingOf, statusesOf } from "./listing.ts";
import type { ResolvedCatalogs } from "./options.ts";

export interface PhaseParts {
  readonly feeds: readonly Feed[];
  readonly options: ResolvedCatalogs;
  readonly state: CatalogState;
  readonly clock: Clock;
  /** Called with every answer: the other side lives. */
  alive(): void;
  /** Entries of a list that cannot be used. Called with every list that came. */
  onListing(feed: Feed, listing: Listing): void;
}

/** A hash is a word, not a document. */
const maxHashBytes = 4_096;
const eventsAtOnce = 1_000;
const publishedAtOnce = 1_000;

/** Calls end by themselves, with the better message; this is for what would not. */
const itemTimeout = (callsMs: number) => callsMs + 5_000;

export function phasesOf(parts: PhaseParts): Phase<SqliteTransaction>[] {
  return [
    forget(parts),
    // Events come first: one of an unknown entry has its list fetched in the same cycle.
    ...parts.feeds.filter(({ catalog }) => catalog.eventsUrl !== undefined).map((feed) => followEvents(parts, feed)),
    fetchLists(parts),
    hydrate(parts),
    correct(parts),
    publish(parts),
  ];
}

function ask(
  { clock, options, alive }: PhaseParts,
  { catalog }: Feed,
  url: string,
  signal: AbortSignal,
  more: { readonly etag?: string | undefined; readonly timeoutMs?: number; readonly maxBytes?: number } = {},
): Promise<HttpAnswer> {
  const { detailTimeoutMs: timeoutMs, maxBytes } = options;
  const answer = get(clock, { url, headers: catalog.headers, signal, timeoutMs, maxBytes, ...more });
  return answer.then((each) => {
    alive();
    return each;
  });
}

async function askText(parts: PhaseParts, feed: Feed, url: string, signal: AbortSignal, maxBytes?: number) {
  const answer = await ask(parts, feed, url, signal, maxBytes === undefined ? {} : { maxBytes });
  if (answer.type === "body") return answer.text;
  throw new CatalogError("UNREACHABLE", `${placeOf(url)}: got status 304 without having asked for it`);
}

/** What is no longer configured is no longer work, and no longer shown. */
function forget({ feeds, options, state }: PhaseParts): Phase<unknown> {
  return phase({
    name: "forget",
    gate: { config: () => JSON.stringify([feeds.map(({ name }) => name), options.tenants]) },
    run: async () => {
      state.keepFeeds(feeds.map(({ name }) => name));
      state.keepTenants(options.tenants);
    },
  });
}

/** Each list by itself: asked whether it changed in every cycle, and fetched when it did or nobody looked for too long. */
function fetchLists(parts: PhaseParts): Phase<unknown> {
  const { feeds, options } = parts;
  return itemPhase<Feed>({
    name: "fetch",
    select: async () => feeds,
    key: (feed) => feed.name,
    version: (feed) => feed.config,
    tenant: (feed) => feed.name,
    concurrency: options.fetchConcurrency,
    itemTimeoutMs: itemTimeout(options.fetchTimeoutMs + options.detailTimeoutMs),
    retry: { initialDelayMs: options.retryInitialMs, maxDelayMs: options.retryMaxMs },
    run: (feed, context) => fetchList(parts, feed, context),
  });
}

async function fetchList(parts: PhaseParts, feed: Feed, { signal }: PhaseContext): Promise<void> {
  const { options, state, clock } = parts;
  const { catalog } = feed;
  const { fetchTimeoutMs: timeoutMs, refetchMs } = options;
  const memo = state.feed(feed.name);
  // A probe that fails forces nothing (R5).
  const hash =
    catalog.hashUrl === undefined
      ? undefined
      : await askText(parts, feed, feed.url(catalog.hashUrl), signal, maxHashBytes).then(
          (text) => text.trim(),
          () => undefined,
        );
  signal.throwIfAborted();
  const view = { config: feed.config, probe: hash, nowMs: clock.now() };
  const reason = gateReason(memo, view, refetchMs);
  const isProbedByTag = catalog.hashUrl === undefined && memo?.etag !== undefined;
  if (reason === undefined && !isProbedByTag) return;
  const url = feed.url(catalog.url);
  const etag = reason === undefined ? memo?.etag : undefined;
  const answer = await ask(parts, feed, url, signal, { timeoutMs, etag });
  if (answer.type === "not-modified") {
    if (etag !== undefined) return;
    throw new CatalogError("UNREACHABLE", `${placeOf(url)}: got status 304 without having asked for it`);
  }
  const listing = listingOf(parseJson(url, answer.text), catalog, placeOf(url));
  const { config, probe, successMs } = memoAfter(memo, view);
  const row = { config: config ?? "", probe, etag: answer.etag, successMs };
  const asked = { hasDetails: catalog.detailUrl !== undefined, hasStatuses: catalog.statusUrl !== undefined };
  state.saveFeed(feed.name, row, listing, asked);
  parts.onListing(feed, listing);
}

/** What happened to an entry makes it be looked at again; what happened to an unknown one, the list. */
function followEvents(parts: PhaseParts, feed: Feed): Phase<SqliteTransaction> {
  const { catalog } = feed;
  const { state } = parts;
  return changePhase<CatalogEvent, SqliteTransaction>({
    name: `events ${feed.name}`,
    limit: eventsAtOnce,
    read: async (after, limit, { signal }) => {
      const url = feed.url(catalog.eventsUrl ?? "", { after: String(after ?? 0n), limit: String(limit) });
      return eventsOf(parseJson(url, await askText(parts, feed, url, signal)), placeOf(url));
    },
    position: (event) => event.id,
    print: (event) => event.raw,
    apply: async ({ id, entry }) => {
      if (entry === "") throw new CatalogError("INVALID", `${feed.name}, event ${id}: expected the id of an entry`);
      return {
        write: (tx) => {
          state.touch(feed.name);
          state.writeDetails();
          const touched = tx.run(
            sql`UPDATE entries SET detail_version = NULL WHERE feed = ${feed.name} AND id = ${entry}`,
          ) as { readonly changes: number };
          const isListChanged = touched.changes === 0 || catalog.detailUrl === undefined;
          if (isListChanged) tx.run(sql`UPDATE feeds SET success_ms = 0, probe = NULL WHERE feed = ${feed.name}`);
        },
      };
    },
  });
}

/** Corrects statuses against what is really there. */
function correct(parts: PhaseParts): Phase<unknown> {
  const { feeds, options, state } = parts;
  return itemPhase<Feed>({
    name: "status",
    select: async () => feeds.filter(({ catalog }) => catalog.statusUrl !== undefined),
    key: (feed) => feed.name,
    version: (feed) => feed.config,
    concurrency: options.fetchConcurrency,
    itemTimeoutMs: itemTimeout(options.fetchTimeoutMs + options.detailTimeoutMs),
    retry: { initialDelayMs: options.retryInitialMs, maxDelayMs: options.retryMaxMs },
    run: async (feed, { signal }) => {
      const url = feed.url(feed.catalog.statusUrl ?? "");
      const document = parseJson(url, await askText(parts, feed, url, signal));
      const { idField = "id" } = feed.catalog;
      state.saveStatuses(feed.name, statusesOf(document, idField, placeOf(url)));
    },
  });
}

function hydrate(parts: PhaseParts): Phase<unknown> {
  const { feeds, options, state } = parts;
  const byName = new Map(feeds.map((feed) => [feed.name, feed]));
  const withDetails = feeds.filter(({ catalog }) => catalog.detailUrl !== undefined).map(({ name }) => name);
  return itemPhase<EntryRow>({
    name: "hydrate",
    select: async () => state.toHydrate(withDetails),
    key: (entry) => `${entry.feed}/${entry.id}`,
    version: (entry) => entry.version,
    tenant: (entry) => entry.feed,
    sinceMs: (entry) => entry.sinceMs,
    isWanted: (entry) => state.isWanted(entry),
    concurrency: options.detailConcurrency,
    itemTimeoutMs: itemTimeout(options.detailTimeoutMs),
    retry: {
      initialDelayMs: options.retryInitialMs,
      maxDelayMs: options.retryMaxMs,
      quarantineAfter: options.quarantineAfter,
    },
    run: async (entry, { signal }) => {
      const feed = byName.get(entry.feed) as Feed;
      const url = feed.url(feed.catalog.detailUrl ?? "", { id: entry.id });
      // Whatever becomes of it: the details, or a failure that has to be shown.
      state.touch(entry.feed);
      state.saveDetail(entry, JSON.stringify(parseJson(url, await askText(parts, feed, url, signal))));
    },
  });
}

/** Tenants whose view may have changed are affected: one digest each, after all that. */
function publish({ clock, feeds, options, state }: PhaseParts): Phase<unknown> {
  return phase({
    name: "publish",
    run: async ({ markDirty, signal }) => {
      const touched = feeds.filter(({ name }) => state.isTouched([name]));
      for (const tenant of options.tenants) {
        const own = feeds.filter((feed) => feed.tenants.includes(tenant));
        // Nothing touches what a tenant had from catalogues that are not his any more, when no other is.
        const isLeftOver = own.length === 0 && state.isShownAny(tenant);
        if (!isLeftOver && !own.some((feed) => touched.includes(feed))) continue;
        await markDirty(tenant);
        const names = new Map(own.map((feed) => [feed.name, feed.catalog.name]));
        // In pieces, so that nobody waits for a long list.
        while (state.publish(tenant, names, publishedAtOnce) === publishedAtOnce) {
          signal.throwIfAborted();
          await clock.sleep(0);
        }
      }
      state.published(touched.map(({ name }) => name));
    },
  });
}
