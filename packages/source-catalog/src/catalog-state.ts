import { type SqliteTransaction, sqliteState, type StateStore } from "@tidemark/reconcile";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { CatalogError } from "./catalog-error.ts";
import { formatVersion, schema } from "./catalog-schema.ts";
import { digest as digestOf } from "./feeds.ts";
import type { Listing } from "./listing.ts";

/** Details that are written in one transaction: one for each would take longer than all the rest of a detail call. */
const detailsAtOnce = 64;
const detailBytesAtOnce = 1_048_576;

/** How many deletions are remembered for followers that were away. */
const keptTombstones = 100_000;
/** How many sequence numbers there are for each millisecond since the Unix epoch. */
const seqsPerMs = 2n ** 20n;

export interface EntryRow {
  readonly feed: string;
  readonly id: string;
  readonly version: string;
  readonly listing: string;
  readonly sinceMs: number;
}

export interface FeedRow {
  readonly config: string;
  readonly probe: string | undefined;
  readonly etag: string | undefined;
  readonly successMs: number;
}

/** What there is of an entry beside its list. */
export interface AskedFor {
  readonly hasDetails: boolean;
  readonly hasStatuses: boolean;
}

export interface PublishedRow {
  readonly key: string;
  /** Undefined: it is gone. */
  readonly value: string | undefined;
  /** Why it could not be brought up to date. */
  readonly error: string | undefined;
  /** What was listed, for the quarantine. */
  readonly raw: string | undefined;
  readonly seq: bigint;
}

/** What was listed, hydrated and published. Synchronous; every method that writes is one transaction. */
export class CatalogState {
  readonly store: StateStore<SqliteTransaction>;
  readonly client: Database.Database;
  #epoch: string;
  readonly #statements = new Map<string, Database.Statement>();
  readonly #touched = new Set<string>();
  #details: { readonly entry: EntryRow; readonly detail: string }[] = [];
  #detailBytes = 0;
  /** Sequence numbers of this opening are above it. */
  readonly #base: bigint;
  readonly #seqAtOpening: bigint;
  #seq: bigint;

  /** @throws {CatalogError} `STATE_UNUSABLE` */
  constructor(file: string, newEpoch: string, nowMs: number) {
    try {
      this.client = new Database(file, { timeout: 0 });
    } catch (error) {
      throw unusable(file, error);
    }
    try {
      this.client.pragma("locking_mode = EXCLUSIVE");
      this.client.pragma("journal_mode = WAL");
      // Losing the last commits costs asking for them again; see `#open` for why nothing else is lost with them.
      this.client.pragma("synchronous = NORMAL");
      const found = this.client.pragma("user_version", { simple: true }) as number;
      if (found > formatVersion) throw new Error(`it has format ${found}, expected at most ${formatVersion}`);
      this.client.exec(`BEGIN EXCLUSIVE; ${schema} PRAGMA user_version = ${formatVersion}; COMMIT`);
      this.store = sqliteState(drizzle({ client: this.client }));
      const opened = this.#open(newEpoch, nowMs);
      this.#epoch = opened.epoch;
      this.#base = opened.base;
      this.#seq = opened.seq;
      this.#seqAtOpening = opened.seq;
    } catch (error) {
      this.client.close();
      throw unusable(file, error);
    }
  }

  close(): void {
    try {
      this.writeDetails();
    } finally {
      this.client.close();
    }
  }

  /** Which state this is: sequence numbers of another one mean nothing here. */
  get epoch(): string {
    return this.#epoch;
  }

  /** From here on it is another one. */
  renew(epoch: string): void {
    this.#saveMeta("epoch", epoch);
    this.#epoch = epoch;
  }

  /** The newest published sequence number; 0: there is none. */
  get seq(): bigint {
    return this.#seq;
  }

