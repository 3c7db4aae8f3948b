import { ByteReader, ByteWriter, damaged } from "./graph-codec.ts";
import type { Stamp } from "./graph-types.ts";

// A part of a snapshot as bytes, with numbers and texts as in a batch:
//
//   format 2, identity, index, is last, number of sites, these, number of batches, batches, number of roots, roots
//   batch: site, first, last, ms, counter
//   root: batch, generation, flags, key, value?, attributes?
//
// The batches of the last part after those of its roots are those at the horizon, one of each site.

const format = 2;
const flags = { value: 2, attributes: 4, merge: 8, past: 16 } as const;

/** A batch without what was in it. */
export interface SnapshotBatch {
  readonly site: string;
  readonly first: number;
  readonly last: number;
  readonly stamp: Stamp;
}

/** A version that nothing has taken the place of up to the horizon. */
export interface SnapshotRoot {
  readonly batch: SnapshotBatch;
  readonly generation: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly attributes: string | undefined;
  readonly isMerge: boolean;
  /** It was made from something. */
  readonly hasPast: boolean;
}

export interface SnapshotPart {
  /** Parts of one snapshot have the same. */
  readonly identity: number;
  readonly index: number;
  readonly roots: readonly SnapshotRoot[];
  /** Of each site the last batch of the horizon; undefined: there are more parts. */
  readonly horizon: readonly SnapshotBatch[] | undefined;
}

export function encodeSnapshot({ identity, index, roots, horizon }: SnapshotPart): Uint8Array {
  const sites = new Map<string, number>();
  const batches = new Map<SnapshotBatch, number>();
  for (const batch of [...roots.map((root) => root.batch), ...(horizon ?? [])]) {
    if (!sites.has(batch.site)) sites.set(batch.site, sites.size);
    if (!batches.has(batch)) batches.set(batch, batches.size);
  }
  const writer = new ByteWriter();
  for (const number of [format, identity, index, horizon?.length ?? 0, horizon === undefined ? 0 : 1]) {
    writer.number(number);
  }
  writer.number(sites.size);
  for (const site of sites.keys()) writer.text(site);
  writer.number(batches.size);
  for (const { site, first, last, stamp } of batches.keys()) {
    for (const number of [sites.get(site) as number, first, last, stamp.ms, stamp.counter]) writer.number(number);
  }
  writer.number(roots.length);
  for (const root of roots) {
    const { value, attributes } = root;
    writer.number(batches.get(root.batch) as number);
    writer.number(root.generation);
    writer.number(
      (value === undefined ? 0 : flags.value) |
        (attributes === undefined ? 0 : flags.attributes) |
        (root.isMerge ? flags.merge : 0) |
        (root.hasPast ? flags.past : 0),
    );
    writer.bytes(root.key);
    if (value !== undefined) writer.bytes(value);
    if (attributes !== undefined) writer.text(attributes);
  }
  for (const batch of horizon ?? []) writer.number(batches.get(batch) as number);
  return writer.finish();
}

/** Keys and values are views into `data`. @throws {StoreWatchError} `PROTOCOL` */
export function decodeSnapshot(data: Uint8Array): SnapshotPart {
  const reader = new ByteReader(data);
  const found = reader.number();
  if (found !== format) {
    throw damaged(`expected a snapshot of format ${format}, got format ${found}; update this site if others are newer`);
  }
  const [identity, index, atHorizon, isLast] = [reader.number(), reader.number(), reader.number(), reader.number()];
  const at = <T>(list: readonly T[], what: string): T => {
    const position = reader.number();
    const item = list[position];
    if (item === undefined) throw damaged(`expected a ${what} below ${list.length}, got ${position}`);
    return item;
  };
  const sites = reader.list(() => reader.name());
  const batches = reader.list((): SnapshotBatch => {
    const site = at(sites, "site");
    const [first, last] = [reader.number(), reader.number()];
    if (first < 1 || last < first) throw damaged(`expected generations from 1 on, got ${first} to ${last}`);
    return { site, first, last, stamp: { ms: reader.number(), counter: reader.number() } };
  });
  const roots = reader.list((): SnapshotRoot => {
    const batch = at(batches, "batch");
    const generation = reader.number();
    const flag = reader.number();
    const key = reader.bytes();
    const value = (flag & flags.value) === 0 ? undefined : reader.bytes();
    const attributes = (flag & flags.attributes) === 0 ? undefined : reader.text();
    if (generation < batch.first || generation > batch.last) {
      throw damaged(`expected a generation in ${batch.first} to ${batch.last}, got ${generation}`);
    }
    const [isMerge, hasPast] = [(flag & flags.merge) !== 0, (flag & flags.past) !== 0];
    return { batch, generation, key, value, attributes, isMerge, hasPast };
  });
  const horizon: SnapshotBatch[] = [];
  while (horizon.length < atHorizon) horizon.push(at(batches, "batch"));
  reader.end();
  return { identity, index, roots, horizon: isLast === 1 ? horizon : undefined };
}
