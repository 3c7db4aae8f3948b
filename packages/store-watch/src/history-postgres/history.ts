import { type Clock, type Rng, systemClock, systemRng, type Timer } from "@tidemark/clock";
import type { GapReason, ResumePoint, SourceCapabilities } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import type { FrameBuffer } from "../frame-buffer.ts";
import { type Flow, runLater } from "../history/flow.ts";
import { toDiffs } from "../history/diff-records.ts";
import type { GraphOptions, HistoryGraph } from "../history/graph-types.ts";
import { graphStream } from "../history/graph-stream.ts";
import { checkLimit, checkStreamOptions, toAsOf, toPosition } from "../history/options.ts";
import { decodePosition } from "../history/page-token.ts";
import type { RowPage, VersionReads } from "../history/version-reads.ts";
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
import { PostgresGraph } from "./graph.ts";
import { openSchema } from "./open-schema.ts";
import { unreadable } from "./postgres-errors.ts";
import { type ResolvedPostgresOptions, resolvePostgresOptions } from "./postgres-options.ts";
import { PostgresReader } from "./reader.ts";
import type { FencedTransactions } from "./transactions.ts";
import { type OpenedStream, PostgresWriter } from "./writer.ts";

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
  const { url, schema, where, leaseMs, waitMs, readers, isDurable } = resolved;
  const clock = options.clock ?? systemClock;
  const rng = options.rng ?? systemRng;
  const leader = options.leader && transactionsOf(options.leader);
  // One more for the writer and one for fsck.
  const pool = openPool(options.driver ?? (await loadDriver()), { url, schema, max: readers + 2 });
  const { cacheBytes } = options;
  const lease = { session: rng.uuid(), ttlMs: leaseMs, leader };
  const writer = new PostgresWriter(pool, { ...lease, isDurable, where, clock, cacheBytes });
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

/** @throws {StoreWatchError} `OPTIONS_INVALID` */
function transactionsOf(leader: History): FencedTransactions {
  if (leader instanceof PostgresHistory) return leader.transactions;
  throw new StoreWatchError("OPTIONS_INVALID", "leader must be a history on PostgreSQL, got another one");
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

  get transactions(): FencedTransactions {
    return this.#writer.transactions;
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

  async openGraph(options: GraphOptions): Promise<HistoryGraph> {
    const { name, description } = options;
    checkStreamOptions({ ...graphStream, name, description });
    this.#checkOpen();
    const { origin } = this;
    const open = () => this.#write(() => this.#writer.openGraph({ name, description }, origin, this.#clock.now()));
    return new PostgresGraph({ name, origin }, await open(), {
      open,
      writer: this.#writer,
      clock: this.#clock,
      onCommit: () => this.#commits.notify(),
      write: (work) => this.#write(work),
      read: (work) => this.#snapshot(work),
    });
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
      const row = await runLater(reader.reads.get(stream, key, at));
      return row && (await reader.toRecords([row]))[0];
    }, options.signal);
  }

  async list(
    range: KeyRange,
    options: PageOptions & { readonly at?: AsOf; readonly includeDeleted?: boolean } = {},
  ): Promise<Page<VersionRecord>> {
    const at = options.at && toAsOf(options.at);
    const includeDeleted = options.includeDeleted ?? false;
    const input = { range, at, includeDeleted, limit: checkLimit(options.limit), after: options.after };
    return this.#page((reads) => reads.list(input), options.signal);
  }

  async log(stream: string, key: Uint8Array, options: PageOptions = {}): Promise<Page<VersionRecord>> {
    const input = { stream, key, limit: checkLimit(options.limit), after: options.after };
    return this.#page((reads) => reads.log(input), options.signal);
  }

  async diff(from: AsOf, to: AsOf, range: KeyRange = {}, options: PageOptions = {}): Promise<Page<DiffRecord>> {
    const moments = { from: toAsOf(from), to: toAsOf(to) };
    const input = { range, ...moments, limit: checkLimit(options.limit), after: options.after };
    return this.#read(async (reader) => {
      const { rows, next } = await runLater(reader.reads.diff(input));
      return { items: toDiffs(await reader.toRecords(rows)), next };
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
      if (page.records.length === 0 && !page.isEnd) continue;
      return { items: page.records, next: page.isEnd ? undefined : String(position) };
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
      if (page.records.length > 0) yield page.records;
      else if (page.isEnd) await this.#commits.after(seen, signal);
    }
  }

  async position(): Promise<Position> {
    return this.#read(async (reader) => BigInt(await reader.position()));
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
    await this.#write(() => this.#writer.retryQuarantined(id, this.#clock.now()));
    this.#commits.notify();
    return this.#quarantined(id);
  }

  async skipQuarantined(id: number, reason: string): Promise<QuarantineRecord> {
    await this.#write(() => this.#writer.skipQuarantined(id, reason));
    return this.#quarantined(id);
  }

  async setConsumer(name: string, position: Position | undefined): Promise<void> {
    const at = position === undefined ? undefined : toPosition(position);
    await this.#write(() => this.#writer.setConsumer(name, at, this.#clock.now()));
  }

  async prune(options: {
    readonly before: AsOf;
    readonly stream?: string;
  }): Promise<{ readonly removed: number; readonly floor: Position }> {
    const before = toAsOf(options.before);
    const pruned = await this.#write(() => this.#writer.prune(before, options.stream, this.#clock));
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
    this.#writer.losses.end(closed());
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
    return this.#read(async (reader) => {
      const { rows, position, isEnd } = await runLater(reader.reads.changes({ limit, after, stream }));
      return { records: (await reader.toRecords(rows)) as VersionRecord[], position, isEnd };
    }, signal);
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

  #page(flow: (reads: VersionReads) => Flow<RowPage>, signal: AbortSignal | undefined): Promise<Page<VersionRecord>> {
    return this.#read(async (reader) => {
      const { rows, next } = await runLater(flow(reader.reads));
      return { items: (await reader.toRecords(rows)) as VersionRecord[], next };
    }, signal);
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
      const taken = await this.#pool.connect();
      client = taken;
      const begun = client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      // What goes wrong with it is told by what comes behind it, too.
      begun.catch(() => undefined);
      const result = await work(client);
      await begun;
      // Nobody has to wait for its end.
      client.query("COMMIT").then(
        () => taken.release(),
        () => taken.release(true),
      );
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
  readonly #opened: OpenedStream;
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
    opened: OpenedStream,
    parts: {
      readonly writer: PostgresWriter;
      readonly clock: Clock;
      readonly checkOpen: () => void;
      readonly onCommit: () => void;
    },
  ) {
    this.name = name;
    this.#opened = opened;
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
      const appended = await writer.append(this.#opened, frames, clock.now());
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