  /**
   * Whether a follower that has everything up to here can go on. Not when deletions after that are forgotten, and not when
   * this file has lost what it told the follower last.
   */
  reach(seq: bigint): "ok" | "forgotten" | "lost" {
    if (seq < BigInt(this.#meta("floor") ?? "0")) return "forgotten";
    return seq <= this.#seqAtOpening || seq > this.#base ? "ok" : "lost";
  }

  feed(name: string): FeedRow | undefined {
    const row = this.#sql("SELECT config, probe, etag, success_ms FROM feeds WHERE feed = ?").get(name) as
      | { config: string; probe: string | null; etag: string | null; success_ms: number }
      | undefined;
    if (row === undefined) return undefined;
    const { config, probe, etag, success_ms: successMs } = row;
    return { config, probe: probe ?? undefined, etag: etag ?? undefined, successMs };
  }

  /** A list came. What is known of its entries holds for as long as the same is asked for. */
  saveFeed(name: string, row: FeedRow, listing: Listing, asked: AskedFor): void {
    this.writeDetails();
    this.#transaction(() => {
      const isAnew = this.feed(name)?.config !== row.config;
      if (isAnew) this.#askAnew(name, asked);
      this.#saveListing(name, listing, row.successMs, asked, isAnew);
      this.touch(name);
      this.#sql(
        `INSERT INTO feeds (feed, config, probe, etag, success_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (feed) DO UPDATE SET config = excluded.config, probe = excluded.probe, etag = excluded.etag,
           success_ms = excluded.success_ms`,
      ).run(name, row.config, row.probe ?? null, row.etag ?? null, row.successMs);
    });
  }

  /** Forgets feeds that are no longer configured. */
  keepFeeds(names: readonly string[]): void {
    this.writeDetails();
    const list = JSON.stringify(names);
    this.#transaction(() => {
      for (const table of ["feeds", "entries"]) {
        this.#sql(`DELETE FROM ${table} WHERE feed NOT IN (SELECT value FROM json_each(?))`).run(list);
      }
    });
  }

  /** What is to be hydrated: never was, has changed, or was touched by an event. */
  toHydrate(feeds: readonly string[]): EntryRow[] {
    this.writeDetails();
    const select = this.#sql(
      `SELECT feed, id, version, listing, since_ms AS sinceMs FROM entries
       WHERE feed = ? AND detail_version IS NOT version`,
    );
    return feeds.flatMap((feed) => select.all(feed) as EntryRow[]);
  }

  isWanted({ feed, id, version }: Pick<EntryRow, "feed" | "id" | "version">): boolean {
    const found = this.#sql("SELECT 1 FROM entries WHERE feed = ? AND id = ? AND version = ?").get(feed, id, version);
    return found !== undefined;
  }

  /**
   * Details came. Nothing happens when the entry has changed meanwhile: then it is to be hydrated again anyway. Written
   * together with others, at the latest before anything that depends on it is read; what a crash takes is asked for again.
   */
  saveDetail(entry: EntryRow, detail: string): void {
    this.#details.push({ entry, detail });
    this.#detailBytes += detail.length;
    this.touch(entry.feed);
    if (this.#details.length >= detailsAtOnce || this.#detailBytes >= detailBytesAtOnce) this.writeDetails();
  }

  /** What was saved is in the file: to be called before anything outside of this class changes entries. */
  writeDetails(): void {
    if (this.#details.length === 0) return;
    const details = this.#details;
    this.#details = [];
    this.#detailBytes = 0;
    const select = this.#sql("SELECT status FROM entries WHERE feed = ? AND id = ?");
    const update = this.#sql(
      `UPDATE entries SET shown = listing, detail = ?, detail_version = version, digest = ?
       WHERE feed = ? AND id = ? AND version = ?`,
    );
    this.#transaction(() => {
      for (const { entry, detail } of details) {
        const { feed, id, version, listing } = entry;
        const row = select.get(feed, id) as { status: string | null } | undefined;
        update.run(detail, digestOf(`${listing}\n${detail}\n${row?.status ?? ""}`), feed, id, version);
      }
    });
  }

  /** Takes over what is really there. Returns how many differed. */
  saveStatuses(feed: string, statuses: ReadonlyMap<string, string>): number {
    this.writeDetails();
    const select = this.#sql("SELECT id, shown, detail, status FROM entries WHERE feed = ?");
    const update = this.#sql("UPDATE entries SET status = ?, digest = ? WHERE feed = ? AND id = ?");
    let corrected = 0;
    this.#transaction(() => {
      for (const row of select.all(feed) as {
        id: string;
        shown: string | null;
        detail: string | null;
        status: string | null;
      }[]) {
        const status = statuses.get(row.id) ?? null;
        if (status === row.status) continue;
        corrected++;
        this.touch(feed);
        const digest = row.shown === null ? null : digestOf(`${row.shown}\n${row.detail ?? ""}\n${status ?? ""}`);
        update.run(status, digest, feed, row.id);
      }
    });
    return corrected;
  }

  /** Something of this feed may have to be published. */
  touch(feed: string): void {
    this.#touched.add(feed);
  }

  /** Whether anything of these may have to be published since `published` was called. */
  isTouched(feeds: Iterable<string>): boolean {
    for (const feed of feeds) if (this.#touched.has(feed)) return true;
    return false;
  }

  /** All tenants have what there is of these. */
  published(feeds: Iterable<string>): void {
    for (const feed of feeds) this.#touched.delete(feed);
  }

  /**
   * Brings what a tenant is shown up to what is known: new and changed entries, and deletions of what is no longer listed
   * or no longer the tenant's. Returns how many keys changed; `limit` says that there may be more.
   */
  publish(tenant: string, feeds: ReadonlyMap<string, string>, limit: number): number {
    this.writeDetails();
    return this.#transaction(() => {
      const gone = this.#sql(
        `SELECT feed, id FROM published AS p
         WHERE tenant = ? AND (value IS NOT NULL OR error IS NOT NULL) AND feed <> ''
           AND (feed NOT IN (SELECT value FROM json_each(?))
             OR NOT EXISTS (SELECT 1 FROM entries AS e WHERE e.feed = p.feed AND e.id = p.id)) LIMIT ?`,
      ).all(tenant, JSON.stringify([...feeds.keys()]), limit) as { feed: string; id: string }[];
      for (const { feed, id } of gone) this.#bury(tenant, feed, id);
      let changed = gone.length;
      for (const [feed, catalog] of feeds) {
        if (changed < limit) changed += this.#publishFeed(tenant, feed, catalog, limit - changed);
      }
      return changed;
    });
  }

  /** One more key of a tenant that is not an entry. */
  publishOwn(tenant: string, id: string, value: string): void {
    const found = this.#sql("SELECT value FROM published WHERE tenant = ? AND feed = '' AND id = ?").get(tenant, id) as
      | { value: string | null }
      | undefined;
    if (found?.value === value) return;
    this.#transaction(() => this.#upsert(tenant, "", id, `/${tenant}/${id}`, null, value, null, null));
  }

  /** Whether a tenant is shown any entry. */
  isShownAny(tenant: string): boolean {
    const found = this.#sql(
      `SELECT 1 FROM published WHERE tenant = ? AND feed <> '' AND (value IS NOT NULL OR error IS NOT NULL) LIMIT 1`,
    ).get(tenant);
    return found !== undefined;
  }

  /** Tenants that are no longer configured: all of theirs is deleted. */
  keepTenants(tenants: readonly string[]): void {
    const rows = this.#sql(
      `SELECT tenant, feed, id FROM published
       WHERE (value IS NOT NULL OR error IS NOT NULL) AND tenant NOT IN (SELECT value FROM json_each(?))`,
    ).all(JSON.stringify(tenants)) as { tenant: string; feed: string; id: string }[];
    this.#transaction(() => {
      for (const { tenant, feed, id } of rows) this.#bury(tenant, feed, id);
    });
  }

  /** Digests of everything that a tenant is shown, in the order of keys. */
  *digests(tenant: string): Iterable<string> {
    const rows = this.#sql(
      `SELECT feed, id, digest FROM published WHERE tenant = ? AND value IS NOT NULL AND feed <> '' ORDER BY feed, id`,
    ).iterate(tenant) as IterableIterator<{ feed: string; id: string; digest: string }>;
    for (const { feed, id, digest } of rows) yield `${feed}/${id}=${digest}\n`;
  }

  /** What was published after a sequence number, in order. */
  publishedAfter(seq: bigint, limit: number): PublishedRow[] {
    const rows = this.#sql("SELECT key, value, error, raw, seq FROM published WHERE seq > ? ORDER BY seq LIMIT ?")
      .safeIntegers()
      .all(seq, limit) as {
      key: string;
      value: string | null;
      error: string | null;
      raw: string | null;
      seq: bigint;
    }[];
    return rows.map(({ key, value, error, raw, seq: at }) => ({
      key,
      value: value ?? undefined,
      error: error ?? undefined,
      raw: raw ?? undefined,
      seq: at,
    }));
  }

  /** Other details or none, and failures of other calls: all of it is for another configuration. */
  #askAnew(feed: string, { hasStatuses }: AskedFor): void {
    if (!hasStatuses) this.#sql("UPDATE entries SET status = NULL WHERE feed = ?").run(feed);
    this.#sql(
      `DELETE FROM tidemark_cycle_attempts WHERE cycle = 'catalogs' AND phase = 'hydrate'
         AND item IN (SELECT feed || '/' || id FROM entries WHERE feed = ?)`,
    ).run(feed);
  }

  #saveListing(feed: string, { entries }: Listing, nowMs: number, { hasDetails }: AskedFor, isAnew: boolean): void {
    const rows = this.#sql("SELECT id, version, listing, status FROM entries WHERE feed = ?").all(feed) as {
      id: string;
      version: string;
      listing: string;
      status: string | null;
    }[];
    const known = new Map(rows.map((row) => [row.id, row]));
    const upsert = this.#sql(
      `INSERT INTO entries (feed, id, version, listing, since_ms) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (feed, id) DO UPDATE
       SET version = excluded.version, listing = excluded.listing, since_ms = excluded.since_ms`,
    );
    const show = this.#sql(
      `UPDATE entries SET shown = listing, detail = NULL, detail_version = version, digest = ?
       WHERE feed = ? AND id = ?`,
    );
    const touch = this.#sql("UPDATE entries SET detail_version = NULL WHERE feed = ? AND id = ?");
    for (const { id, version, listing } of entries.values()) {
      const before = known.get(id);
      known.delete(id);
      if (!isAnew && before?.version === version && before.listing === listing) continue;
      upsert.run(feed, id, version, listing, nowMs);
      if (!hasDetails) show.run(digestOf(`${listing}\n\n${before?.status ?? ""}`), feed, id);
      // Listed differently under the same version, or hydrated from elsewhere: what is shown has to follow.
      else if (before?.version === version) touch.run(feed, id);
    }
    const remove = this.#sql("DELETE FROM entries WHERE feed = ? AND id = ?");
    for (const id of known.keys()) remove.run(feed, id);
  }

  /** The books of the cycle, in the same file, know which entries have failed for good. */
  #publishFeed(tenant: string, feed: string, catalog: string, limit: number): number {
    const rows = this.#sql(
      `SELECT e.id, e.shown, e.detail, e.status, e.digest, e.listing, a.error, p.value AS before FROM entries AS e
       LEFT JOIN tidemark_cycle_attempts AS a ON a.cycle = 'catalogs' AND a.phase = 'hydrate'
         AND a.item = e.feed || '/' || e.id AND a.version = e.version AND a.is_quarantined = 1
       LEFT JOIN published AS p ON p.tenant = ? AND p.feed = e.feed AND p.id = e.id
       WHERE e.feed = ? AND (e.digest IS NOT p.digest OR a.error IS NOT p.error) LIMIT ?`,
    ).all(tenant, feed, limit) as {
      id: string;
      shown: string | null;
      detail: string | null;
      status: string | null;
      digest: string | null;
      error: string | null;
      listing: string;
      before: string | null;
    }[];
    for (const row of rows) {
      const value = row.shown === null ? row.before : valueOf(row.shown, row.detail, row.status);
      const raw = row.error === null ? null : row.listing;
      this.#upsert(tenant, feed, row.id, `/${tenant}/${catalog}/${row.id}`, row.digest, value, row.error, raw);
    }
    return rows.length;
  }

  #bury(tenant: string, feed: string, id: string): void {
    this.#sql(
      `UPDATE published SET value = NULL, digest = NULL, error = NULL, raw = NULL, seq = ?
       WHERE tenant = ? AND feed = ? AND id = ?`,
    ).run(this.#next(), tenant, feed, id);
  }

  #upsert(
    tenant: string,
    feed: string,
    id: string,
    key: string,
    digest: string | null,
    value: string | null,
    error: string | null,
    raw: string | null,
  ): void {
    this.#sql(
      `INSERT INTO published (tenant, feed, id, key, digest, value, error, raw, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (tenant, feed, id) DO UPDATE SET key = excluded.key, digest = excluded.digest, value = excluded.value,
         error = excluded.error, raw = excluded.raw, seq = excluded.seq`,
    ).run(tenant, feed, id, key, digest, value, error, raw, this.#next());
  }

  #next(): bigint {
    this.#seq = (this.#seq > this.#base ? this.#seq : this.#base) + 1n;
    return this.#seq;
  }

  /**
   * Each opening counts on from a number that no earlier one can have used, and that is on the disk before anything is
   * published: neither a power cut that took the last commits nor an older copy of the file makes one number mean two
   * things. The time is what an older copy cannot know; the number before is for clocks that were set back.
   */
  #open(newEpoch: string, nowMs: number): { epoch: string; base: bigint; seq: bigint } {
    this.client.pragma("synchronous = FULL");
    const opened = this.#transaction(() => {
      const epoch = this.#meta("epoch") ?? newEpoch;
      const former = BigInt(this.#meta("base") ?? "0") / seqsPerMs;
      const now = BigInt(Math.max(0, nowMs));
      const base = (now > former ? now : former + 1n) * seqsPerMs;
      this.#saveMeta("epoch", epoch);
      this.#saveMeta("base", base.toString());
      const old = this.#sql(
        "SELECT seq FROM published WHERE value IS NULL AND error IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?",
      )
        .safeIntegers()
        .get(keptTombstones) as { seq: bigint } | undefined;
      if (old !== undefined) {
        this.#sql("DELETE FROM published WHERE value IS NULL AND error IS NULL AND seq <= ?").run(old.seq);
        this.#saveMeta("floor", old.seq.toString());
      }
      const last = this.#sql("SELECT COALESCE(MAX(seq), 0) AS seq FROM published").safeIntegers().get() as {
        seq: bigint;
      };
      return { epoch, base, seq: last.seq };
    });
    this.client.pragma("synchronous = NORMAL");
    return opened;
  }

  #meta(name: string): string | undefined {
    const row = this.#sql("SELECT value FROM meta WHERE name = ?").get(name) as { value: string } | undefined;
    return row?.value;
  }

  #saveMeta(name: string, value: string): void {
    this.#sql("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value").run(
      name,
      value,
    );
  }

  #transaction<T>(work: () => T): T {
    return this.client.inTransaction ? work() : this.client.transaction(work).immediate();
  }

  #sql(text: string): Database.Statement {
    let statement = this.#statements.get(text);
    if (statement === undefined) this.#statements.set(text, (statement = this.client.prepare(text)));
    return statement;
  }
}

/** What followers get: the entry as it was listed, with its details and status where the catalogue has these. */
function valueOf(entry: string, detail: string | null, status: string | null): string {
  const parts = [`"entry":${entry}`];
  if (detail !== null) parts.push(`"detail":${detail}`);
  if (status !== null) parts.push(`"status":${status}`);
  return `{${parts.join()}}`;
}

function unusable(file: string, error: unknown): CatalogError {
  const { code, message } = error as { readonly code?: string; readonly message: string };
  const why =
    code?.startsWith("SQLITE_BUSY") === true ? "another process uses it; stop that, or take another file" : message;
  return new CatalogError("STATE_UNUSABLE", `The state file ${file} cannot be used: ${why}`, { cause: error });
}
