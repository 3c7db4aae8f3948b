import { createSimulation } from "@tidemark/clock/testing";
import { expect } from "vitest";
import { encodeBatch } from "../../../src/history/graph-codec.ts";
import { encodeSnapshot } from "../../../src/history/graph-snapshot-codec.ts";
import type { GraphEdit, GraphPruneOptions, VersionId } from "../../../src/history/graph-types.ts";
import type { Backend, OpenedGraph } from "./backend.ts";

const bytes = (text: string) => Buffer.from(text);
const put = (key: string, value: string, parents?: readonly VersionId[]): GraphEdit => ({
  type: "version",
  key: bytes(key),
  value: bytes(value),
  ...(parents !== undefined && { parents }),
});
const all: GraphPruneOptions = { beforeMs: 1e14, holdSinceMs: 0, published: 1e9 };

async function send(from: OpenedGraph, to: OpenedGraph): Promise<void> {
  await to.graph.apply(await from.graph.missing((await to.graph.status()).vector));
}

async function prune({ graph }: OpenedGraph, options: Partial<GraphPruneOptions> = {}): Promise<number> {
  for (let removed = 0; ; ) {
    const pruned = await graph.prune({ ...all, ...options });
    removed += pruned.removed;
    if (pruned.isEnd) return removed;
  }
}

async function bootstrap(from: OpenedGraph, to: OpenedGraph): Promise<number> {
  for (let after: string | undefined; ; ) {
    const { data, next } = await from.graph.snapshot(after);
    const { isComplete, versions } = await to.graph.restore(data, { published: 1e9 });
    if (isComplete) return versions;
    after = next;
  }
}

const shown = async ({ graph }: OpenedGraph, key: string) =>
  (await graph.heads(bytes(key))).map(({ value }) => value && Buffer.from(value).toString());

async function expectSound(...list: OpenedGraph[]): Promise<void> {
  for (const { findings } of list) expect(await findings()).toEqual([]);
}

