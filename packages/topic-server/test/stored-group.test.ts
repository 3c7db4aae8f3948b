import { seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { decodeRecord, type NewRecord, recordBytesAt, type StoredRecord } from "../src/storage/record.ts";
import { TailBudget, TailCache } from "../src/storage/tail-cache.ts";
import { checksumOf, encodeGroup, type Pending } from "../src/storage/write-group.ts";

const rng = seededRng(1);
const owner = { onStored: () => {}, onLost: () => {} };

function record(count: number): NewRecord {
  const wide = rng.float() < 0.2;
  return {
    count,
    skip: rng.int(0, 3),
    codec: rng.int(1, 20_000),
    firstSeqNo: wide ? 2n ** 62n + 1n : rng.int(1, 2 ** 52),
    lastSeqNo: wide ? 2n ** 63n - 1n : Number.MAX_SAFE_INTEGER,
    writtenAtMs: 1_700_000_000_000 + rng.int(0, 1e9),
    txId: rng.int(0, 5),
    producer: rng.bytes(rng.int(0, 20)),
    meta: rng.bytes(rng.int(0, 2) * 30),
  };
}

function pending(baseOffset: number): Pending {
  const sizes = [0, 1, 100, 8 * 1024, 8 * 1024 + 1, 20_000];
  const payload = rng.bytes(rng.pick(sizes));
  const what = record(rng.int(1, 10));
  return { record: what, baseOffset, payload, checksum: checksumOf(payload), owner, sinceMs: 0, after: undefined };
}

/** Bytes as text, whoever holds them. */
function plain(record: StoredRecord | undefined) {
  const text = (bytes: Uint8Array = new Uint8Array(0)) => Buffer.from(bytes).toString("hex");
  return { ...record, payload: text(record?.payload), producer: text(record?.producer), meta: text(record?.meta) };
}

test("what a group is written as is what is read of it, from the tail and from its file", () => {
  for (let round = 0; round < 300; round++) {
    const tail = new TailCache(new TailBudget(Number.POSITIVE_INFINITY));
    const all: Pending[] = [];
    const file: Uint8Array[] = [];
    let bytes = 0;
    let offset = rng.int(0, 3);
    for (let groups = rng.int(1, 4); groups > 0; groups--) {
      const group: Pending[] = [];
      for (let n = rng.int(1, 5); n > 0; n--) {
        const each = pending(offset);
        offset += each.record.count;
        group.push(each);
      }
      const { pieces, stored } = encodeGroup(group, bytes, rng.int(0, bytes + 1));
      file.push(...pieces);
      bytes += stored.bytes;
      all.push(...group);
      tail.push(stored);
    }
    const whole = Buffer.concat(file);
    expect(whole.length).toBe(bytes);
    let at = 0;
    for (const [index, { record: written, baseOffset, payload }] of all.entries()) {
      const found = tail.read(baseOffset + rng.int(0, written.count), Number.POSITIVE_INFINITY) ?? [];
      expect(found.length).toBe(all.length - index);
      const storedBytes = recordBytesAt(whole, at) as number;
      const expected = {
        ...written,
        baseOffset,
        payload,
        storedBytes,
        firstSeqNo: BigInt(written.firstSeqNo),
        lastSeqNo: BigInt(written.lastSeqNo),
      };
      expect(plain(found[0])).toEqual(plain(expected));
      expect(plain(decodeRecord(whole, at, 0))).toEqual(plain(expected));
      at += storedBytes;
    }
  }
});

test("the tail gives what fits, one record at least, and forgets the oldest groups first", () => {
  const tail = new TailCache(new TailBudget(1000));
  let position = 0;
  for (let offset = 0; offset < 20; offset += 2) {
    const [first, second] = [offset, offset + 1].map((baseOffset) => ({
      ...pending(baseOffset),
      record: { ...record(1), producer: new Uint8Array(0), meta: new Uint8Array(0) },
      payload: new Uint8Array(16),
      checksum: undefined,
    })) as [Pending, Pending];
    const { stored } = encodeGroup([first, second], position, 0);
    position += stored.bytes;
    tail.push(stored);
  }
  // A record has 84 bytes and its payload: five groups of 200 bytes are left.
  expect(tail.read(9, 1000)).toBeUndefined();
  const offsets = (offset: number, maxBytes: number) =>
    tail.read(offset, maxBytes)?.map(({ baseOffset }) => baseOffset);
  expect(offsets(10, 1)).toEqual([10]);
  expect(offsets(11, 300)).toEqual([11, 12, 13]);
  expect(offsets(18, 1000)).toEqual([18, 19]);
  tail.clear();
  expect(tail.read(19, 1)).toBeUndefined();
});
