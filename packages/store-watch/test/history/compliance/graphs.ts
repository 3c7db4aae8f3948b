import { createSimulation } from "@tidemark/clock/testing";
import { expect } from "vitest";
import { StoreWatchError } from "../../../src/errors.ts";
import { encodeBatch } from "../../../src/history/graph-codec.ts";
import type { GraphBatch, GraphEdit, VersionId } from "../../../src/history/graph-types.ts";
import type { Backend, OpenedGraph } from "./backend.ts";

const bytes = (text: string) => Buffer.from(text);
const put = (key: string, value: string, parents?: readonly VersionId[]): GraphEdit => ({
  type: "version",
  key: bytes(key),
  value: bytes(value),
  ...(parents !== undefined && { parents }),
});
const remove = (key: string): GraphEdit => ({ type: "version", key: bytes(key), value: undefined });
const id = (origin: string, generation: number): VersionId => ({ origin, generation });

async function all({ graph }: OpenedGraph): Promise<Uint8Array[]> {
  return (await graph.batches(0)).map(({ data }) => data);
}

async function shown({ graph }: OpenedGraph, key: string): Promise<(string | undefined)[]> {
  return (await graph.heads(bytes(key))).map(({ value }) => value && Buffer.from(value).toString());
}

async function expectClean(...list: OpenedGraph[]): Promise<void> {
  for (const { findings } of list) expect(await findings()).toEqual([]);
}

