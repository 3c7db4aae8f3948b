import { StoreWatchError } from "../errors.ts";
import type { StreamFacts } from "../history/as-of.ts";
import { boundsOf, keyAfter } from "../history/key-range.ts";
import type { AsOfInput, ReaderMethods } from "../history/methods.ts";
import { decodePageToken, decodePosition, encodePageToken } from "../history/page-token.ts";
import type { VersionRow } from "../history/version-packing.ts";
import type { PostgresClient } from "./driver.ts";
import { Moments } from "./moments.ts";
import { Queries } from "./queries.ts";

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

export interface RowPage {
  readonly rows: readonly VersionRow[];
  readonly next: string | undefined;
}

const queriesOf = new WeakMap<PostgresClient, Queries>();

/** Reads within one snapshot of the database: the counterpart of SQLite's reader. */
export class PostgresReader {
  readonly moments: Moments;
  readonly queries: Queries;

  constructor(client: PostgresClient) {
    this.moments = new Moments(client);
    const known = queriesOf.get(client) ?? new Queries(client);
    queriesOf.set(client, known);
    this.queries = known;
  }

  /** The key's version at a moment, unless it is deleted then. */
  async get(streamName: string, key: Uint8Array, at: AsOfInput | undefined): Promise<VersionRow | undefined> {
    const stream = await this.moments.stream(streamName);
    const position = await this.moments.resolve(at, stream);
    const object = await this.#object(stream, key);
    if (object === undefined) return undefined;
    const row =
      position === undefined
        ? ((await this.queries.head.execute({ pos: object.head })) as VersionRow[])[0]
        : await this.#at(object.id, position);
    return row?.value === null ? undefined : row;
  }

  async list(input: Parameters<ReaderMethods["list"]>[0]): Promise<RowPage> {
    const { range, includeDeleted } = input;
    const token = input.after === undefined ? undefined : decodePageToken(input.after);
    const only = range.stream === undefined ? undefined : await this.moments.stream(range.stream);
    const position = token === undefined ? await this.moments.resolve(input.at, only) : token.positions[0];
    await this.#checkFloor(position, only);
    const bounds = boundsOf(range);
    const query = { isAsOf: position !== undefined, hasEnd: bounds.end !== undefined, includeDeleted };
    const statement = this.queries.list(query);
    const { rows, isEnd } = await collect(
      await this.#streamIds(only, token?.stream),
      input.limit,
      async (stream, last, limit) => {
        const after = last?.key ?? (token?.stream === stream ? token.key : undefined);
        const start = startAfter(bounds.start, after);
        const values = { stream, start, end: bounds.end && Buffer.from(bounds.end), pos: position, limit };
        return (await statement.execute(values)) as VersionRow[];
      },
    );
    const last = rows.at(-1);
    const next =
      isEnd || last === undefined
        ? undefined
        : encodePageToken({ stream: last.stream, key: last.row.key, positions: [position] });
    return { rows: rows.map(({ row }) => row), next };
  }

