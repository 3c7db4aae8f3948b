import { createSimulation } from "@tidemark/clock/testing";
import type { HistoryGraph } from "@tidemark/store-watch";
import { createMemoryGraph } from "@tidemark/store-watch/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isAmongMerges, planResolution } from "../src/resolution.ts";

const bytes = (text: string) => Buffer.from(text);
const text = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString());

type Values = Readonly<Record<string, string | undefined>>;

/** Graphs that have seen the same first batch, and have each written since. */
async function apart(first: Values, writes: readonly (readonly Values[])[]): Promise<HistoryGraph[]> {
  const simulation = createSimulation({ seed: 1 });
  const graphs = ["base", ...writes.map((_, index) => `site-${index}`)].map((origin) =>
    createMemoryGraph({ name: "g", origin, clock: simulation.clock }).open(),
  );
  const [base, ...sites] = graphs as [HistoryGraph, ...HistoryGraph[]];
  await write(base, first);
  for (const [index, site] of sites.entries()) {
    await exchange([base, site]);
    for (const values of writes[index] as readonly Values[]) {
      await simulation.advance(10);
      await write(site, values);
    }
  }
  await exchange(graphs);
  return graphs;
}

async function write(graph: HistoryGraph, values: Values): Promise<void> {
  await graph.write(
    Object.entries(values).map(([key, value]) => ({
      type: "version",
      key: bytes(key),
      value: value === undefined ? undefined : bytes(value),
    })),
  );
}

async function exchange(graphs: readonly HistoryGraph[]): Promise<void> {
  const messages = await Promise.all(graphs.map(async (graph) => (await graph.batches(0)).map(({ data }) => data)));
  for (const graph of graphs) await graph.apply(messages.flat());
}

async function resolve(graph: HistoryGraph): Promise<void> {
  for (;;) {
    const group = await graph.conflictGroup(0);
    if (group === undefined) return;
    await graph.write(planResolution(group, "last-writer"));
  }
}

async function shown(graph: HistoryGraph, ...keys: readonly string[]): Promise<Values> {
  const heads = await Promise.all(keys.map(async (key) => [key, await graph.heads(bytes(key))] as const));
  return Object.fromEntries(heads.map(([key, [head]]) => [key, text(head?.value)]));
}

test("the last writer wins by a link, so no version is made and the loser stays", async () => {
  const [graph] = (await apart({ x: "0" }, [[{ x: "early" }], [{ x: "late" }]])) as [HistoryGraph];
  const group = await graph.conflictGroup(0);
  const edits = planResolution(group as NonNullable<typeof group>, "last-writer");
  expect(edits).toMatchObject([{ type: "link" }]);
  await graph.write(edits);
  expect(await shown(graph, "x")).toEqual({ x: "late" });
});

test("a transaction that loses one key loses them all: nothing is left half", async () => {
  const graphs = await apart({ from: "100", to: "0", other: "0" }, [
    [{ from: "90", to: "10" }],
    [{ to: "5", other: "1" }],
  ]);
  for (const graph of graphs) {
    await resolve(graph);
    expect(await shown(graph, "from", "to", "other")).toEqual({ from: "100", to: "5", other: "1" });
  }
});

test("what came into being with a loser is gone again, and what was built on it stays", async () => {
  const graphs = await apart({ x: "0" }, [[{ x: "early", made: "1", kept: "1" }, { kept: "2" }], [{ x: "late" }]]);
  for (const graph of graphs) {
    await resolve(graph);
    expect(await shown(graph, "x", "made", "kept")).toEqual({ x: "late", made: undefined, kept: "2" });
  }
});

test("a deletion wins or loses like any other change", async () => {
  const [deleted] = (await apart({ x: "0" }, [[{ x: "1" }], [{ x: undefined }]])) as [HistoryGraph];
  await resolve(deleted);
  expect(await shown(deleted, "x")).toEqual({ x: undefined });
  const [updated] = (await apart({ x: "0" }, [[{ x: undefined }], [{ x: "1" }]])) as [HistoryGraph];
  await resolve(updated);
  expect(await shown(updated, "x")).toEqual({ x: "1" });
});

test("values of a function become merge versions, and keeping leaves every head", async () => {
  const [graph] = (await apart({ x: "0" }, [[{ x: "a" }], [{ x: "b" }]])) as [HistoryGraph];
  const group = (await graph.conflictGroup(0)) as NonNullable<Awaited<ReturnType<HistoryGraph["conflictGroup"]>>>;
  expect(planResolution(group, "keep")).toEqual([]);
  expect(isAmongMerges(group)).toBe(false);
  expect(text(group.keys[0]?.ancestor?.value)).toBe("0");
  await graph.write(planResolution(group, { values: [{ key: bytes("x"), value: bytes("a+b") }] }));
  expect(await shown(graph, "x")).toEqual({ x: "a+b" });
  expect(await graph.conflictGroup(0)).toBeUndefined();
});

test("whatever was written apart: after resolving, every transaction shows wholly or not at all", async () => {
  const keys = ["a", "b", "c", "d"];
  const transaction = fc.uniqueArray(fc.constantFrom(...keys), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(transaction, { minLength: 2, maxLength: 4 }), async (writes) => {
      const graphs = await apart(
        Object.fromEntries(keys.map((key) => [key, "0"])),
        writes.map((names, index) => [Object.fromEntries(names.map((key) => [key, `t${index}`]))]),
      );
      const states: Values[] = [];
      for (const graph of graphs) {
        await resolve(graph);
        states.push(await shown(graph, ...keys));
      }
      for (const [index, names] of writes.entries()) {
        for (const state of states) {
          const visible = names.filter((key) => state[key] === `t${index}`).length;
          expect([0, names.length], `t${index} in ${JSON.stringify(state)}`).toContain(visible);
        }
      }
      // All of them knew the same, so they decided the same.
      for (const state of states) expect(state).toEqual(states[0]);
      // Nobody is later than the last one, so it wins.
      const last = writes.at(-1) as string[];
      expect(last.every((key) => states[0]?.[key] === `t${writes.length - 1}`)).toBe(true);
    }),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 5000 : 40 },
  );
});
