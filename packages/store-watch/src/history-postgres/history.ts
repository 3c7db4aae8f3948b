import { type Clock, type Rng, systemClock, systemRng, type Timer } from "@tidemark/clock";
import type { GapReason, ResumePoint, SourceCapabilities } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import type { FrameBuffer } from "../frame-buffer.ts";
import { toDiffs } from "../history/diff-records.ts";
import type { GraphOptions, HistoryGraph } from "../history/graph-types.ts";
import { checkLimit, checkStreamOptions, toAsOf, toPosition } from "../history/options.ts";
import { decodePosition } from "../history/page-token.ts";
import { packVersions, unpackVersions, type VersionRow } from "../history/version-packing.ts";
import { Wakeup } from "../history/wakeup.ts";
import type {
  AppendResult,
  AsOf,
  DiffRecord,
  FsckReport,
  GapRecord,
  History,
  HistoryStream,
  KeyRange,
  OpenStreamOptions,
  Page,
  PageOptions,
  Position,
  PostgresHistoryOptions,
  QuarantineRecord,
  StreamRecord,
  VersionRecord,
} from "../history-types.ts";
import { loadDriver, openPool, type PostgresClient, type PostgresDriver, type PostgresPool } from "./driver.ts";
import { checkPostgres } from "./fsck.ts";
import { openSchema } from "./open-schema.ts";
import { unreadable } from "./postgres-errors.ts";
import { type ResolvedPostgresOptions, resolvePostgresOptions } from "./postgres-options.ts";
import { prune, setConsumer } from "./pruner.ts";
import { retryQuarantined, skipQuarantined } from "./quarantine-resolver.ts";
import { PostgresReader } from "./reader.ts";
import { PostgresWriter } from "./writer.ts";

/**
 * Opens the history in a schema of a PostgreSQL database, creates or upgrades it first, and takes the right to write it.
 *
 * @throws {StoreWatchError} `OPTIONS_INVALID`, `DATABASE_UNREADABLE`, `DATABASE_LOCKED`, `SCHEMA_NEWER`
 */
export async function openPostgresHistory(
  options: PostgresHistoryOptions & {
    readonly clock?: Clock;
    readonly rng?: Rng;
    readonly cacheBytes?: number;
    readonly driver?: PostgresDriver;
  },
): Promise<History> {
  const resolved = resolvePostgresOptions(options);
  const { url, schema, where, leaseMs, waitMs, readers } = resolved;
  const clock = options.clock ?? systemClock;
  const rng = options.rng ?? systemRng;
  // One more for the writer and one for fsck.
  const pool = openPool(options.driver ?? (await loadDriver()), { url, schema, max: readers + 2 });
  const { cacheBytes } = options;
  const writer = new PostgresWriter(pool, { session: rng.uuid(), ttlMs: leaseMs, where, clock, cacheBytes });
  try {
    const client = await pool.connect();
    let origin: string;
    try {
      origin = await openSchema(client, { schema, where, origin: rng.uuid() });
    } finally {
      client.release();
    }
    await writer.transactions.acquire(waitMs);
    return new PostgresHistory({ origin, pool, writer, clock, options: resolved });
  } catch (error) {
    await writer.transactions.close();
    await pool.end();
    throw unreadable(where, error);
  }
}

