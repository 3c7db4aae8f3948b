import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import type {
  AsOf,
  DiffRecord,
  FsckReport,
  GapRecord,
  History,
  HistoryOptions,
  HistoryStream,
  KeyRange,
  OpenStreamOptions,
  Page,
  PageOptions,
  Position,
  QuarantineRecord,
  StreamRecord,
  VersionRecord,
} from "../history-types.ts";
import { closedError, startReader, startWriter } from "../history-workers.ts";
import type { HistoryThread } from "../worker/local-thread.ts";
import { toDiffs } from "./diff-records.ts";
import type { GraphOptions, HistoryGraph } from "./graph-types.ts";
import { SqliteGraph } from "./history-graph.ts";
import { SqliteStream } from "./history-stream.ts";
import type { ReaderMethods, WriterMethods } from "./methods.ts";
import { graphStream } from "./graph-stream.ts";
import { checkLimit, checkStreamOptions, resolveHistoryOptions, toAsOf, toPosition } from "./options.ts";
import { decodePosition } from "./page-token.ts";
import { type PackedVersions, unpackVersions } from "./version-packing.ts";
import { Wakeup } from "./wakeup.ts";

/**
 * Opens the history in a SQLite file, and creates or upgrades it first. It is the only one that writes this file until
 * it is closed; any number of other programs may read it.
 *
 * @throws {StoreWatchError} `OPTIONS_INVALID`, `DATABASE_UNREADABLE`, `DATABASE_LOCKED`, `SCHEMA_NEWER`
 */
export async function openHistory(
  options: HistoryOptions & { readonly clock?: Clock; readonly rng?: Rng },
): Promise<History> {
  const { file, synchronous, readers: count } = resolveHistoryOptions(options);
  const clock = options.clock ?? systemClock;
  const writer = startWriter();
  const readers = Array.from({ length: count }, startReader);
  try {
    const { origin } = await writer.call("open", { file, synchronous, origin: (options.rng ?? systemRng).uuid() });
    // Nobody has to wait for them before there is something to read; a reader that cannot open says so at its first read.
    for (const reader of readers) reader.call("open", { file }).catch(() => undefined);
    return new SqliteHistory({ file, origin, writer, readers, clock, startReader });
  } catch (error) {
    await Promise.all([writer.close(), ...readers.map((reader) => reader.close())]);
    throw error;
  }
}

/** The history of one file, behind the threads that have it open. */
export class SqliteHistory implements History {
  readonly origin: string;
  readonly #file: string;
  readonly #writer: HistoryThread<WriterMethods>;
  readonly #readers: readonly HistoryThread<ReaderMethods>[];
  readonly #checkers = new Set<HistoryThread<ReaderMethods>>();
  readonly #clock: Clock;
  readonly #startReader: () => HistoryThread<ReaderMethods>;
  readonly #commits = new Wakeup();
  #closing: Promise<void> | undefined;

  constructor(parts: {
    readonly file: string;
    readonly origin: string;
    readonly writer: HistoryThread<WriterMethods>;
    readonly readers: readonly HistoryThread<ReaderMethods>[];
    readonly clock: Clock;
    readonly startReader: () => HistoryThread<ReaderMethods>;
  }) {
    this.origin = parts.origin;
    this.#file = parts.file;
    this.#writer = parts.writer;
    this.#readers = parts.readers;
    this.#clock = parts.clock;
    this.#startReader = parts.startReader;
  }

