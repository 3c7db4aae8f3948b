import type { Position, VersionRecord, VersionVia } from "../history-types.ts";

// Pages of versions cross to the caller's thread as one memory area, one array of numbers and one of texts: a clone of
// thousands of small objects would be the longest thing that ever happens on its event loop.

const numbersPerVersion = 11;
const textsPerVersion = 3;
const vias: readonly VersionVia[] = ["stream", "snapshot", "sweep", "retry", "peer", "merge"];

export interface PackedVersions {
  readonly count: number;
  readonly numbers: Float64Array<ArrayBuffer>;
  readonly bytes: ArrayBuffer;
  readonly texts: readonly (string | undefined)[];
  /** Streams and epochs, which repeat. */
  readonly names: readonly string[];
  /** Second and further parents: [position, parent], empty for linear streams. */
  readonly edges: readonly (readonly [number, number])[];
}

/** A version as the reader selects it. */
export interface VersionRow {
  readonly pos: number;
  readonly stream: string;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string;
  readonly epoch: string;
  readonly parent: number | null;
  readonly level: number;
  readonly via: number;
  readonly attributes: string | null;
  readonly batch: number;
  readonly cursor: string;
  readonly committedAt: number;
  readonly sourceTime: number | null;
}

export function packVersions(
  rows: readonly (VersionRow | undefined)[],
  edges: readonly (readonly [number, number])[] = [],
): PackedVersions {
  let size = 0;
  for (const row of rows) if (row !== undefined) size += row.key.length + (row.value?.length ?? 0);
  const bytes = new ArrayBuffer(size);
  const target = Buffer.from(bytes);
  const numbers = new Float64Array(rows.length * numbersPerVersion);
  const texts: (string | undefined)[] = [];
  const names: string[] = [];
  const nameIds = new Map<string, number>();
  const nameId = (name: string) => {
    let id = nameIds.get(name);
    if (id === undefined) {
      id = names.push(name) - 1;
      nameIds.set(name, id);
    }
    return id;
  };
  let at = 0;
  for (const [index, row] of rows.entries()) {
    if (row === undefined) {
      texts.push(undefined, undefined, undefined);
      continue;
    }
    const to = index * numbersPerVersion;
    numbers[to] = row.pos;
    numbers[to + 1] = nameId(row.stream);
    numbers[to + 2] = nameId(row.epoch);
    numbers[to + 3] = row.parent ?? 0;
    numbers[to + 4] = row.level;
    numbers[to + 5] = row.via;
    numbers[to + 6] = row.batch;
    numbers[to + 7] = row.committedAt;
    numbers[to + 8] = row.sourceTime ?? Number.NaN;
    numbers[to + 9] = row.key.length;
    numbers[to + 10] = row.value?.length ?? -1;
    target.set(row.key, at);
    at += row.key.length;
    if (row.value !== null) {
      target.set(row.value, at);
      at += row.value.length;
    }
    texts.push(row.version, row.cursor, row.attributes ?? undefined);
  }
  return { count: rows.length, numbers, bytes, texts, names, edges };
}

/** The records again; keys and values are views into the page's memory. Undefined where a row was. */
export function unpackVersions(packed: PackedVersions): (VersionRecord | undefined)[] {
  const { count, numbers, bytes, texts, names } = packed;
  const further = new Map<number, Position[]>();
  for (const [child, parent] of packed.edges) {
    const parents = further.get(child) ?? [];
    parents.push(BigInt(parent));
    further.set(child, parents);
  }
  const records: (VersionRecord | undefined)[] = [];
  let at = 0;
  const take = (length: number) => {
    const view = new Uint8Array(bytes, at, length);
    at += length;
    return view;
  };
  for (let index = 0; index < count; index++) {
    const number = (field: number) => numbers[index * numbersPerVersion + field] as number;
    const text = (field: number) => texts[index * textsPerVersion + field];
    const position = number(0);
    if (position === 0) {
      records.push(undefined);
      continue;
    }
    const key = take(number(9));
    const value = number(10) < 0 ? undefined : take(number(10));
    const sourceTime = number(8);
    const parents = number(3) === 0 ? [] : [BigInt(number(3))];
    records.push({
      position: BigInt(position),
      stream: names[number(1)] as string,
      key,
      kind: value === undefined ? "delete" : "put",
      value,
      version: text(0) as string,
      epoch: names[number(2)] as string,
      parents: further.size === 0 ? parents : [...parents, ...(further.get(position) ?? [])],
      level: number(4),
      via: vias[number(5) - 1] as VersionVia,
      attributes: text(2),
      batch: BigInt(number(6)),
      cursor: text(1) as string,
      committedAtMs: number(7),
      sourceTimeMs: Number.isNaN(sourceTime) ? undefined : sourceTime,
    });
  }
  return records;
}

/** What to move with the page instead of copying it. */
export function transferOf(packed: PackedVersions): ArrayBuffer[] {
  return [packed.bytes, packed.numbers.buffer];
}