class PostgresHistory implements History {
  readonly origin: string;
  readonly #pool: PostgresPool;
  readonly #writer: PostgresWriter;
  readonly #clock: Clock;
  readonly #options: ResolvedPostgresOptions;
  readonly #commits = new Wakeup();
  #heartbeat: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(parts: {
    readonly origin: string;
    readonly pool: PostgresPool;
    readonly writer: PostgresWriter;
    readonly clock: Clock;
    readonly options: ResolvedPostgresOptions;
  }) {
    this.origin = parts.origin;
    this.#pool = parts.pool;
    this.#writer = parts.writer;
    this.#clock = parts.clock;
    this.#options = parts.options;
    this.#beat();
  }

  async openStream(options: OpenStreamOptions): Promise<HistoryStream> {
    checkStreamOptions(options);
    this.#checkOpen();
    const opened = await this.#write(() => this.#writer.openStream(options, this.#clock.now()));
    return new PostgresStream(options.name, opened, {
      writer: this.#writer,
      clock: this.#clock,
      checkOpen: () => this.#checkOpen(),
      onCommit: () => this.#commits.notify(),
    });
  }

  async openGraph(_options: GraphOptions): Promise<HistoryGraph> {
    throw new StoreWatchError("OPTIONS_INVALID", "graphs are kept on SQLite alone as yet; open a history in a file");
  }

  async streams(): Promise<readonly StreamRecord[]> {
    return this.#read(async (reader) =>
      (await reader.queries.streams.execute()).map(({ stream, epoch }) => ({
        name: stream.name,
        kind: stream.kind,
        description: stream.description,
        scope: stream.scope,
        capabilities: JSON.parse(stream.capabilities) as SourceCapabilities,
        epoch: epoch ?? undefined,
        cursor: stream.cursor ?? undefined,
        keys: stream.keys,
        versions: stream.versions,
        gaps: stream.gaps,
        quarantined: stream.quarantined,
        lastCommitAtMs: stream.lastCommitAt ?? undefined,
      })),
    );
  }

  async get(
    stream: string,
    key: Uint8Array,
    options: { readonly at?: AsOf; readonly signal?: AbortSignal } = {},
  ): Promise<VersionRecord | undefined> {
    const at = options.at && toAsOf(options.at);
    return this.#read(async (reader) => {
      const row = await reader.get(stream, key, at);
      return row && toRecords([row])[0];
    }, options.signal);
  }

  async list(
    range: KeyRange,
    options: PageOptions & { readonly at?: AsOf; readonly includeDeleted?: boolean } = {},
  ): Promise<Page<VersionRecord>> {
    const at = options.at && toAsOf(options.at);
    const includeDeleted = options.includeDeleted ?? false;
    const input = { range, at, includeDeleted, limit: checkLimit(options.limit), after: options.after };
    return this.#read(async (reader) => {
      const { rows, next } = await reader.list(input);
      return { items: toRecords(rows), next };
    }, options.signal);
  }

  async log(stream: string, key: Uint8Array, options: PageOptions = {}): Promise<Page<VersionRecord>> {
    const input = { stream, key, limit: checkLimit(options.limit), after: options.after };
    return this.#read(async (reader) => {
      const { rows, next } = await reader.log(input);
      return { items: toRecords(rows), next };
    }, options.signal);
  }

  async diff(from: AsOf, to: AsOf, range: KeyRange = {}, options: PageOptions = {}): Promise<Page<DiffRecord>> {
    const moments = { from: toAsOf(from), to: toAsOf(to) };
    const input = { range, ...moments, limit: checkLimit(options.limit), after: options.after };
    return this.#read(async (reader) => {
      const { rows, next } = await reader.diff(input);
      return { items: toDiffs(unpackVersions(packVersions(rows))), next };
    }, options.signal);
  }

  async changes(
    after: Position,
    options: PageOptions & { readonly stream?: string } = {},
  ): Promise<Page<VersionRecord>> {
    const { stream, signal } = options;
    const limit = checkLimit(options.limit);
    let position = options.after === undefined ? toPosition(after) : decodePosition(options.after);
    for (;;) {
      const page = await this.#changes(position, limit, stream, signal);
      position = page.position;
      if (page.rows.length === 0 && !page.isEnd) continue;
      return { items: toRecords(page.rows), next: page.isEnd ? undefined : String(position) };
    }
  }

  async *follow(
    after: Position,
    options: { readonly stream?: string; readonly limit?: number; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<readonly VersionRecord[], void, undefined> {
    const { stream, signal } = options;
    const limit = checkLimit(options.limit);
    let position = toPosition(after);
    for (;;) {
      const seen = this.#commits.count;
      const page = await this.#changes(position, limit, stream, signal);
      position = page.position;
      if (page.rows.length > 0) yield toRecords(page.rows);
      else if (page.isEnd) await this.#commits.after(seen, signal);
    }
  }

  async position(): Promise<Position> {
    return this.#read(async (reader) => BigInt(await reader.moments.now()));
  }

  async gaps(stream?: string): Promise<readonly GapRecord[]> {
    return this.#read(async (reader) =>
      (await reader.queries.gaps.execute({ stream: stream ?? null })).map(({ gap, stream: name, epoch }) => ({
        id: gap.id,
        stream: name,
        epoch: epoch ?? undefined,
        reason: gap.reason as GapReason,
        detail: gap.detail,
        from: gap.fromCursor ?? undefined,
        to: gap.toCursor ?? undefined,
        position: BigInt(gap.position),
        atMs: gap.at,
      })),
    );
  }

  async quarantine(
    stream?: string,
    options: { readonly includeResolved?: boolean } = {},
  ): Promise<readonly QuarantineRecord[]> {
    return this.#quarantine(stream, undefined, options.includeResolved ?? false);
  }

  async retryQuarantined(id: number): Promise<QuarantineRecord> {
    await this.#write(() => retryQuarantined(this.#writer, id, this.#clock.now()));
    this.#commits.notify();
    return this.#quarantined(id);
  }

  async skipQuarantined(id: number, reason: string): Promise<QuarantineRecord> {
    await this.#write(() => skipQuarantined(this.#writer, id, reason));
    return this.#quarantined(id);
  }

  async setConsumer(name: string, position: Position | undefined): Promise<void> {
    const at = position === undefined ? undefined : toPosition(position);
    await this.#write(() => setConsumer(this.#writer, name, at, this.#clock.now()));
  }

  async prune(options: {
    readonly before: AsOf;
    readonly stream?: string;
  }): Promise<{ readonly removed: number; readonly floor: Position }> {
    const before = toAsOf(options.before);
    const pruned = await this.#write(() => prune(this.#writer, before, options.stream, this.#clock));
    return { removed: pruned.removed, floor: BigInt(pruned.floor) };
  }

  async fsck(options: { readonly signal?: AbortSignal } = {}): Promise<FsckReport> {
    return this.#snapshot((client) => checkPostgres(client, options.signal), options.signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#heartbeat?.cancel();
    this.#commits.end(closed());
    await this.#writer.transactions.close();
    await this.#pool.end();
  }

  /** Renews the lease; and while another one writes, followers look for themselves. */
  #beat(): void {
    this.#heartbeat = this.#clock.setTimer(this.#options.leaseMs / 3, () => {
      if (!this.#writer.transactions.isHolder) this.#commits.notify();
      void this.#writer.transactions.renew().finally(() => {
        if (this.#closing === undefined) this.#beat();
      });
    });
    this.#heartbeat.unref();
  }

  #changes(after: number, limit: number, stream: string | undefined, signal: AbortSignal | undefined) {
    return this.#read((reader) => reader.changes({ limit, after, stream }), signal);
  }

  async #quarantine(
    stream: string | undefined,
    id: number | undefined,
    resolved: boolean,
  ): Promise<readonly QuarantineRecord[]> {
    const filter = { stream: stream ?? null, id: id ?? null, resolved };
    return this.#read(async (reader) =>
      (await reader.queries.quarantine.execute(filter)).map(({ item, stream: name, epoch }) => ({
        id: item.id,
        stream: name,
        key: new Uint8Array(item.key),
        kind: item.value === null ? "delete" : "put",
        value: item.value === null ? undefined : new Uint8Array(item.value),
        version: item.version ?? undefined,
        epoch,
        cursor: item.cursor,
        error: item.error,
        atMs: item.at,
        state: item.state as QuarantineRecord["state"],
        resolution: item.resolution ?? undefined,
      })),
    );
  }

  async #quarantined(id: number): Promise<QuarantineRecord> {
    const [record] = await this.#quarantine(undefined, id, true);
    if (record === undefined) throw new StoreWatchError("NOT_FOUND", `there is no change ${id} in quarantine`);
    return record;
  }

  #read<T>(work: (reader: PostgresReader) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#snapshot((client) => work(new PostgresReader(client)), signal);
  }

  /** Everything that `work` reads is of one moment. */
  async #snapshot<T>(work: (client: PostgresClient) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    this.#checkOpen();
    const reading = this.#isolated(work);
    if (signal === undefined) return reading;
    // The rest of the read goes on unseen.
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([reading, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      reading.catch(() => undefined);
    }
  }

  async #isolated<T>(work: (client: PostgresClient) => Promise<T>): Promise<T> {
    let client: PostgresClient | undefined;
    try {
      client = await this.#pool.connect();
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const result = await work(client);
      await client.query("COMMIT");
      client.release();
      return result;
    } catch (error) {
      // One query in the middle was refused: with the connection, whatever is left of the transaction ends.
      client?.release(StoreWatchError.is(error) ? await this.#rolledBack(client) : true);
      throw unreadable(this.#options.where, error);
    }
  }

  async #rolledBack(client: PostgresClient): Promise<boolean> {
    return client.query("ROLLBACK").then(
      () => false,
      () => true,
    );
  }

  async #write<T>(work: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    try {
      return await work();
    } catch (error) {
      throw unreadable(this.#options.where, error);
    }
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw closed();
  }
}