  async openStream(options: OpenStreamOptions): Promise<HistoryStream> {
    checkStreamOptions(options);
    const { name, kind, description, scope, capabilities } = options;
    const input = { options: { name, kind, description, scope, capabilities }, nowMs: this.#clock.now() };
    const opened = await this.#writer.call("openStream", input);
    return new SqliteStream(name, opened, {
      writer: this.#writer,
      clock: this.#clock,
      onCommit: () => this.#commits.notify(),
    });
  }

  async openGraph(options: GraphOptions): Promise<HistoryGraph> {
    const { name, description } = options;
    checkStreamOptions({ ...graphStream, name, description });
    const input = { options: { name, description }, nowMs: this.#clock.now() };
    const opened = await this.#writer.call("openGraph", input);
    return new SqliteGraph(name, opened, {
      writer: this.#writer,
      clock: this.#clock,
      onCommit: () => this.#commits.notify(),
    });
  }

  async streams(): Promise<readonly StreamRecord[]> {
    return this.#reader().call("streams", undefined);
  }

  async get(
    stream: string,
    key: Uint8Array,
    options: { readonly at?: AsOf; readonly signal?: AbortSignal } = {},
  ): Promise<VersionRecord | undefined> {
    const at = options.at && toAsOf(options.at);
    const found = await this.#reader().call("get", { stream, key, at }, { signal: options.signal });
    return unpackVersions(found)[0];
  }

  async list(
    range: KeyRange,
    options: PageOptions & { readonly at?: AsOf; readonly includeDeleted?: boolean } = {},
  ): Promise<Page<VersionRecord>> {
    const input = {
      range,
      at: options.at && toAsOf(options.at),
      includeDeleted: options.includeDeleted ?? false,
      ...pageInput(options),
    };
    const page = await this.#reader().call("list", input, { signal: options.signal });
    return { items: unpackAll(page.versions), next: page.next };
  }

  async log(stream: string, key: Uint8Array, options: PageOptions = {}): Promise<Page<VersionRecord>> {
    const page = await this.#reader().call("log", { stream, key, ...pageInput(options) }, { signal: options.signal });
    return { items: unpackAll(page.versions), next: page.next };
  }

  async diff(from: AsOf, to: AsOf, range: KeyRange = {}, options: PageOptions = {}): Promise<Page<DiffRecord>> {
    const input = { range, from: toAsOf(from), to: toAsOf(to), ...pageInput(options) };
    const page = await this.#reader().call("diff", input, { signal: options.signal });
    return { items: toDiffs(unpackVersions(page.versions)), next: page.next };
  }

  async changes(
    after: Position,
    options: PageOptions & { readonly stream?: string } = {},
  ): Promise<Page<VersionRecord>> {
    const { stream, signal } = options;
    const limit = checkLimit(options.limit);
    let position = options.after === undefined ? toPosition(after) : decodePosition(options.after);
    for (;;) {
      const page = await this.#reader().call("changes", { limit, after: position, stream }, { signal });
      position = page.position;
      if (page.versions.count === 0 && !page.isEnd) continue;
      return { items: unpackAll(page.versions), next: page.isEnd ? undefined : String(position) };
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
      const page = await this.#reader().call("changes", { limit, after: position, stream }, { signal });
      position = page.position;
      if (page.versions.count > 0) yield unpackAll(page.versions);
      else if (page.isEnd) await this.#commits.after(seen, signal);
    }
  }

  async position(): Promise<Position> {
    return BigInt(await this.#reader().call("position", undefined));
  }

  async gaps(stream?: string): Promise<readonly GapRecord[]> {
    return this.#reader().call("gaps", { stream });
  }

  async quarantine(
    stream?: string,
    options: { readonly includeResolved?: boolean } = {},
  ): Promise<readonly QuarantineRecord[]> {
    const includeResolved = options.includeResolved ?? false;
    return this.#reader().call("quarantine", { stream, id: undefined, includeResolved });
  }

  async retryQuarantined(id: number): Promise<QuarantineRecord> {
    await this.#writer.call("retryQuarantined", { id, nowMs: this.#clock.now() });
    this.#commits.notify();
    return this.#quarantined(id);
  }

  async skipQuarantined(id: number, reason: string): Promise<QuarantineRecord> {
    await this.#writer.call("skipQuarantined", { id, reason });
    return this.#quarantined(id);
  }

  async setConsumer(name: string, position: Position | undefined): Promise<void> {
    const at = position === undefined ? undefined : toPosition(position);
    await this.#writer.call("setConsumer", { name, position: at, nowMs: this.#clock.now() });
  }

  async prune(options: {
    readonly before: AsOf;
    readonly stream?: string;
  }): Promise<{ readonly removed: number; readonly floor: Position }> {
    const pruned = await this.#writer.call("prune", { before: toAsOf(options.before), stream: options.stream });
    return { removed: pruned.removed, floor: BigInt(pruned.floor) };
  }

  async fsck(options: { readonly signal?: AbortSignal } = {}): Promise<FsckReport> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closing !== undefined) throw closedError();
    // A thread of its own: it takes long, and reads must not wait for it.
    const checker = this.#startReader();
    this.#checkers.add(checker);
    try {
      await checker.call("open", { file: this.#file }, { signal });
      return await checker.call("fsck", undefined, { signal });
    } finally {
      this.#checkers.delete(checker);
      const ending = checker.destroy();
      if (signal?.aborted !== true) await ending;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#commits.end(closedError());
    await Promise.all([...this.#checkers].map((checker) => checker.destroy()));
    // The writer last: then it is the last connection, and SQLite puts everything into the one file.
    await Promise.all(this.#readers.map((reader) => reader.close()));
    await this.#writer.close();
  }

  #reader(): HistoryThread<ReaderMethods> {
    return this.#readers.reduce((best, reader) => (reader.pending < best.pending ? reader : best));
  }

  async #quarantined(id: number): Promise<QuarantineRecord> {
    const [record] = await this.#reader().call("quarantine", { stream: undefined, id, includeResolved: true });
    if (record === undefined) throw new StoreWatchError("NOT_FOUND", `there is no change ${id} in quarantine`);
    return record;
  }
}

function pageInput(options: PageOptions): { readonly limit: number; readonly after: string | undefined } {
  return { limit: checkLimit(options.limit), after: options.after };
}

function unpackAll(packed: PackedVersions): VersionRecord[] {
  return unpackVersions(packed) as VersionRecord[];
}
