import { StoreWatchError } from "../errors.ts";
import { graphKind } from "./ddl.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import { boundsOf, keyAfter } from "./key-range.ts";
import type { AsOfInput, ReaderMethods } from "./methods.ts";
import type { Moments, StreamFacts } from "./moments.ts";
import { decodePageToken, decodePosition, encodePageToken } from "./page-token.ts";
import type { VersionRow } from "./version-packing.ts";

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

/** Keys of one stream from `start`, inclusive, to `end`, exclusive. */
export interface StreamKeys {
  readonly stream: number;
  readonly start: Buffer;
  readonly end: Buffer | undefined;
  readonly limit: number;
}

/** Which of the prepared forms of a list it is. */
export interface ListForm {
  /** In a graph the newest at a moment is the one with the greatest stamp, in other streams the last one. */
  readonly asOf: "graph" | "linear" | undefined;
  readonly includeDeleted: boolean;
}

/** The questions about versions, on any connection. */
export interface ReadRows {
  object(stream: number, key: Buffer): Later<{ readonly id: number; readonly head: number } | undefined>;
  head(position: number): Later<VersionRow | undefined>;
  at(object: number, position: number, isGraph: boolean): Later<VersionRow | undefined>;
  /** Versions of an object before a position, newest first. */
  log(object: number, before: number, limit: number): Later<readonly VersionRow[]>;
  /** Versions, of one stream or all, with positions in (after, to]. */
  changes(
    range: { readonly after: number; readonly to: number; readonly limit: number },
    stream: number | undefined,
  ): Later<readonly VersionRow[]>;
  /** Keys in key order with the version that is current, now or at `position`. */
  list(form: ListForm, keys: StreamKeys, position: number | undefined): Later<readonly VersionRow[]>;
  /** Objects with a version in (low, high], in key order; `isNarrow`: there are few positions between these. */
  touched(
    keys: StreamKeys,
    range: { readonly low: number; readonly high: number; readonly isNarrow: boolean },
  ): Later<readonly { readonly id: number; readonly key: Buffer }[]>;
  /** All streams by id. */
  allStreams(): Later<readonly { readonly id: number; readonly kind: string }[]>;
}

export interface RowPage {
  readonly rows: readonly VersionRow[];
  readonly next: string | undefined;
}

/** Reads within one snapshot of the database. */
export class VersionReads {
  readonly #rows: ReadRows;
  readonly #moments: Moments;

  constructor(rows: ReadRows, moments: Moments) {
    this.#rows = rows;
    this.#moments = moments;
  }