class PostgresStream implements HistoryStream {
  readonly name: string;
  readonly #id: number;
  readonly #token: number;
  readonly #parts: {
    readonly writer: PostgresWriter;
    readonly clock: Clock;
    readonly checkOpen: () => void;
    readonly onCommit: () => void;
  };
  #resume: ResumePoint | undefined;
  #isAppending = false;

  constructor(
    name: string,
    opened: { readonly id: number; readonly token: number; readonly resume: ResumePoint | undefined },
    parts: {
      readonly writer: PostgresWriter;
      readonly clock: Clock;
      readonly checkOpen: () => void;
      readonly onCommit: () => void;
    },
  ) {
    this.name = name;
    this.#id = opened.id;
    this.#token = opened.token;
    this.#resume = opened.resume;
    this.#parts = parts;
  }

  get resume(): ResumePoint | undefined {
    return this.#resume;
  }

  async append(buffer: FrameBuffer): Promise<AppendResult> {
    if (this.#isAppending) {
      throw new StoreWatchError("STREAM_BUSY", "await the append before the next one, so that their order is certain", {
        buffer,
      });
    }
    this.#isAppending = true;
    const { writer, clock, checkOpen, onCommit } = this.#parts;
    // Ours until it is committed: nobody writes into it meanwhile.
    const frames = buffer.toTransfer();
    try {
      checkOpen();
      const appended = await writer.append(this.#id, this.#token, frames, clock.now());
      buffer.takeBack(frames);
      this.#resume = appended.resume;
      if (appended.versions > 0) onCommit();
      return { buffer, ...appended, position: BigInt(appended.position) };
    } catch (error) {
      buffer.takeBack(frames);
      if (!StoreWatchError.is(error)) {
        throw new StoreWatchError("INTERNAL", "an append failed in a way that nobody thought of", {
          buffer,
          cause: error,
        });
      }
      const { code, message, cause, retryable } = error;
      throw new StoreWatchError(code, message.replace(`[${code}] `, ""), { buffer, cause, retryable });
    } finally {
      this.#isAppending = false;
    }
  }
}

function closed(): StoreWatchError {
  return new StoreWatchError("CLOSED", "the history is closed");
}

/** Copies, so that a record does not keep the driver's memory. */
function toRecords(rows: readonly VersionRow[]): VersionRecord[] {
  return unpackVersions(packVersions(rows)) as VersionRecord[];
}
