import { StoreWatchError } from "../errors.ts";
import type { GraphBatch, GraphRecord, VersionId } from "./graph-types.ts";

// A batch as bytes, the same on every site. Numbers are LEB128, bytes and texts have their length before them:
//
//   format 1, origin, first, ms, counter, number of other origins, these, number of records, records
//   record: flags, then of an announcement: number of ids, ids; otherwise key, and of a version: value?, attributes?,
//   number of parents, parents; of a link: child, parent
//   id: 0 for the batch's own origin or 1 + the index of another one, generation

const format = 1;
const flags = { link: 1, value: 2, attributes: 4, merge: 8, announcement: 16 } as const;
/** Numbers stay exact. */
const maxNumber = Number.MAX_SAFE_INTEGER;

export function encodeBatch(batch: GraphBatch): Uint8Array<ArrayBuffer> {
  const others: string[] = [];
  const indexOf = (origin: string) => {
    if (origin === batch.origin) return 0;
    const known = others.indexOf(origin);
    return known >= 0 ? known + 1 : others.push(origin);
  };
  const body = new ByteWriter();
  const id = ({ origin, generation }: VersionId) => {
    body.number(indexOf(origin));
    body.number(generation);
  };
  body.number(batch.records.length);
  for (const record of batch.records) {
    if (record.type === "announcement") {
      const known = Object.entries(record.vector);
      body.number(flags.announcement);
      body.number(known.length);
      for (const [origin, generation] of known) id({ origin, generation });
      continue;
    }
    if (record.type === "link") {
      body.number(flags.link);
      body.bytes(record.key);
      id(record.child);
      id(record.parent);
      continue;
    }
    const { value, attributes } = record;
    body.number(
      (value === undefined ? 0 : flags.value) |
        (attributes === undefined ? 0 : flags.attributes) |
        (record.isMerge ? flags.merge : 0),
    );
    body.bytes(record.key);
    if (value !== undefined) body.bytes(value);
    if (attributes !== undefined) body.text(attributes);
    body.number(record.parents.length);
    for (const parent of record.parents) id(parent);
  }
  const head = new ByteWriter();
  head.number(format);
  head.text(batch.origin);
  head.number(batch.first);
  head.number(batch.stamp.ms);
  head.number(batch.stamp.counter);
  head.number(others.length);
  for (const origin of others) head.text(origin);
  const [start, rest] = [head.finish(), body.finish()];
  const whole = new Uint8Array(start.length + rest.length);
  whole.set(start);
  whole.set(rest, start.length);
  return whole;
}

/** Keys and values are views into `data`. @throws {StoreWatchError} `PROTOCOL` */
export function decodeBatch(data: Uint8Array): GraphBatch {
  const reader = new ByteReader(data);
  const found = reader.number();
  if (found !== format) {
    throw damaged(`expected a batch of format ${format}, got format ${found}; update this site if others are newer`);
  }
  const origin = reader.name();
  const first = reader.number();
  const stamp = { ms: reader.number(), counter: reader.number() };
  const others = reader.list(() => reader.name());
  const id = (): VersionId => {
    const index = reader.number();
    const generation = reader.number();
    const named = index === 0 ? origin : others[index - 1];
    if (named === undefined) throw damaged(`expected an origin below ${others.length + 1}, got ${index}`);
    return { origin: named, generation };
  };
  const records = reader.list((): GraphRecord => {
    const flag = reader.number();
    if (flag === flags.announcement) {
      const known = reader.list(id).map(({ origin: site, generation }) => [site, generation]);
      return { type: "announcement", vector: Object.fromEntries(known) as Record<string, number> };
    }
    const key = reader.bytes();
    if (flag === flags.link) return { type: "link", key, child: id(), parent: id() };
    const value = (flag & flags.value) === 0 ? undefined : reader.bytes();
    const attributes = (flag & flags.attributes) === 0 ? undefined : reader.text();
    return { type: "version", key, value, attributes, parents: reader.list(id), isMerge: (flag & flags.merge) !== 0 };
  });
  reader.end();
  if (origin === "" || first < 1 || records.length === 0) {
    throw damaged(`expected an origin, a generation above 0 and records, got ${records.length} records after ${first}`);
  }
  return { origin, first, stamp, records };
}

export function damaged(detail: string): StoreWatchError {
  return new StoreWatchError("PROTOCOL", `a message of another site cannot be read: ${detail}`);
}

export class ByteWriter {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new StoreWatchError("INTERNAL", `expected a number in [0, 2^53), got ${value}`);
    }
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  bytes(value: Uint8Array): void {
    this.number(value.length);
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  text(value: string): void {
    this.bytes(Buffer.from(value));
  }

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}

export class ByteReader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Uint8Array) {
    this.#data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }

  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#data[this.#at++];
      if (byte === undefined) throw damaged(`it ends within a number, after ${this.#data.length} bytes`);
      value += (byte & 0x7f) * scale;
      // Also where it is no number any more.
      if (!(value <= maxNumber)) throw damaged(`a number before byte ${this.#at} is above 2^53`);
      if (byte < 0x80) return value;
    }
  }

  bytes(): Buffer {
    const length = this.number();
    const end = this.#at + length;
    if (end > this.#data.length) throw damaged(`${length} bytes from ${this.#at} on, it has ${this.#data.length}`);
    const value = this.#data.subarray(this.#at, end);
    this.#at = end;
    return value;
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  /** Of a site. No database keeps names with 0x00 alike, and no site has one. */
  name(): string {
    const text = this.text();
    if (text.includes("\0")) throw damaged(`expected the name of a site, got ${JSON.stringify(text)}`);
    return text;
  }

  /** An item takes a byte at least, so a damaged count ends with the data. */
  list<T>(item: () => T): T[] {
    const count = this.number();
    const items: T[] = [];
    for (let index = 0; index < count; index++) items.push(item());
    return items;
  }

  end(): void {
    if (this.#at !== this.#data.length) throw damaged(`${this.#data.length - this.#at} bytes after its end`);
  }
}
