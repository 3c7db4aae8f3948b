import type Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
import { Moments, type StreamFacts } from "./as-of.ts";
import { boundsOf, keyAfter } from "./key-range.ts";
import { graphKind } from "./ddl.ts";
import type { AsOfInput, DiffPage, ReaderMethods, VersionPage } from "./methods.ts";
import { openReaderDatabase } from "./open-database.ts";
import { decodePageToken, decodePosition, encodePageToken } from "./page-token.ts";
import { RecordQueries } from "./record-queries.ts";
import { type PackedVersions, packVersions, type VersionRow } from "./version-packing.ts";
import { VersionQueries } from "./version-queries.ts";

/** A page ends early at this many bytes, so that large values do not fill the memory. */
const maxPageBytes = 8 * 1024 * 1024;
/** Rows fetched at first, as long as nothing is known of their size. */
const firstRows = 8;
/** Keys looked for together in a diff. */
const keysAtOnce = 64;
/** Log positions searched for the changes of one stream before the caller gets a say. */
const positionsAtOnce = 50_000;
/** Up to this many positions apart, the objects that differ are found by position. */
const narrowDiff = 20_000;

/** Reads of one connection. Every page is read from one snapshot of the database. */
export class HistoryReader {
  /** For checks over the whole database. */
  readonly connection: Database.Database;
  readonly #moments: Moments;
  readonly #queries: VersionQueries;
  readonly records: RecordQueries;

  /** @throws {StoreWatchError} `DATABASE_UNREADABLE` */
  constructor(file: string) {
    this.connection = openReaderDatabase(file);
    this.#moments = new Moments(this.connection);
    this.#queries = new VersionQueries(this.connection);
    this.records = new RecordQueries(this.connection);
  }

  position(): number {
    return this.#moments.now();
  }

