// What every pipeline from a source to a slow store promises: invariants H1-H14, each under simulated time.

import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { expect } from "vitest";
import { type Frame, type Op, type Pipeline, type PipelineFactory, SimSource, SimStore, type World } from "./world.ts";

export interface SuiteCase {
  readonly name: string;
  run(): Promise<void>;
}

interface Scene extends World {
  readonly simulation: Simulation;
  readonly pipeline: Pipeline;
}

const hourMs = 3_600_000;

type SceneOptions = Partial<Pick<World, "isCoalescing" | "maxItems" | "flushIntervalMs" | "decode">> & {
  readonly seed?: number;
  readonly maxUnread?: number;
};

export function handoffSuite(factory: PipelineFactory): SuiteCase[] {
  const cases: SuiteCase[] = [];

  function sceneCase(name: string, options: SceneOptions, body: (scene: Scene) => Promise<void>): void {
    cases.push({
      name,
      async run() {
        const simulation = createSimulation({ seed: options.seed ?? 1, limitMs: 24 * hourMs });
        const { clock, rng } = simulation;
        const world: World = {
          clock,
          rng,
          source: new SimSource(clock, options.maxUnread ?? 8),
          store: new SimStore(clock),
          isCoalescing: options.isCoalescing ?? false,
          maxItems: options.maxItems ?? 1_000_000,
          flushIntervalMs: options.flushIntervalMs ?? 0,
          buffers: { isBroken: false },
          decode: options.decode ?? (() => {}),
        };
        const pipeline = factory(world);
        await body({ ...world, simulation, pipeline });
        expect(world.store.complaints).toEqual([]);
        expect(world.source.server.maxOpen).toBeLessThanOrEqual(1);
      },
    });
  }

  /** Content, order and count: each operation of the source exactly once, in its order. */
  function expectAll({ source, store }: Pick<World, "source" | "store">): void {
    expect(store.applied.map(text)).toEqual(source.ops.map(text));
    expectState({ source, store });
  }

  /** Where snapshots stand in for history: the end of it counts. */
  function expectState({ source, store }: Pick<World, "source" | "store">): void {
    expect(store.state).toEqual(source.state);
    expect(store.cursor).toBe(source.rev);
  }

  sceneCase("H1: taking changes does not wait for a commit", {}, async ({ simulation, source, store, pipeline }) => {
    pipeline.start();
    source.put("first", "1");
    await simulation.advance(10);
    store.durationMs = () => hourMs;
    for (let n = 0; n < 3_000; n++) {
      source.put(`key ${n}`, `${n}`);
      await simulation.advance(1_000);
      // All that the source sent is taken, whatever the committer does.
      expect(source.server.peers[0]?.unread, `after ${n} s`).toBe(0);
    }
    store.durationMs = () => 0;
    await simulation.advance(2 * hourMs);
    expectAll({ source, store });
    expect(pipeline.state).toBe("live");
  });

  sceneCase(
    "H2: a commit stuck for an hour in front of a full queue loses nothing and reorders nothing",
    { maxItems: 100 },
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      store.durationMs = () => hourMs;
      for (let n = 0; n < 1_000; n++) {
        source.put(`key ${n % 37}`, `${n}`);
        await simulation.advance(n % 10);
      }
      await simulation.advance(hourMs / 2);
      // The queue is full and the source is held back: that, and not forgetting, is what bounds the memory (H11).
      expect(source.server.peers[0]?.unread).toBeGreaterThan(0);
      store.durationMs = () => 5;
      await simulation.advance(3 * hourMs);
      expectAll({ source, store });
    },
  );

  sceneCase(
    "H3: what was handed over is left alone while it is committed",
    {},
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      store.durationMs = () => 100;
      for (let n = 0; n < 300; n++) {
        source.put(`key ${n}`, `${n}`);
        await simulation.advance(7);
      }
      await simulation.advance(1_000);
      expectAll({ source, store });
    },
  );

  sceneCase(
    "H4: two commits never run at once, and none waits for a tick",
    { flushIntervalMs: 500 },
    async ({ simulation, source, store, rng, pipeline }) => {
      source.isResumable = false;
      pipeline.start();
      store.durationMs = () => rng.int(0, 3_000);
      for (let n = 0; n < 500; n++) {
        source.put(`key ${n % 11}`, `${n}`);
        // A new snapshot, as after a reconnect, asks for a commit of its own.
        if (n % 50 === 25) source.drop();
        await simulation.advance(rng.int(0, 200));
      }
      await simulation.advance(20_000);
      expectState({ source, store });
    },
  );

  sceneCase(
    "H5: batches are committed in the order in which they were handed over",
    {},
    async ({ simulation, source, store, pipeline }) => {
      source.isResumable = false;
      pipeline.start();
      await simulation.advance(10);
      // Each commit is quicker than the one before, so that any two that overlap change places.
      let durationMs = 20_000;
      store.durationMs = () => (durationMs = Math.max(0, durationMs - 700));
      for (let n = 0; n < 200; n++) {
        source.put("counter", `${n}`);
        if (n % 20 === 0) source.drop();
        await simulation.advance(300);
      }
      await simulation.advance(hourMs);
      expectState({ source, store });
      expect(store.state.get("counter")).toBe("199");
    },
  );

  sceneCase(
    "H5: changes of one key keep their order however long each takes to take",
    {},
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      await simulation.advance(10);
      for (let n = 0; n < 500; n++) source.put(`key ${n % 3}`, `${n}`);
      await simulation.advance(60_000);
      expectAll({ source, store });
    },
  );

  for (const isCoalescing of [false, true]) {
    sceneCase(
      `H5: an update and then a delete in one batch is a delete (${isCoalescing ? "state" : "history"})`,
      { isCoalescing },
      async ({ simulation, source, store, pipeline }) => {
        source.put("keeps", "0");
        source.put("dies", "0");
        pipeline.start();
        await simulation.advance(100);
        // These meet in one batch, behind a commit that takes its time.
        store.durationMs = () => 5_000;
        source.put("keeps", "1");
        await simulation.advance(10);
        source.put("dies", "1");
        source.delete("dies");
        source.put("born and dead", "1");
        source.delete("born and dead");
        source.delete("keeps");
        source.put("keeps", "2");
        await simulation.advance(60_000);
        expect([...store.state]).toEqual([["keeps", "2"]]);
        expect(store.commits.length).toBeLessThanOrEqual(4);
      },
    );
  }

  sceneCase(
    "H6: the durable cursor is that of the last change committed, at every instant",
    { isCoalescing: false },
    async ({ simulation, source, store, rng, pipeline }) => {
      pipeline.start();
      store.durationMs = () => rng.int(0, 50);
      let count = 0;
      for (let n = 0; n < 300; n++) {
        const ops = Array.from({ length: rng.int(1, 5) }, () => ({ key: "k", value: `${count++}` }));
        source.write(...ops);
        await simulation.advance(rng.int(0, 20));
        const upTo = source.groups.slice(0, store.cursor ?? 0).flat();
        expect(store.applied.map(text)).toEqual(upTo.map(text));
      }
    },
  );

  sceneCase(
    "H7: a batch ends where a group of the source ends",
    {},
    async ({ simulation, source, store, pipeline }) => {
      source.frameDelayMs = 3;
      pipeline.start();
      store.durationMs = () => 10;
      for (let n = 0; n < 200; n++) {
        source.write(...Array.from({ length: 1 + (n % 7) }, (_, index) => ({ key: `key ${index}`, value: `${n}` })));
        await simulation.advance(11);
        // A stream that breaks inside a group leaves nothing of it behind.
        if (n % 40 === 39) source.drop();
      }
      await simulation.advance(hourMs);
      expectAll({ source, store });
    },
  );

  sceneCase("H8: a snapshot replaces: what it lacks is gone", {}, async ({ simulation, source, store, pipeline }) => {
    source.isResumable = false;
    source.put("stays", "1");
    source.put("vanishes", "1");
    pipeline.start();
    await simulation.advance(1_000);
    expect(new Set(store.state.keys())).toEqual(new Set(["stays", "vanishes"]));
    source.drop();
    // While nobody watches.
    source.delete("vanishes");
    source.put("appears", "1");
    await simulation.advance(hourMs);
    expectState({ source, store });
  });

  sceneCase(
    "H9: a failed commit is tried again and never discarded",
    {},
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      await simulation.advance(10);
      let failures = 5;
      store.fails = () => failures-- > 0;
      for (let n = 0; n < 100; n++) {
        source.put(`key ${n % 7}`, `${n}`);
        await simulation.advance(10);
      }
      await simulation.advance(hourMs);
      expectAll({ source, store });
      expect(store.attempts).toBeGreaterThan(5);
    },
  );

  for (const flushIntervalMs of [0, 5_000]) {
    sceneCase(
      `H10: a change is committed soon, and idleness commits nothing (interval ${flushIntervalMs} ms)`,
      { flushIntervalMs },
      async ({ simulation, clock, source, store, rng, pipeline }) => {
        pipeline.start();
        await simulation.advance(10_000);
        store.durationMs = () => 200;
        for (let n = 0; n < 30; n++) {
          const atMs = clock.monotonic();
          source.put("key", `${n}`);
          await simulation.runUntil(() => store.cursor === source.rev);
          expect(clock.monotonic() - atMs).toBeLessThanOrEqual(Math.max(flushIntervalMs, 200) + 201);
          await simulation.advance(rng.int(0, 1_000));
        }
        const commits = store.attempts;
        await simulation.advance(hourMs / 2);
        expect(store.attempts).toBe(commits);
        expectAll({ source, store });
      },
    );
  }

  sceneCase(
    "H11: what is held is bounded",
    { maxItems: 50, maxUnread: 4 },
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      await simulation.advance(10);
      store.durationMs = () => 1_000;
      for (let n = 0; n < 2_000; n++) source.put(`key ${n}`, `${n}`);
      let sizes = 0;
      for (let round = 0; round < 1_000 && store.cursor !== source.rev; round++) {
        await simulation.advance(500);
        sizes = Math.max(sizes, store.commits.at(-1)?.size ?? 0);
      }
      // Two frames a group; a push may exceed the bound once.
      expect(sizes).toBeLessThanOrEqual(52);
      expectAll({ source, store });
    },
  );

  sceneCase(
    "H12: a stream that breaks is visible, and comes back",
    {},
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      source.put("before", "1");
      await simulation.advance(1_000);
      expect(pipeline.state).toBe("live");
      source.drop();
      await simulation.advance(0);
      expect(pipeline.state).not.toBe("live");
      source.put("after", "2");
      await simulation.advance(hourMs / 60);
      expectAll({ source, store });
      expect(pipeline.state).toBe("live");
      expect(source.server.started).toBe(2);
    },
  );

  sceneCase(
    "H12: a change that cannot be handled is not skipped in silence",
    { decode: refusePoison },
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      source.put("before", "1");
      await simulation.advance(1_000);
      source.put("poison", "2");
      source.put("after", "3");
      await simulation.advance(hourMs);
      // Nothing behind it may count as done, and somebody must be able to see that.
      expect(store.state.has("after")).toBe(false);
      expect(store.cursor).toBe(1);
      expect(pipeline.state).not.toBe("live");
    },
  );

  sceneCase(
    "H12: a buffer that cannot be made loses nothing",
    {},
    async ({ simulation, source, store, buffers, pipeline }) => {
      pipeline.start();
      source.put("a", "1");
      await simulation.advance(1_000);
      buffers.isBroken = true;
      store.durationMs = () => 100;
      for (let n = 0; n < 20; n++) {
        source.put("b", `${n}`);
        await simulation.advance(30);
      }
      await simulation.advance(10_000);
      // Either it did not need one, or it says that it is stuck.
      if (store.cursor !== source.rev) expect(pipeline.state).not.toBe("live");
      buffers.isBroken = false;
      source.put("c", "3");
      await simulation.advance(hourMs);
      expectAll({ source, store });
    },
  );

  sceneCase("H13: stop commits what was taken", {}, async ({ simulation, source, store, pipeline }) => {
    pipeline.start();
    await simulation.advance(10);
    store.durationMs = () => 2_000;
    for (let n = 0; n < 50; n++) source.put(`key ${n}`, `${n}`);
    await simulation.advance(500);
    expect(source.server.peers[0]?.unread).toBe(0);
    await simulation.run(() => pipeline.stop());
    expectAll({ source, store });
  });

  sceneCase("H13: stop ends the stream, too", {}, async ({ simulation, source, store, pipeline }) => {
    pipeline.start();
    source.put("a", "1");
    await simulation.advance(100);
    await simulation.run(() => pipeline.stop());
    expect(source.server.open).toBe(0);
    source.put("b", "2");
    await simulation.advance(hourMs);
    expect(source.server.open).toBe(0);
    expect(store.cursor).toBe(1);
    expect(pipeline.state).not.toBe("live");
  });

  sceneCase(
    "H14: taking changes cannot starve the commit of what it needs",
    { maxItems: 20, maxUnread: 64 },
    async ({ simulation, source, store, pipeline }) => {
      pipeline.start();
      store.durationMs = () => 50;
      for (let round = 0; round < 5; round++) {
        for (let n = 0; n < 200; n++) source.put(`key ${n}`, `${round}`);
        await simulation.advance(20);
      }
      await simulation.advance(hourMs);
      expectAll({ source, store });
    },
  );

  sceneCase("H1-H12 hold for random faults", { seed: 77, maxItems: 40 }, async (scene) => {
    const { simulation, source, store, rng, pipeline } = scene;
    pipeline.start();
    await simulation.advance(10);
    store.durationMs = () => (rng.float() < 0.05 ? 60_000 : rng.int(0, 300));
    store.fails = () => rng.float() < 0.2;
    let count = 0;
    for (let n = 0; n < 600; n++) {
      const ops = Array.from({ length: rng.int(1, 4) }, (): Op => {
        const isDelete = rng.float() < 0.2;
        return { key: `key ${rng.int(0, 20)}`, value: isDelete ? undefined : `${count++}` };
      });
      source.write(...ops);
      if (rng.float() < 0.03) source.drop();
      source.frameDelayMs = rng.float() < 0.5 ? 0 : rng.int(0, 4);
      await simulation.advance(rng.int(0, 500));
    }
    store.durationMs = () => 1;
    store.fails = () => false;
    await simulation.advance(3 * hourMs);
    expectAll(scene);
    expect(pipeline.state).toBe("live");
    await simulation.run(() => pipeline.stop());
  });

  return cases;
}

const text = ({ key, value }: Op): string => `${key}=${value}`;

function refusePoison(frame: Frame): void {
  if (frame.type === "change" && frame.op.key === "poison") throw new SyntaxError("cannot be decoded");
}
