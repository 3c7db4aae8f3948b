import fc from "fast-check";
import { expect, test } from "vitest";
import { openStore, type Store, type WatchEvent } from "../src/index.ts";
import { codeOf, storeFile, text, Watched } from "./support.ts";

interface ModelChange {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
}

/** What a store should be: a list of changes, and the floor. */
interface Model {
  log: ModelChange[];
  revision: number;
  floor: number;
}

interface Real {
  readonly file: string;
  store: Store;
  /** One watch that survives everything by its marker. */
  marker: string;
}

function stateAt(model: Model, revision: number): Map<string, ModelChange> {
  const state = new Map<string, ModelChange>();
  for (const change of model.log) {
    if (change.revision > revision) break;
    if (change.value === undefined) state.delete(change.key);
    else state.set(change.key, change);
  }
  return new Map([...state].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function apply(model: Model, changes: readonly Omit<ModelChange, "revision">[]): void {
  const state = stateAt(model, model.revision);
  const effective = changes.filter(({ key, value }) => value !== undefined || state.has(key));
  if (effective.length === 0) return;
  model.revision++;
  for (const change of effective) model.log.push({ ...change, revision: model.revision });
}

type Command = fc.AsyncCommand<Model, Real>;

const keys = fc.constantFrom("a", "b", "c", "d/1", "d/2", "d/3");
const values = fc.string({ maxLength: 5 });
const always = () => true;

function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return { check: always, run, toString: () => name };
}

const put = fc.tuple(keys, values).map(([key, value]) =>
  command(`put(${key}, ${JSON.stringify(value)})`, async (model, { store }) => {
    apply(model, [{ key, value }]);
    expect(await store.put(key, value)).toEqual({ revision: BigInt(model.revision) });
  }),
);

const remove = keys.map((key) =>
  command(`delete(${key})`, async (model, { store }) => {
    const existed = stateAt(model, model.revision).has(key);
    apply(model, [{ key, value: undefined }]);
    expect(await store.delete(key)).toEqual({ revision: BigInt(model.revision), existed });
  }),
);

const compareAndPut = fc.tuple(keys, values, fc.nat(3)).map(([key, value, off]) =>
  command(`compareAndPut(${key}, off by ${off})`, async (model, { store }) => {
    const found = stateAt(model, model.revision).get(key)?.revision ?? 0;
    const expected = found + off;
    if (off === 0) apply(model, [{ key, value }]);
    const result = await store.compareAndPut(key, value, BigInt(expected));
    expect(result).toMatchObject({ succeeded: off === 0, revision: BigInt(model.revision) });
    if (off > 0) expect(result.actual?.modRevision ?? 0n).toBe(BigInt(found));
  }),
);

const txn = fc
  .uniqueArray(fc.tuple(keys, fc.option(values, { nil: undefined })), { maxLength: 4, selector: ([key]) => key })
  .map((changes) =>
    command(`txn(${JSON.stringify(changes)})`, async (model, { store }) => {
      apply(
        model,
        changes.map(([key, value]) => ({ key, value })),
      );
      const ops = changes.map(([key, value]) =>
        value === undefined ? ({ type: "delete", key } as const) : ({ type: "put", key, value } as const),
      );
      expect(await store.txn({ ops })).toEqual({ succeeded: true, revision: BigInt(model.revision) });
    }),
  );

/** Several at once: one group commit, in call order. */
const burst = fc
  .array(fc.tuple(keys, fc.option(values, { nil: undefined })), { minLength: 2, maxLength: 8 })
  .map((writes) =>
    command(`burst(${JSON.stringify(writes)})`, async (model, { store }) => {
      const results = writes.map(([key, value]) => {
        apply(model, [{ key, value }]);
        const expected = BigInt(model.revision);
        const done = value === undefined ? store.delete(key) : store.put(key, value);
        return done.then(({ revision }) => expect(revision).toBe(expected));
      });
      await Promise.all(results);
    }),
  );

const compact = fc.nat(6).map((back) =>
  command(`compact(now - ${back})`, async (model, { store }) => {
    const revision = Math.max(0, model.revision - back);
    model.floor = Math.max(model.floor, revision);
    expect(await store.compact(BigInt(revision))).toEqual({ floor: BigInt(model.floor) });
  }),
);

const listAt = fc
  .tuple(fc.nat(8), fc.constantFrom("", "d/"), fc.integer({ min: 1, max: 4 }))
  .map(([back, prefix, limit]) =>
    command(`list(now - ${back}, ${JSON.stringify(prefix)}, ${limit})`, async (model, { store }) => {
      const revision = Math.max(0, model.revision - back);
      const options = { range: { prefix }, limit, revision: BigInt(revision) };
      if (revision < model.floor) {
        expect(await codeOf(store.list(options))).toBe("TOO_OLD");
        return;
      }
      const found: string[] = [];
      let after = "";
      for (let hasMore = true; hasMore; ) {
        const page = await store.list({ ...options, after });
        for (const kv of page.kvs) found.push(`${text(kv.key)}=${text(kv.value)}@${kv.modRevision}`);
        after = text(page.kvs.at(-1)?.key) ?? after;
        hasMore = page.hasMore;
      }
      const expected = [...stateAt(model, revision).values()].filter(({ key }) => key.startsWith(prefix));
      expect(found).toEqual(expected.map((change) => `${change.key}=${change.value}@${change.revision}`));
    }),
  );

const get = keys.map((key) =>
  command(`get(${key})`, async (model, { store }) => {
    const expected = stateAt(model, model.revision).get(key);
    const { kv, revision } = await store.get(key);
    expect(text(kv?.value)).toBe(expected?.value);
    expect(Number(kv?.modRevision ?? 0)).toBe(expected?.revision ?? 0);
    expect(revision).toBe(BigInt(model.revision));
  }),
);

/** The watch catches up from its marker and must see exactly the log after it, or be told that it cannot. */
const follow = fc.constantFrom("follow").map((name) =>
  command(name, async (model, real) => {
    const from = Number(real.marker.slice(1, real.marker.indexOf(".")));
    if (from < model.floor) {
      expect(await codeOf(real.store.watch({ resumeMarker: real.marker }).next())).toBe("TOO_OLD");
      real.marker = (await real.store.status()).marker;
      return;
    }
    const expected = model.log.filter(({ revision }) => revision > from);
    const watched = new Watched();
    const watch = real.store.watch({ resumeMarker: real.marker });
    while (Number(watched.marker.slice(1, watched.marker.indexOf(".")) || -1) < model.revision) {
      watched.take((await watch.next()).value as WatchEvent);
    }
    await watch.return?.();
    expect(watched.log).toEqual(
      expected.map(({ revision, key, value }) => `${revision} ${key}${value === undefined ? "" : `=${value}`}`),
    );
    real.marker = watched.marker;
  }),
);

const snapshot = fc.constantFrom("snapshot").map((name) =>
  command(name, async (model, { store }) => {
    const watched = new Watched();
    for await (const event of store.watch()) {
      watched.take(event);
      if (event.type === "snapshot-end") break;
    }
    const expected = [...stateAt(model, model.revision)].map(([key, { value }]) => [key, value]);
    expect([...watched.state]).toEqual(expected);
  }),
);

const size = fc.constantFrom("size").map((name) =>
  command(name, async (model, { store }) => {
    const live = [...stateAt(model, model.revision).values()];
    const bytes = live.reduce(
      (sum, { key, value }) => sum + Buffer.byteLength(key) + Buffer.byteLength(value ?? ""),
      0,
    );
    expect(await store.size()).toEqual({ keys: live.length, bytes });
  }),
);

const reopen = fc.constantFrom("reopen").map((name) =>
  command(name, async (model, real) => {
    await real.store.close();
    real.store = await openStore({ file: real.file });
    expect(real.store.revision()).toBe(BigInt(model.revision));
    expect((await real.store.status()).floor).toBe(BigInt(model.floor));
  }),
);

test("a store is a map with a log, whatever is done to it in whatever order", { timeout: 3_600_000 }, async () => {
  const isLong = process.env["TIDEMARK_LONG"] === "1";
  const commands = fc.commands(
    [
      put,
      put,
      burst,
      burst,
      remove,
      compareAndPut,
      txn,
      txn,
      compact,
      listAt,
      listAt,
      get,
      follow,
      follow,
      snapshot,
      size,
      reopen,
    ],
    {
      size: "+1",
      maxCommands: 60,
    },
  );
  await fc.assert(
    fc.asyncProperty(commands, async (walk) => {
      const file = storeFile();
      const real: Real = { file, store: await openStore({ file }), marker: "" };
      real.marker = (await real.store.status()).marker;
      try {
        await fc.asyncModelRun(() => ({ model: { log: [], revision: 0, floor: 0 }, real }), walk);
      } finally {
        await real.store.close();
      }
    }),
    { numRuns: isLong ? 200 : 6 },
  );
});