  async log(input: Parameters<ReaderMethods["log"]>[0]): Promise<RowPage> {
    const stream = await this.moments.stream(input.stream);
    const object = (await this.#object(stream, input.key))?.id;
    if (object === undefined) return { rows: [], next: undefined };
    const first = input.after === undefined ? (await this.moments.now()) + 1 : decodePosition(input.after);
    const { rows, isEnd } = await collect([stream.id], input.limit, async (_, last, limit) => {
      return (await this.queries.log.execute({ object, before: last?.pos ?? first, limit })) as VersionRow[];
    });
    const last = rows.at(-1);
    return {
      rows: rows.map(({ row }) => row),
      next: isEnd || last === undefined ? undefined : String(last.row.pos),
    };
  }

  async changes(
    input: Parameters<ReaderMethods["changes"]>[0],
  ): Promise<{ readonly rows: readonly VersionRow[]; readonly position: number; readonly isEnd: boolean }> {
    const stream = input.stream === undefined ? undefined : await this.moments.stream(input.stream);
    const { after } = input;
    const floor = await this.moments.floor(stream);
    if (after < floor) {
      throw new StoreWatchError(
        "TOO_OLD",
        `changes after position ${after} were pruned; they are complete after ${floor}`,
      );
    }
    const now = await this.moments.now();
    await this.moments.find({ position: after }, undefined);
    // A stream that rarely changes must not make one read search the whole log.
    const to = stream === undefined ? now : Math.min(now, after + positionsAtOnce);
    const { rows, isEnd } = await collect([0], input.limit, async (_, last, limit) => {
      const range = { after: last?.pos ?? after, to, limit };
      if (stream === undefined) return (await this.queries.changes.execute(range)) as VersionRow[];
      return (await this.queries.changesOfStream.execute({ ...range, stream: stream.id })) as VersionRow[];
    });
    const position = isEnd ? Math.max(to, after) : (rows.at(-1)?.row.pos ?? after);
    return { rows: rows.map(({ row }) => row), position, isEnd: position >= now };
  }

  /** Two rows for each key: before, after; undefined where it was not there. */
  async diff(
    input: Parameters<ReaderMethods["diff"]>[0],
  ): Promise<{ readonly rows: readonly (VersionRow | undefined)[]; readonly next: string | undefined }> {
    const { range } = input;
    const token = input.after === undefined ? undefined : decodePageToken(input.after);
    const only = range.stream === undefined ? undefined : await this.moments.stream(range.stream);
    const resolve = async (at: AsOfInput) => (await this.moments.resolve(at, only)) ?? (await this.moments.now());
    const from = token?.positions[0] ?? (await resolve(input.from));
    const to = token?.positions[1] ?? (await resolve(input.to));
    await this.#checkFloor(Math.min(from, to), only);
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const bounds = boundsOf(range);
    const end = bounds.end && Buffer.from(bounds.end);
    const statement = this.queries.touched({ hasEnd: end !== undefined, isNarrow: high - low <= narrowDiff });
    const rows: (VersionRow | undefined)[] = [];
    let bytes = 0;
    for (const stream of await this.#streamIds(only, token?.stream)) {
      let after = token?.stream === stream ? token.key : undefined;
      for (;;) {
        const start = startAfter(bounds.start, after);
        const keys = await statement.execute({ stream, start, end, low, high, limit: keysAtOnce });
        for (const { id, key } of keys) {
          after = key;
          const [before, now] = [await this.#at(id, from), await this.#at(id, to)];
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

  async #object(stream: StreamFacts, key: Uint8Array) {
    return (await this.queries.object.execute({ stream: stream.id, key: Buffer.from(key) }))[0];
  }

  async #at(object: number, position: number): Promise<VersionRow | undefined> {
    return ((await this.queries.at.execute({ object, pos: position })) as VersionRow[])[0];
  }

  async #checkFloor(position: number | undefined, stream: StreamFacts | undefined): Promise<void> {
    if (position !== undefined) await this.moments.resolve({ position }, stream);
  }

  async #streamIds(only: StreamFacts | undefined, from = 0): Promise<number[]> {
    if (only !== undefined) return [only.id];
    return (await this.queries.streamIds.execute()).map(({ id }) => id).filter((id) => id >= from);
  }
}

/**
 * Rows of one stream after the other until a page is full, by number or by bytes. `fetch` returns up to `limit` rows
 * that follow `last`, the row before in the same stream.
 */
async function collect(
  streams: readonly number[],
  limit: number,
  fetch: (stream: number, last: VersionRow | undefined, limit: number) => Promise<VersionRow[]>,
): Promise<{ readonly rows: { readonly stream: number; readonly row: VersionRow }[]; readonly isEnd: boolean }> {
  const rows: { stream: number; row: VersionRow }[] = [];
  let bytes = 0;
  for (const stream of streams) {
    for (let last: VersionRow | undefined; ; ) {
      const left = limit - rows.length;
      if (left <= 0 || bytes >= maxPageBytes) return { rows, isEnd: false };
      const mean = rows.length === 0 ? maxPageBytes / firstRows : Math.max(1, bytes / rows.length);
      const count = Math.min(left, Math.max(1, Math.floor((maxPageBytes - bytes) / mean)));
      const fetched = await fetch(stream, last, count);
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