  /** The key's version at a moment, unless it is deleted then. */
  get(streamName: string, key: Uint8Array, at: AsOfInput | undefined): PackedVersions {
    return this.#read(() => {
      const stream = this.#moments.stream(streamName);
      const position = this.#moments.resolve(at, stream);
      const object = this.#object(stream, key);
      const row =
        object &&
        (position === undefined
          ? this.#queries.head.get({ pos: object.head })
          : this.#at(object.id, position, stream.kind));
      return this.#pack(row === undefined || row.value === null ? [] : [row]);
    });
  }

  list(input: Parameters<ReaderMethods["list"]>[0]): VersionPage {
    return this.#read(() => {
      const { range, includeDeleted } = input;
      const token = input.after === undefined ? undefined : decodePageToken(input.after);
      const only = range.stream === undefined ? undefined : this.#moments.stream(range.stream);
      const position = token === undefined ? this.#moments.resolve(input.at, only) : token.positions[0];
      this.#checkFloor(position, only);
      const bounds = boundsOf(range);
      const query = { hasEnd: bounds.end !== undefined, includeDeleted };
      const kinds = this.#streamKinds(only, token?.stream);
      const { rows, isEnd } = this.#collect([...kinds.keys()], input.limit, (stream, last, limit) => {
        const asOf = position === undefined ? undefined : kinds.get(stream) === graphKind ? "graph" : "linear";
        const statement = this.#queries.list({ ...query, asOf });
        const after = last?.key ?? (token?.stream === stream ? token.key : undefined);
        const start = startAfter(bounds.start, after);
        return statement.all({ stream, start, end: bounds.end, pos: position, limit });
      });
      const last = rows.at(-1);
      const next = isEnd || last === undefined ? undefined : this.#token(last, [position]);
      return { versions: this.#pack(rows.map(({ row }) => row)), next };
    });
  }

  log(input: Parameters<ReaderMethods["log"]>[0]): VersionPage {
    return this.#read(() => {
      const stream = this.#moments.stream(input.stream);
      const object = this.#object(stream, input.key)?.id;
      if (object === undefined) return { versions: this.#pack([]), next: undefined };
      const first = input.after === undefined ? this.#moments.now() + 1 : decodePosition(input.after);
      const { rows, isEnd } = this.#collect([stream.id], input.limit, (_, last, limit) =>
        this.#queries.log.all({ object, before: last?.pos ?? first, limit }),
      );
      const last = rows.at(-1);
      return {
        versions: this.#pack(rows.map(({ row }) => row)),
        next: isEnd || last === undefined ? undefined : String(last.row.pos),
      };
    });
  }

  changes(input: Parameters<ReaderMethods["changes"]>[0]): ReturnType<ReaderMethods["changes"]> {
    return this.#read(() => {
      const stream = input.stream === undefined ? undefined : this.#moments.stream(input.stream);
      const { after } = input;
      const floor = this.#moments.floor(stream);
      if (after < floor) {
        throw new StoreWatchError(
          "TOO_OLD",
          `changes after position ${after} were pruned; they are complete after ${floor}`,
        );
      }
      const now = this.#moments.now();
      this.#moments.find({ position: after }, undefined);
      // A stream that rarely changes must not make one read search the whole log.
      const to = stream === undefined ? now : Math.min(now, after + positionsAtOnce);
      const { rows, isEnd } = this.#collect([0], input.limit, (_, last, limit) => {
        const range = { after: last?.pos ?? after, to, limit };
        if (stream === undefined) return this.#queries.changes.all(range);
        return this.#queries.changesOfStream.all({ ...range, stream: stream.id });
      });
      const position = isEnd ? Math.max(to, after) : (rows.at(-1)?.row.pos ?? after);
      return { versions: this.#pack(rows.map(({ row }) => row)), position, isEnd: position >= now };
    });
  }

  diff(input: Parameters<ReaderMethods["diff"]>[0]): DiffPage {
    return this.#read(() => {
      const { range } = input;
      const token = input.after === undefined ? undefined : decodePageToken(input.after);
      const only = range.stream === undefined ? undefined : this.#moments.stream(range.stream);
      const resolve = (at: AsOfInput) => this.#moments.resolve(at, only) ?? this.#moments.now();
      const from = token?.positions[0] ?? resolve(input.from);
      const to = token?.positions[1] ?? resolve(input.to);
      this.#checkFloor(Math.min(from, to), only);
      const [low, high] = [Math.min(from, to), Math.max(from, to)];
      const bounds = boundsOf(range);
      const isNarrow = high - low <= narrowDiff;
      const statement = this.#queries.touched({ hasEnd: bounds.end !== undefined, isNarrow });
      const pairs: (VersionRow | undefined)[] = [];
      let last: { readonly stream: number; readonly key: Uint8Array } | undefined;
      let bytes = 0;
      for (const [stream, kind] of this.#streamKinds(only, token?.stream)) {
        let after = token?.stream === stream ? token.key : undefined;
        for (;;) {
          const start = startAfter(bounds.start, after);
          const keys = statement.all({ stream, start, end: bounds.end, low, high, limit: keysAtOnce });
          for (const { id, key } of keys) {
            after = key;
            const [before, now] = [this.#at(id, from, kind), this.#at(id, to, kind)];
            if (isSame(before, now)) continue;
            pairs.push(before?.value == null ? undefined : before, now?.value == null ? undefined : now);
            last = { stream, key };
            bytes += sizeOf(before) + sizeOf(now);
            if (pairs.length >= 2 * input.limit || bytes >= maxPageBytes) {
              return { versions: this.#pack(pairs), next: encodePageToken({ ...last, positions: [from, to] }) };
            }
          }
          if (keys.length < keysAtOnce) break;
        }
      }
      return { versions: this.#pack(pairs), next: undefined };
    });
  }

  close(): void {
    this.connection.close();
  }

  #read<T>(work: () => T): T {
    this.connection.exec("BEGIN");
    try {
      return work();
    } finally {
      this.connection.exec("COMMIT");
    }
  }

  #object(stream: StreamFacts, key: Uint8Array) {
    return this.#queries.object.get({ stream: stream.id, key: Buffer.from(key) });
  }

  #at(object: number, position: number, kind: string): VersionRow | undefined {
    return (kind === graphKind ? this.#queries.atInGraph : this.#queries.at).get({ object, pos: position });
  }

  #checkFloor(position: number | undefined, stream: StreamFacts | undefined): void {
    if (position !== undefined) this.#moments.resolve({ position }, stream);
  }

  /** Which streams to read, in order, and what kind each is. */
  #streamKinds(only: StreamFacts | undefined, from = 0): ReadonlyMap<number, string> {
    const streams = only === undefined ? this.#queries.streamIds.all() : [only];
    return new Map(streams.filter(({ id }) => only !== undefined || id >= from).map(({ id, kind }) => [id, kind]));
  }

  /**
   * Rows of one stream after the other until a page is full, by number or by bytes. `fetch` returns up to `limit` rows
   * that follow `last`, the row before in the same stream.
   */
  #collect(
    streams: readonly number[],
    limit: number,
    fetch: (stream: number, last: VersionRow | undefined, limit: number) => VersionRow[],
  ): { readonly rows: { readonly stream: number; readonly row: VersionRow }[]; readonly isEnd: boolean } {
    const rows: { stream: number; row: VersionRow }[] = [];
    let bytes = 0;
    for (const stream of streams) {
      for (let last: VersionRow | undefined; ; ) {
        const left = limit - rows.length;
        if (left <= 0 || bytes >= maxPageBytes) return { rows, isEnd: false };
        const mean = rows.length === 0 ? maxPageBytes / firstRows : Math.max(1, bytes / rows.length);
        const count = Math.min(left, Math.max(1, Math.floor((maxPageBytes - bytes) / mean)));
        const fetched = fetch(stream, last, count);
        for (const row of fetched) {
          if (bytes >= maxPageBytes) return { rows, isEnd: false };
          rows.push({ stream, row });
          bytes += sizeOf(row);
        }
        if (fetched.length < count) break;
        last = fetched.at(-1);
      }
    }
    return { rows, isEnd: true };
  }

  #token(last: { readonly stream: number; readonly row: VersionRow }, positions: (number | undefined)[]): string {
    return encodePageToken({ stream: last.stream, key: last.row.key, positions });
  }

  #pack(rows: readonly (VersionRow | undefined)[]): PackedVersions {
    if (this.#queries.hasEdges.get() === undefined) return packVersions(rows);
    const edges = rows.flatMap((row) =>
      row === undefined
        ? []
        : this.#queries.edgesOf.all({ child: row.pos }).map(({ parent }) => [row.pos, parent] as const),
    );
    return packVersions(rows, edges);
  }
}

function startAfter(start: Uint8Array, last: Uint8Array | undefined): Buffer {
  return Buffer.from(last === undefined ? start : keyAfter(last));
}

function sizeOf(row: VersionRow | undefined): number {
  return row === undefined ? 0 : row.key.length + (row.value?.length ?? 0) + 100;
}

/** Whether a key shows the same at two moments: gone at both, or the same value and attributes. */
function isSame(before: VersionRow | undefined, after: VersionRow | undefined): boolean {
  const [old, now] = [before?.value ?? undefined, after?.value ?? undefined];
  if (old === undefined || now === undefined) return old === now;
  return old.equals(now) && before?.attributes === after?.attributes;
}