/** What graphs keep, and how a site begins that lacks what they do not. */
export function retentionCompliance({ test, openedGraph }: Backend): void {
  const sites = async <const Names extends readonly string[]>(...names: Names) => {
    const { clock } = createSimulation({ seed: 1 });
    const opened: OpenedGraph[] = [];
    for (const origin of names) opened.push(await openedGraph({ name: "g", origin, clock }));
    return opened as unknown as { readonly [Name in keyof Names]: OpenedGraph };
  };

  test("a site that is alone keeps what is shown, and what the channel does not have", async () => {
    const [a] = await sites("a");
    for (const value of ["1", "2", "3", "4"]) await a.graph.write([put("x", value)]);
    await a.graph.write([put("y", "5")]);
    expect(await prune(a, { published: 0 })).toBe(0);
    expect(await prune(a, { published: 2 })).toBe(1);
    expect(await a.values()).toEqual(["2", "3", "4", "5"]);
    expect(await prune(a)).toBe(2);
    expect(await a.values()).toEqual(["4", "5"]);
    expect((await a.graph.status()).horizon).toEqual({ a: 5 });
    await expectSound(a);
  });

  test("what another site has not announced is kept for it, and it is told who that is", async () => {
    const [a, b, c] = await sites("a", "b", "c");
    await c.graph.write([put("y", "3")]);
    await send(c, a);
    await a.graph.write([put("x", "1")]);
    await a.graph.write([put("x", "4")]);
    await send(a, b);
    await b.graph.announce();
    await send(b, a);
    expect((await a.graph.prune(all)).heldBy).toEqual(["c"]);
    expect(await prune(a)).toBe(0);
    await send(a, c);
    await c.graph.announce();
    await send(c, a);
    expect(await prune(a)).toBe(1);
    expect(await a.values()).toEqual(["3", "4"]);
    await expectSound(a, b, c);
  });

  test("announcements are made about news, and not about each other", async () => {
    const [a, b] = await sites("a", "b");
    expect(await a.graph.announce()).toEqual({ generation: 0, versions: 0, links: 0 });
    await a.graph.write([put("x", "1")]);
    expect(await a.graph.announce()).toEqual({ generation: 2, versions: 0, links: 0 });
    expect(await a.graph.announce()).toEqual({ generation: 2, versions: 0, links: 0 });
    await send(a, b);
    expect((await b.graph.announce()).generation).toBe(1);
    await send(b, a);
    expect((await a.graph.announce()).generation).toBe(2);
    await send(a, b);
    expect((await b.graph.announce()).generation).toBe(1);
    await expectSound(a, b);
  });

  test("a site that lacks what was pruned is told so, takes a snapshot, and keeps what it made itself", async () => {
    const [a, late] = await sites("a", "late");
    await a.graph.write([put("x", "1"), put("y", "1")]);
    await send(a, late);
    await late.graph.write([put("x", "late")]);
    await late.graph.write([put("mine", "late")]);
    await a.graph.write([put("x", "2")]);
    await a.graph.write([put("x", "3")]);
    expect(await prune(a)).toBe(2);
    const { vector } = await late.graph.status();
    await expect(a.graph.missing(vector)).rejects.toMatchObject({
      code: "TOO_OLD",
      message: expect.stringMatching(/up to 4 were pruned here.* up to 2: .*snapshot/) as unknown,
    });
    expect(await bootstrap(a, late)).toBe(1);
    expect(await a.graph.missing((await late.graph.status()).vector)).toEqual([]);
    // Both were made without knowledge of each other.
    expect(new Set(await shown(late, "x"))).toEqual(new Set(["3", "late"]));
    await send(late, a);
    expect(await shown(a, "x")).toEqual(await shown(late, "x"));
    expect(await shown(a, "mine")).toEqual(["late"]);
    expect((await a.graph.conflictGroup(0))?.keys[0]).toMatchObject({ isPastPruned: true, ancestor: undefined });
    await expectSound(a, late);
    await a.graph.write([put("x", "agreed")]);
    await send(a, late);
    expect(await shown(late, "x")).toEqual(["agreed"]);
    expect(await prune(late, { holdSinceMs: 1e14 })).toBeGreaterThan(1);
    await expectSound(a, late);
  });

  test("a new site takes a snapshot in parts, then the rest of the log, and passes both on", async () => {
    const [a, b, c] = await sites("a", "b", "c");
    const large = "v".repeat(300_000);
    for (let index = 0; index < 9; index++) await a.graph.write([put(`k${index}`, "old"), put("all", String(index))]);
    for (let index = 0; index < 9; index++) await a.graph.write([put(`k${index}`, `${large}${index}`)]);
    await a.graph.write([{ type: "version", key: bytes("k8"), value: undefined }]);
    await prune(a);
    await a.graph.write([put("all", "last")]);
    const first = await a.graph.snapshot();
    expect(first.next).toBeDefined();
    expect(await b.graph.restore(first.data, { published: 0 })).toEqual({ isComplete: false, versions: 0 });
    // It begins again, as after a crash.
    await bootstrap(a, b);
    await send(a, b);
    await bootstrap(b, c);
    await send(b, c);
    for (const site of [b, c]) {
      expect(await site.graph.status()).toMatchObject({
        vector: { a: (await a.graph.status()).vector["a"] },
        conflicts: 0,
      });
      for (const key of ["k0", "k7", "k8", "all"]) expect(await shown(site, key)).toEqual(await shown(a, key));
    }
    await expectSound(a, b, c);
  });

  test("a part that is not the next one is refused, and so is a snapshot from a later time of this very history", async () => {
    const [a, b] = await sites("a", "b");
    const batch = { site: "b", first: 1, last: 1, stamp: { ms: 1, counter: 0 } };
    await expect(
      b.graph.restore(encodeSnapshot({ identity: 1, index: 2, roots: [], horizon: [] }), { published: 0 }),
    ).rejects.toMatchObject({
      code: "PROTOCOL",
      message: expect.stringMatching(/expected part 0/) as unknown,
    });
    const own = encodeSnapshot({ identity: 1, index: 0, roots: [], horizon: [batch] });
    await expect(b.graph.restore(own, { published: 0 })).rejects.toMatchObject({ code: "REWOUND" });
    await b.graph.write([put("x", "1")]);
    await expect(b.graph.restore(own, { published: 0 })).rejects.toMatchObject({
      code: "NOT_REACHED",
      retryable: true,
      message: expect.stringMatching(/up to 1, of which the channel has those up to 0/) as unknown,
    });
    await expect(a.graph.restore(Buffer.from([1]), { published: 0 })).rejects.toMatchObject({ code: "PROTOCOL" });
    await expectSound(a, b);
  });

  test("what an open conflict would be decided by is not pruned", async () => {
    const [a, b] = await sites("a", "b");
    await a.graph.write([put("x", "base"), put("tied", "before")]);
    await send(a, b);
    await a.graph.write([put("x", "a"), put("tied", "with a")]);
    await b.graph.write([put("x", "b")]);
    await send(b, a);
    await prune(a, { holdSinceMs: 1e14 });
    const group = await a.graph.conflictGroup(0);
    expect(group?.keys.map(({ ancestor, isPastPruned }) => [ancestor?.value?.toString(), isPastPruned])).toEqual([
      ["base", false],
      [undefined, false],
    ]);
    expect(group?.keys[1]?.before[0]?.value?.toString()).toBe("before");
    await a.graph.write([put("x", "agreed")]);
    expect(await prune(a, { holdSinceMs: 1e14 })).toBe(4);
    await expectSound(a);
  });

  test("an edit of something that was pruned is in conflict with what is shown, also when it is passed on", async () => {
    const [a, b, c] = await sites("a", "b", "c");
    for (const value of ["1", "2", "3"]) await a.graph.write([put("x", value)]);
    await send(a, b);
    await send(a, c);
    await prune(a);
    await prune(c);
    // Its store did not show the latest yet.
    await b.graph.write([put("x", "late", [{ origin: "a", generation: 1 }])]);
    await send(b, a);
    await send(a, c);
    for (const site of [a, c]) {
      expect(new Set(await shown(site, "x"))).toEqual(new Set(["3", "late"]));
      expect((await site.graph.conflictGroup(0))?.keys[0]?.isPastPruned).toBe(true);
    }
    await expectSound(a, b, c);
  });

  test("a link to something that was pruned takes effect as far as it is known", async () => {
    const [a, b] = await sites("a", "b");
    await a.graph.write([put("x", "1")]);
    await a.graph.write([put("x", "2")]);
    await send(a, b);
    await prune(a);
    const id = (generation: number) => ({ origin: "a", generation });
    const data = encodeBatch({
      origin: "b",
      first: 1,
      stamp: { ms: 1e14, counter: 0 },
      records: [{ type: "link", key: bytes("x"), child: id(2), parent: id(1) }],
    });
    expect(await a.graph.apply([data])).toMatchObject({ applied: 1, links: 1 });
    expect(await shown(a, "x")).toEqual(["2"]);
    expect(await a.graph.missing({ a: 2 })).toHaveLength(1);
    await expectSound(a);
  });

  test("what a link replaces after a snapshot brought it goes, with the floor above it", async () => {
    const [a, b, late] = await sites("a", "b", "late");
    await a.graph.write([put("x", "1")]);
    await b.graph.write([put("x", "2")]);
    await send(b, a);
    await prune(a, { holdSinceMs: 1e14 });
    await bootstrap(a, late);
    const [child, parent] = (await a.graph.heads(bytes("x"))).map((head) => head.id) as [VersionId, VersionId];
    await a.graph.write([{ type: "link", key: bytes("x"), child, parent }]);
    await send(a, late);
    await late.graph.write([put("y", "3")]);
    expect(await prune(late, { holdSinceMs: 1e14, published: 0 })).toBe(1);
    expect(await shown(late, "x")).toEqual(await shown(a, "x"));
    await expectSound(a, late);
  });

  test("a site that has both versions of a link, and learns of the link by a snapshot alone, shows what took the place", async () => {
    const [a, b] = await sites("a", "b");
    await a.graph.write([put("x", "1")]);
    await b.graph.write([put("x", "2")]);
    await send(a, b);
    await send(b, a);
    const [child, parent] = (await a.graph.heads(bytes("x"))).map((head) => head.id) as [VersionId, VersionId];
    await a.graph.write([{ type: "link", key: bytes("x"), child, parent }]);
    await prune(a, { holdSinceMs: 1e14 });
    expect(await bootstrap(a, b)).toBe(0);
    expect(await shown(a, "x")).toHaveLength(1);
    expect(await shown(b, "x")).toEqual(await shown(a, "x"));
    expect(await b.graph.conflictGroup(0)).toBeUndefined();
    await expectSound(a, b);
  });

  test("pruning is at the floor before it removes anything, and goes on after a crash in between", async () => {
    const [a] = await sites("a");
    for (let index = 0; index < 50; index++) await a.graph.write([put("x", String(index))]);
    await a.graph.prune(all);
    expect((await a.graph.status()).horizon).toEqual({ a: 50 });
    expect(await a.values()).toHaveLength(50);
    await expectSound(a);
    const again = { ...a, graph: await a.reopen() };
    await expect(again.graph.missing({ a: 49 })).rejects.toMatchObject({ code: "TOO_OLD" });
    expect(await prune(again)).toBe(49);
    await again.graph.write([put("x", "new")]);
    expect(await again.values()).toEqual(["49", "new"]);
    await expectSound(again);
  });

  test("fsck sees relics that are shown, and horizons that nothing is known of", async () => {
    for (const [sql, invariant] of [
      ["INSERT INTO relics VALUES ((SELECT max(pos) FROM versions), 1)", "V9"],
      ["UPDATE horizons SET generation = generation - 1", "V9"],
      ["DELETE FROM relics", "V3"],
    ] as const) {
      const [a, b] = await sites("a", "b");
      await a.graph.write([put("x", "1")]);
      await send(a, b);
      for (const value of ["2", "3"]) await a.graph.write([put("x", value)]);
      await prune(a);
      await bootstrap(a, b);
      await expectSound(a, b);
      await b.run(sql);
      expect({ sql, found: (await b.findings()).map((finding) => finding.invariant) }).toEqual({
        sql,
        found: expect.arrayContaining([invariant]) as unknown,
      });
    }
  });
}