  /** The key's version at a moment, unless it is deleted then. */
  *get(streamName: string, key: Uint8Array, at: AsOfInput | undefined): Flow<VersionRow | undefined> {
    const stream = yield* this.#moments.stream(streamName);
    const position = yield* this.#moments.resolve(at, stream);
    const object = yield* wait(this.#rows.object(stream.id, Buffer.from(key)));
    if (object === undefined) return undefined;
    const row = yield* position === undefined
      ? wait(this.#rows.head(object.head))
      : this.#at(object.id, position, stream.kind);
    return row?.value === null ? undefined : row;
  }

  *list(input: Parameters<ReaderMethods["list"]>[0]): Flow<RowPage> {
    const { range, includeDeleted } = input;
    const token = input.after === undefined ? undefined : decodePageToken(input.after);
    const only = range.stream === undefined ? undefined : yield* this.#moments.stream(range.stream);
    const position = token === undefined ? yield* this.#moments.resolve(input.at, only) : token.positions[0];
    yield* this.#checkFloor(position, only);
    const bounds = boundsOf(range);
    const end = bounds.end && Buffer.from(bounds.end);
    const kinds = yield* this.#streamKinds(only, token?.stream);
    const { rows, isEnd } = yield* collect([...kinds.keys()], input.limit, (stream, last, limit) => {
      const asOf = position === undefined ? undefined : kinds.get(stream) === graphKind ? "graph" : "linear";
      const after = last?.key ?? (token?.stream === stream ? token.key : undefined);
      const start = startAfter(bounds.start, after);
      return this.#rows.list({ asOf, includeDeleted }, { stream, start, end, limit }, position);
    });
    const last = rows.at(-1);
    const next =
      isEnd || last === undefined
        ? undefined
        : encodePageToken({ stream: last.stream, key: last.row.key, positions: [position] });
    return { rows: rows.map(({ row }) => row), next };
  }

  *log(input: Parameters<ReaderMethods["log"]>[0]): Flow<RowPage> {
    const stream = yield* this.#moments.stream(input.stream);
    const object = (yield* wait(this.#rows.object(stream.id, Buffer.from(input.key))))?.id;
    if (object === undefined) return { rows: [], next: undefined };
    const first = input.after === undefined ? (yield* this.#moments.now()) + 1 : decodePosition(input.after);
    const { rows, isEnd } = yield* collect([stream.id], input.limit, (_, last, limit) =>
      this.#rows.log(object, last?.pos ?? first, limit),
    );
    const last = rows.at(-1);
    return {
      rows: rows.map(({ row }) => row),
      next: isEnd || last === undefined ? undefined : String(last.row.pos),
    };
  }

  *changes(
    input: Parameters<ReaderMethods["changes"]>[0],
  ): Flow<{ readonly rows: readonly VersionRow[]; readonly position: number; readonly isEnd: boolean }> {
    const stream = input.stream === undefined ? undefined : yield* this.#moments.stream(input.stream);
    const { after } = input;
    const floor = yield* this.#moments.floor(stream);
    if (after < floor) {
      throw new StoreWatchError(
        "TOO_OLD",
        `changes after position ${after} were pruned; they are complete after ${floor}`,
      );
    }
    const now = yield* this.#moments.now();
    yield* this.#moments.find({ position: after }, undefined);
    // A stream that rarely changes must not make one read search the whole log.
    const to = stream === undefined ? now : Math.min(now, after + positionsAtOnce);
    const { rows, isEnd } = yield* collect([0], input.limit, (_, last, limit) =>
      this.#rows.changes({ after: last?.pos ?? after, to, limit }, stream?.id),
    );
    const position = isEnd ? Math.max(to, after) : (rows.at(-1)?.row.pos ?? after);
    return { rows: rows.map(({ row }) => row), position, isEnd: position >= now };
  }

  /** Two rows for each key: before, after; undefined where it was not there. */
  *diff(
    input: Parameters<ReaderMethods["diff"]>[0],
  ): Flow<{ readonly rows: readonly (VersionRow | undefined)[]; readonly next: string | undefined }> {
    const { range } = input;
    const token = input.after === undefined ? undefined : decodePageToken(input.after);
    const only = range.stream === undefined ? undefined : yield* this.#moments.stream(range.stream);
    const from = token?.positions[0] ?? (yield* this.#positionAt(input.from, only));
    const to = token?.positions[1] ?? (yield* this.#positionAt(input.to, only));
    yield* this.#checkFloor(Math.min(from, to), only);
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const positions = { low, high, isNarrow: high - low <= narrowDiff };
    const bounds = boundsOf(range);
    const end = bounds.end && Buffer.from(bounds.end);
    const rows: (VersionRow | undefined)[] = [];
    let bytes = 0;
    for (const [stream, kind] of yield* this.#streamKinds(only, token?.stream)) {
      let after = token?.stream === stream ? token.key : undefined;
      for (;;) {
        const start = startAfter(bounds.start, after);
        const keys = yield* wait(this.#rows.touched({ stream, start, end, limit: keysAtOnce }, positions));
        for (const { id, key } of keys) {
          after = key;
          const before = yield* this.#at(id, from, kind);
          const now = yield* this.#at(id, to, kind);
          if (isSame(before, now)) continue;
          rows.push(before?.value == null ? undefined : before, now?.value == null ? undefined : now);
          bytes += sizeOf(before) + sizeOf(now);
          if (rows.length >= 2 * input.limit || bytes >= maxPageBytes) {
            return { rows, next: encodePageToken({ stream, key, positions: [from, to] }) };
          }
        }
        if (keys.length < keysAtOnce) break;
      }
    }
    return { rows, next: undefined };
  }

  #at(object: number, position: number, kind: string): Flow<VersionRow | undefined> {
    return wait(this.#rows.at(object, position, kind === graphKind));
  }

  *#positionAt(at: AsOfInput, stream: StreamFacts | undefined): Flow<number> {
    return (yield* this.#moments.resolve(at, stream)) ?? (yield* this.#moments.now());
  }

  *#checkFloor(position: number | undefined, stream: StreamFacts | undefined): Flow<void> {
    if (position !== undefined) yield* this.#moments.resolve({ position }, stream);
  }

  /** Which streams to read, in order, and what kind each is. */
  *#streamKinds(only: StreamFacts | undefined, from = 0): Flow<ReadonlyMap<number, string>> {
    if (only !== undefined) return new Map([[only.id, only.kind]]);
    const streams = yield* wait(this.#rows.allStreams());
    return new Map(streams.filter(({ id }) => id >= from).map(({ id, kind }) => [id, kind]));
  }
}

/**
 * Rows of one stream after the other until a page is full, by number or by bytes. `fetch` returns up to `limit` rows
 * that follow `last`, the row before in the same stream.
 */
function* collect(
  streams: readonly number[],
  limit: number,
  fetch: (stream: number, last: VersionRow | undefined, limit: number) => Later<readonly VersionRow[]>,
): Flow<{ readonly rows: { readonly stream: number; readonly row: VersionRow }[]; readonly isEnd: boolean }> {
  const rows: { stream: number; row: VersionRow }[] = [];
  let bytes = 0;
  for (const stream of streams) {
    for (let last: VersionRow | undefined; ; ) {
      const left = limit - rows.length;
      if (left <= 0 || bytes >= maxPageBytes) return { rows, isEnd: false };
      const mean = rows.length === 0 ? maxPageBytes / firstRows : Math.max(1, bytes / rows.length);
      const count = Math.min(left, Math.max(1, Math.floor((maxPageBytes - bytes) / mean)));
      const fetched = yield* wait(fetch(stream, last, count));
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
