import { expect, test } from "vitest";
import { prefixEnd } from "../src/bytes.ts";
import { RowReader, RowWriter } from "../src/database/packed-rows.ts";
import { contains, toSpan } from "../src/key-range.ts";
import type { Transaction } from "../src/store-types.ts";
import { Tail } from "../src/tail.ts";

test("the end of a prefix is the first key after all keys that have it", () => {
  expect(prefixEnd(new Uint8Array([97]))).toEqual(new Uint8Array([98]));
  expect(prefixEnd(new Uint8Array([1, 0xff, 0xff]))).toEqual(new Uint8Array([2]));
  expect(prefixEnd(new Uint8Array([0xff, 0xff]))).toBeUndefined();
  expect(prefixEnd(new Uint8Array())).toBeUndefined();
});

test("a range keeps its bytes although the caller's buffers change, and does not change them", () => {
  const prefix = Buffer.from("a");
  const span = toSpan({ prefix });
  expect(prefix.toString()).toBe("a");
  prefix.fill(0);
  expect(contains(span, Buffer.from("ab"))).toBe(true);
  expect(span.start.buffer.byteLength).toBe(1);
});

test("a span contains its start and not its end", () => {
  const span = toSpan({ start: "b", end: "d" });
  expect(["a", "b", "c", "cz", "d"].map((key) => contains(span, Buffer.from(key)))).toEqual([
    false,
    true,
    true,
    true,
    false,
  ]);
});

test("packed rows give back what was written, absent and empty bytes told apart", () => {
  const writer = new RowWriter();
  const long = new Uint8Array(5000).fill(7);
  for (let n = 0; n < 200; n++) writer.number(n * 1e9);
  writer.bytes(undefined);
  writer.bytes(new Uint8Array());
  writer.bytes(long);
  const reader = new RowReader(writer.finish());
  for (let n = 0; n < 200; n++) expect(reader.number()).toBe(n * 1e9);
  expect(reader.bytes()).toBeUndefined();
  expect(reader.bytes()).toEqual(new Uint8Array());
  expect(reader.someBytes()).toEqual(long);
  expect(reader.hasMore).toBe(false);
  expect(() => reader.number()).toThrow("past the end");
});

function transaction(revision: number, key: string, bytes = 0): Transaction {
  const changes = [{ key: Buffer.from(key), value: new Uint8Array(bytes) }];
  return { revision: BigInt(revision), marker: `${revision}`, committedAtMs: 0, changes };
}

test("a tail serves whoever is within it, in whole transactions, and nobody else", () => {
  const tail = new Tail(10_000);
  const all = toSpan();
  expect(tail.read(0, all, 1000)).toBeUndefined();
  for (let revision = 5; revision <= 104; revision++)
    tail.push(revision, transaction(revision, revision % 2 ? "odd" : "even", 100));
  const oldest = 104 - Math.floor(10_000 / (128 + 104)) + 2;
  expect(tail.read(oldest - 5, all, 1e6)).toBeUndefined();
  expect(tail.read(104, all, 1e6)).toEqual({ transactions: [], through: 104 });
  const some = tail.read(90, all, 500);
  expect(some?.transactions.map(({ revision }) => revision)).toEqual([91n, 92n, 93n]);
  expect(some?.through).toBe(93);
  const odd = tail.read(90, toSpan({ prefix: "odd" }), 1e6);
  expect(odd?.transactions.map(({ revision }) => revision)).toEqual([91n, 93n, 95n, 97n, 99n, 101n, 103n]);
  expect(odd?.through).toBe(104);
  expect(tail.read(90, toSpan({ prefix: "none" }), 1e6)).toEqual({ transactions: [], through: 104 });
});

test("a tail shows of a transaction only what the span has", () => {
  const tail = new Tail(10_000);
  const changes = ["a", "b"].map((key) => ({ key: Buffer.from(key), value: undefined }));
  tail.push(1, { revision: 1n, marker: "1", committedAtMs: 0, changes });
  const batch = tail.read(0, toSpan({ prefix: "b" }), 1000);
  expect(batch?.transactions[0]?.changes.map(({ key }) => key.toString())).toEqual(["b"]);
});