/** Versions from several origins, on one database each. */
export function graphsCompliance({ test, openedGraph }: Backend): void {
  const peers = async <const Names extends readonly string[]>(...names: Names) => {
    const { clock } = createSimulation({ seed: 1 });
    const opened: OpenedGraph[] = [];
    for (const origin of names) opened.push(await openedGraph({ name: "g", origin, clock }));
    return opened as unknown as { readonly [Name in keyof Names]: OpenedGraph };
  };

  test("a batch of another origin arrives whole, with its parents, once", async () => {
    const [a, b] = await peers("a", "b");
    expect(await a.graph.write([put("x", "1"), put("y", "1")])).toEqual({ generation: 2, versions: 2, links: 0 });
    await a.graph.write([put("x", "2")]);
    expect(await b.graph.apply(await all(a))).toMatchObject({ applied: 2, duplicates: 0, versions: 3 });
    expect(await b.graph.apply(await all(a))).toMatchObject({ applied: 0, duplicates: 2, versions: 0 });
    expect(await shown(b, "x")).toEqual(["2"]);
    expect(await b.graph.heads(bytes("x"))).toEqual((await a.graph.heads(bytes("x"))).map((head) => ({ ...head })));
    expect((await b.graph.status()).vector).toEqual({ a: 3 });
    await expectClean(a, b);
  });

  test("attributes of any characters come to other sites as they were made, and go on as they came", async () => {
    const [a, b, c] = await peers("a", "b", "c");
    const texts = ["", "\0", "\u0001", "\u00010", "\0\u0001\0", '{"a":"\0"}', "é🙂\uffff"];
    for (const attributes of texts) await a.graph.write([{ ...put("x", "1"), attributes } as GraphEdit]);
    const messages = await all(a);
    expect(await b.graph.apply(messages)).toMatchObject({ applied: texts.length });
    const passedOn = await b.graph.missing({});
    expect(passedOn).toEqual(messages);
    expect(await c.graph.apply(passedOn)).toMatchObject({ applied: texts.length });
    for (const site of [a, b, c])
      expect(await site.graph.heads(bytes("x"))).toMatchObject([{ attributes: "é🙂\uffff" }]);
    await a.graph.write([{ ...put("x", "2"), attributes: "\0" } as GraphEdit]);
    await b.graph.apply(await all(a));
    expect(await b.graph.heads(bytes("x"))).toMatchObject([{ attributes: "\0" }]);
    await expectClean(a, b, c);
  });

  test("a message that names a site with 0x00 is refused by name, and nothing of it is kept", async () => {
    const [a] = await peers("a");
    const record = {
      type: "version",
      key: bytes("x"),
      value: bytes("1"),
      attributes: undefined,
      isMerge: false,
    } as const;
    const stamp = { ms: 1, counter: 0 };
    for (const message of [
      { origin: "b\0", first: 1, stamp, records: [{ ...record, parents: [] }] },
      { origin: "b", first: 1, stamp, records: [{ ...record, parents: [id("c\0", 1)] }] },
    ] satisfies GraphBatch[]) {
      await expect(a.graph.apply([encodeBatch(message)])).rejects.toMatchObject({ code: "PROTOCOL" });
    }
    expect((await a.graph.status()).vector).toEqual({});
    await expectClean(a);
  });

  test("its own batches are echoes", async () => {
    const [a] = await peers("a");
    await a.graph.write([put("x", "1")]);
    expect(await a.graph.apply(await all(a))).toMatchObject({ applied: 0, echoes: 1 });
    await expectClean(a);
  });

  test("a history that went back in time is told so", async () => {
    const [a] = await peers("a");
    const [again] = await peers("a");
    await a.graph.write([put("x", "1")]);
    await expect(again.graph.apply(await all(a))).rejects.toMatchObject({ code: "REWOUND" });
  });

  test("what comes too early waits for what it builds on, in any order", async () => {
    const [a, b, c] = await peers("a", "b", "c");
    await a.graph.write([put("x", "1")]);
    await a.graph.write([put("y", "1")]);
    await b.graph.apply(await all(a));
    await b.graph.write([put("x", "2")]);
    await a.graph.write([put("x", "3")]);
    const [first, second, third] = (await all(a)) as [Uint8Array, Uint8Array, Uint8Array];
    const [ofB] = (await all(b)) as [Uint8Array];
    expect(await c.graph.apply([third, ofB, third])).toMatchObject({ applied: 0, waiting: 2, duplicates: 1 });
    expect((await c.graph.status()).waiting).toEqual([
      { origin: "a", batches: 1, first: 3, next: 1 },
      { origin: "b", batches: 1, first: 1, next: 1 },
    ]);
    // It survives: the messages are acknowledged.
    const reopened = { ...c, graph: await c.reopen() };
    expect(await reopened.graph.apply([first])).toMatchObject({ applied: 2 });
    expect(await reopened.graph.apply([second])).toMatchObject({ applied: 2 });
    expect((await reopened.graph.status()).waiting).toEqual([]);
    // Made at the same instant: the origin decides.
    expect(await shown(reopened, "x")).toEqual(["2", "3"]);
    await expectClean(reopened);
  });

  test("two edits of one state are two heads, and the one with the greater stamp is shown everywhere", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "0")]);
    await b.graph.apply(await all(a));
    await a.graph.write([put("x", "of a")]);
    await b.graph.write([put("x", "of b")]);
    await a.graph.apply(await all(b));
    await b.graph.apply(await all(a));
    expect(await shown(a, "x")).toEqual(["of b", "of a"]);
    expect(await shown(b, "x")).toEqual(["of b", "of a"]);
    expect((await a.graph.status()).conflicts).toBe(1);
    const group = await a.graph.conflictGroup(0);
    expect(group?.keys).toHaveLength(1);
    expect(group?.keys[0]?.ancestor).toMatchObject({ id: id("a", 1) });
    await expectClean(a, b);
  });

  test("an edit that has seen both heads ends the conflict, on every site", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "of a")]);
    await b.graph.write([put("x", "of b")]);
    await a.graph.apply(await all(b));
    await a.graph.write([put("x", "both")]);
    await b.graph.apply(await all(a));
    expect(await shown(a, "x")).toEqual(["both"]);
    expect(await shown(b, "x")).toEqual(["both"]);
    expect((await b.graph.status()).conflicts).toBe(0);
    await expectClean(a, b);
  });

  test("links end a conflict, and two sites that link at once agree", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "of a")]);
    await b.graph.write([put("x", "of b")]);
    await a.graph.apply(await all(b));
    await b.graph.apply(await all(a));
    const link: GraphEdit = { type: "link", key: bytes("x"), child: id("b", 1), parent: id("a", 1) };
    await a.graph.write([link]);
    await b.graph.write([link]);
    await a.graph.apply(await all(b));
    await b.graph.apply(await all(a));
    expect(await shown(a, "x")).toEqual(["of b"]);
    expect(await shown(b, "x")).toEqual(["of b"]);
    expect((await a.graph.status()).vector).toEqual({ a: 2, b: 2 });
    await expectClean(a, b);
  });

  test("a link against the order of stamps is refused, because it could close a circle", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "of a")]);
    await b.graph.write([put("x", "of b")]);
    await a.graph.apply(await all(b));
    const link: GraphEdit = { type: "link", key: bytes("x"), child: id("a", 1), parent: id("b", 1) };
    await expect(a.graph.write([link])).rejects.toMatchObject({ code: "PROTOCOL" });
    expect(await shown(a, "x")).toHaveLength(2);
    await expectClean(a);
  });

  test("deleting against updating is a conflict, deleting nothing is nothing", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "0")]);
    expect(await a.graph.write([remove("y")])).toEqual({ generation: 1, versions: 0, links: 0 });
    await b.graph.apply(await all(a));
    await a.graph.write([remove("x")]);
    await b.graph.write([put("x", "1")]);
    await a.graph.apply(await all(b));
    expect(await shown(a, "x")).toEqual(["1", undefined]);
    await expectClean(a, b);
  });

  test("keys that a batch ties to a conflict are in its group, and what it was made from", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "0"), put("y", "0")]);
    await b.graph.apply(await all(a));
    await a.graph.write([put("x", "of a"), put("y", "of a")]);
    await b.graph.write([put("x", "of b"), put("z", "of b")]);
    await a.graph.apply(await all(b));
    const group = await a.graph.conflictGroup(0);
    const keys = group?.keys.map(({ key, heads, before }) => [
      Buffer.from(key).toString(),
      heads.length,
      before.map((state) => state && Buffer.from(state.value as Uint8Array).toString()),
    ]);
    expect(keys).toEqual([
      ["x", 2, ["0", "0"]],
      ["y", 1, ["0"]],
      ["z", 1, [undefined]],
    ]);
    expect(await a.graph.conflictGroup(group?.next as number)).toBeUndefined();
  });

  test("a message that no sound origin makes is refused as a whole", async () => {
    const [a, b] = await peers("a", "b");
    await a.graph.write([put("x", "1")]);
    const [good] = (await all(a)) as [Uint8Array];
    const batch = (change: Partial<GraphBatch>): Uint8Array =>
      encodeBatch({
        origin: "c",
        first: 1,
        stamp: { ms: 1, counter: 0 },
        records: [{ type: "version", key: bytes("x"), value: bytes("1"), parents: [], isMerge: false }],
        ...change,
      });
    const version = { type: "version", key: bytes("x"), value: bytes("1"), isMerge: false } as const;
    const defects: [string, Uint8Array][] = [
      ["is cut", good.subarray(0, -1)],
      ["has bytes after its end", Buffer.concat([good, Buffer.of(0)])],
      ["is of another format", Buffer.of(2, 0)],
      ["is empty", Buffer.of()],
      ["has a number that never ends", Buffer.alloc(64, 0x80)],
      ["has no records", batch({ records: [] })],
      ["has a stamp below its parent's", batch({ records: [{ ...version, parents: [id("a", 1)] }] })],
      ["has a parent of another key", batch({ records: [{ ...version, key: bytes("y"), parents: [id("a", 1)] }] })],
      ["has itself as its parent", batch({ records: [{ ...version, parents: [id("c", 1)] }] })],
      [
        "has two versions of a key",
        batch({
          records: [
            { ...version, parents: [] },
            { ...version, parents: [] },
          ],
        }),
      ],
      ["links nothing", batch({ records: [{ type: "link", key: bytes("y"), child: id("a", 1), parent: id("a", 1) }] })],
    ];
    for (const [name, message] of defects) {
      const error = await b.graph.apply([good, message]).catch((reason: unknown) => reason);
      expect({ name, code: StoreWatchError.is(error) ? error.code : error }).toEqual({ name, code: "PROTOCOL" });
      expect((await b.graph.status()).vector).toEqual({});
    }
    expect(await b.graph.apply([good])).toMatchObject({ applied: 1 });
    await expectClean(b);
  });

  test("fsck sees heads, stamps and generations that are wrong", async () => {
    const damage: [string, string][] = [
      ["UPDATE objects SET head = 1 WHERE id = 1", "V3"],
      ["INSERT INTO conflicts VALUES (1, 1)", "V3"],
      ["UPDATE versions SET version = 'ffff' WHERE pos = 1", "V2"],
      ["DELETE FROM generations WHERE first = 1", "V5"],
      ["UPDATE generations SET last = last + 1 WHERE first = 2", "V5"],
    ];
    for (const [sql, invariant] of damage) {
      const [a] = await peers("a");
      await a.graph.write([put("x", "1")]);
      await a.graph.write([put("x", "2")]);
      await expectClean(a);
      await a.run(sql);
      expect({ sql, found: (await a.findings()).map((finding) => finding.invariant) }).toEqual({
        sql,
        found: expect.arrayContaining([invariant]) as unknown,
      });
    }
  });

  test("a site gets from another one what it does not have, of all origins, in any pieces", async () => {
    const [a, b, c] = await peers("a", "b", "c");
    await a.graph.write([put("x", "1"), put("y", "1")]);
    await b.graph.apply(await all(a));
    await b.graph.write([put("x", "2")]);
    await a.graph.write([put("x", "3")]);
    await a.graph.apply(await all(b));
    const [winner, loser] = (await a.graph.heads(bytes("x"))).map((head) => head.id) as [VersionId, VersionId];
    await a.graph.write([{ type: "link", key: bytes("x"), child: winner, parent: loser }]);
    for (let pieces = 0; ; pieces++) {
      const messages = await a.graph.missing((await c.graph.status()).vector, { maxBytes: 1 });
      if (messages.length === 0) {
        expect(pieces).toBe(4);
        break;
      }
      expect(await c.graph.apply(messages)).toMatchObject({ applied: 1, waiting: 0 });
    }
    expect((await c.graph.status()).vector).toEqual((await a.graph.status()).vector);
    expect(await shown(c, "x")).toEqual(await shown(a, "x"));
    await expectClean(a, b, c);
  });
}
