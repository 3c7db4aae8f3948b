import type { StoreTransaction } from "@tidemark/store-watch";
import { expect, test } from "vitest";
import { packWrites } from "../src/pack-writes.ts";

let object = 0;
const transaction = (writes: number, bytes = 1): StoreTransaction => ({
  writes: Array.from({ length: writes }, () => ({
    object: ++object,
    want: 1,
    key: Buffer.from(`k${object}`),
    value: Buffer.alloc(bytes),
    attributes: undefined,
    expected: undefined,
    known: 0,
  })),
});

const sizes = (counts: readonly number[], max: number) =>
  [
    ...packWrites(
      counts.map((count) => transaction(count)),
      max,
    ),
  ].map((pack) => pack.map(({ writes }) => writes.length));

test("neighbors go together as long as they fit, whole and in order", () => {
  expect(sizes([1, 1, 1, 1, 1], 3)).toEqual([
    [1, 1, 1],
    [1, 1],
  ]);
  expect(sizes([2, 2, 1, 3], 3)).toEqual([[2], [2, 1], [3]]);
  expect(sizes([], 3)).toEqual([]);
});

test("what is larger than that goes alone, to be refused by the store itself", () => {
  expect(sizes([1, 5, 1], 3)).toEqual([[1], [5], [1]]);
  expect(sizes([1, 2], 0)).toEqual([[1], [2]]);
});

test("many bytes do not go together", () => {
  const packs = [...packWrites([transaction(1, 200_000), transaction(1, 200_000), transaction(1)], 128)];
  expect(packs.map((pack) => pack.length)).toEqual([1, 2]);
});
