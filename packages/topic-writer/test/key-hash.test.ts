import fc from "fast-check";
import { expect, test } from "vitest";
import type { PartitionDescription } from "@tidemark/topic";
import { murmur2, murmurHash64 } from "../src/key-hash.ts";
import { PartitionMap } from "../src/partition-map.ts";

test("keys are hashed as Kafka's clients hash them", () => {
  // From org.apache.kafka.common.utils.UtilsTest.
  const known = {
    "21": -973932308,
    foobar: -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
    abc: 479470107,
  };
  for (const [key, hash] of Object.entries(known)) expect(murmur2(Buffer.from(key)), key).toBe(hash);
});

/** MurmurHash64A as it was published, in exact integers. */
function reference(bytes: Uint8Array): bigint {
  const mask = 2n ** 64n - 1n;
  const multiplier = 0xc6a4a7935bd1e995n;
  const view = Buffer.from(bytes);
  let hash = (BigInt(bytes.length) * multiplier) & mask;
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    let word = (view.readBigUInt64LE(at) * multiplier) & mask;
    word = ((word ^ (word >> 47n)) * multiplier) & mask;
    hash = ((hash ^ word) * multiplier) & mask;
  }
  if (at < bytes.length) {
    let tail = 0n;
    for (let n = bytes.length - 1; n >= at; n--) tail = (tail << 8n) | BigInt(bytes[n] as number);
    hash = ((hash ^ tail) * multiplier) & mask;
  }
  hash = ((hash ^ (hash >> 47n)) * multiplier) & mask;
  return hash ^ (hash >> 47n);
}

test("the 64-bit hash is MurmurHash64A to the bit", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
      const { high, low } = murmurHash64(bytes);
      expect((BigInt(high) << 32n) | BigInt(low)).toBe(reference(bytes));
    }),
    { numRuns: 2_000 },
  );
});

const partition = (id: number, from?: string, to?: string, children: number[] = []): PartitionDescription => ({
  partitionId: BigInt(id),
  isActive: children.length === 0,
  children: children.map(BigInt),
  parents: [],
  keyRange: {
    from: from === undefined ? undefined : Buffer.from(from, "hex"),
    to: to === undefined ? undefined : Buffer.from(to, "hex"),
  },
  location: undefined,
  stats: undefined,
});

test("a key goes to the range that has its hash, through any number of splits and merges", () => {
  const rangeOf = (key: string, partitions: readonly PartitionDescription[]) =>
    partitions.find(({ isActive, keyRange }) => {
      const hash = Buffer.from(reference(Buffer.from(key)).toString(16).padStart(16, "0"), "hex");
      const { from, to } = keyRange as NonNullable<typeof keyRange>;
      const isAbove = from === undefined || Buffer.compare(hash, from) >= 0;
      return isActive && isAbove && (to === undefined || Buffer.compare(hash, to) < 0);
    })?.partitionId;
  const before = [partition(0, undefined, "55"), partition(1, "55", "aa"), partition(2, "aa")];
  const split = [
    before[0] as PartitionDescription,
    partition(1, "55", "aa", [3, 4]),
    before[2] as PartitionDescription,
    // Bounds may be longer or shorter than a hash.
    partition(3, "55", "7fffffffffffffffff00"),
    partition(4, "7fffffffffffffffff00", "aa"),
  ];
  const again = [
    ...split.slice(0, 3),
    partition(3, "55", "7fffffffffffffffff00", [5]),
    partition(4, "7fffffffffffffffff00", "aa", [5]),
    partition(5, "55", "aa"),
  ];
  const map = new PartitionMap(before, undefined);
  const keys = Array.from({ length: 3_000 }, (_, n) => `key ${n}`);
  expect(map.strategy).toBe("bounds");
  for (const key of keys) expect(map.partitionOf(key)).toBe(rangeOf(key, before));
  expect(map.retire(1n, split)).toBe(true);
  for (const key of keys) expect(map.partitionOf(key)).toBe(rangeOf(key, split));
  // Only the keys of what retired move; the writer of 4 has yet to find out.
  expect(map.retire(3n, again)).toBe(true);
  for (const key of keys) {
    const old = rangeOf(key, split);
    expect(map.partitionOf(key)).toBe(old === 3n ? 5n : old);
  }
  expect(map.retire(4n, again)).toBe(true);
  for (const key of keys) expect(map.partitionOf(key)).toBe(rangeOf(key, again));
});

test("without ranges keys go where Kafka's clients put them", () => {
  const partitions = [2, 0, 1].map((id) => ({ ...partition(id), keyRange: undefined }));
  const map = new PartitionMap(partitions, undefined);
  expect(map.strategy).toBe("kafka");
  expect(map.partitionOf("foobar")).toBe(BigInt((-790332482 & 0x7fff_ffff) % 3));
  expect(map.partitionOf(Buffer.from("foobar"))).toBe(map.partitionOf("foobar"));
  expect(() => new PartitionMap(partitions, "bounds")).toThrow(/no key ranges/);
});
