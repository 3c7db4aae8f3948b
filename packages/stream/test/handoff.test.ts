import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import {
  createListBuffer,
  Handoff,
  type HandoffBatch,
  type HandoffEvent,
  type HandoffOptions,
  ListBuffer,
  StreamError,
} from "@tidemark/stream";
import { expect, test } from "vitest";

type Buffer = ListBuffer<string>;

/** A committer that takes its time and keeps what it got. */
function scene(options: Partial<HandoffOptions<Buffer>> = {}, durationMs = 1_000) {
  const simulation: Simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const batches: string[][] = [];
  const infos: HandoffBatch[] = [];
  const buffers: Buffer[] = [];
  const handoff = new Handoff<Buffer>({
    createBuffer: () => createListBuffer<string>(),
    async commit(buffer, signal, batch) {
      buffers.push(buffer);
      await clock.sleep(durationMs, { signal });
      batches.push([...buffer.items]);
      infos.push(batch);
    },
    clock,
    rng,
    ...options,
  });
  const events: HandoffEvent[] = [];
  void (async () => {
    for await (const event of handoff.events()) events.push(event);
  })();
  const push = (...items: string[]) => items.map((item) => (handoff.buffer.push(item), handoff.sealed())).at(-1);
  const part = (...items: string[]) => items.map((item) => (handoff.buffer.push(item), handoff.wrote())).at(-1);
  return { simulation, clock, handoff, batches, infos, buffers, events, push, part };
}

test("hands over once per turn of the event loop while the committer is idle", async () => {
  const { simulation, handoff, batches, push } = scene();
  push("a", "b");
  push("c");
  expect(handoff.state).toBe("idle");
  await simulation.settle();
  expect(handoff.state).toBe("committing");
  push("d");
  push("e");
  await simulation.advance(10_000);
  expect(batches).toEqual([
    ["a", "b", "c"],
    ["d", "e"],
  ]);
});

test("H1: a push calls no committer, however it stands", async () => {
  const calls: string[] = [];
  let pushing = false;
  const { simulation, handoff, push, part } = scene({
    maxBytes: 4,
    async commit() {
      calls.push(pushing ? "inside a push" : "outside");
    },
  });
  const pushes = (what: () => unknown) => {
    pushing = true;
    what();
    pushing = false;
  };
  for (let n = 0; n < 20; n++) {
    pushes(() => push("a"));
    // Due in the middle of a group, so that the end of the group is where the batch is cut.
    pushes(() => part("b"));
    await simulation.settle();
    pushes(() => push("c"));
    if (n % 3 === 0) await simulation.settle();
    if (!handoff.isReady) await simulation.run(() => handoff.ready());
  }
  await simulation.settle();
  expect(new Set(calls)).toEqual(new Set(["outside"]));
});

test("H3: two buffers are exchanged, and the one in flight is nobody else's", async () => {
  const { simulation, handoff, buffers, push } = scene();
  const first = handoff.buffer;
  for (let n = 0; n < 10; n++) {
    push(`${n}`);
    await simulation.advance(0);
    expect(handoff.buffer).not.toBe(buffers.at(-1));
    push("more");
    await simulation.advance(1_500);
  }
  await simulation.advance(10_000);
  expect(new Set(buffers).size).toBe(2);
  expect(buffers).toContain(first);
});

test("H3: a committer may return another buffer, which is used from then on", async () => {
  const made: Buffer[] = [];
  const returned: Buffer[] = [];
  const seen: Buffer[] = [];
  const { simulation, push } = scene({
    createBuffer() {
      made.push(createListBuffer());
      return made.at(-1) as Buffer;
    },
    async commit(buffer) {
      seen.push(buffer);
      // As after a transfer to a worker and back.
      returned.push(new ListBuffer());
      return returned.at(-1);
    },
  });
  for (let n = 0; n < 6; n++) {
    push(`${n}`);
    await simulation.advance(10);
  }
  expect(made).toHaveLength(2);
  expect(seen.slice(0, 2)).toEqual(made);
  expect(seen.slice(2).every((buffer, index) => buffer === returned[index])).toBe(true);
});

test("H4: the end of a commit starts the next at once, not at the next tick", async () => {
  const { simulation, clock, events, push } = scene({ flushIntervalMs: 100 }, 1_000);
  push("a");
  await simulation.advance(100);
  push("b");
  await simulation.runUntil(() => events.filter((event) => event.type === "committed").length === 2);
  expect(clock.monotonic()).toBe(100 + 1_000 + 1_000);
});

test("H7: an open group waits for its end, and what is before it waits with it", async () => {
  const { simulation, handoff, batches, push, part } = scene();
  part("a1");
  await simulation.advance(60_000);
  expect(handoff.state).toBe("idle");
  push("a2");
  part("b1");
  await simulation.advance(60_000);
  expect(handoff.state).toBe("idle");
  push("b2");
  // Cut here and now: the next group may be open again at the next look.
  part("c1");
  await simulation.advance(60_000);
  expect(batches).toEqual([["a1", "a2", "b1", "b2"]]);
  push("c2");
  await simulation.advance(60_000);
  expect(batches[1]).toEqual(["c1", "c2"]);
});

test("H7: with maxGroupBytes a large group goes over in open parts, and says so", async () => {
  const { simulation, batches, infos, push, part } = scene({ maxGroupBytes: 3 });
  part("a1", "a2");
  await simulation.advance(5_000);
  expect(batches).toEqual([]);
  part("a3");
  await simulation.advance(5_000);
  part("a4");
  await simulation.advance(5_000);
  expect(batches).toEqual([["a1", "a2", "a3"]]);
  push("a5");
  await simulation.advance(5_000);
  expect(batches[1]).toEqual(["a4", "a5"]);
  expect(infos).toEqual([
    { groups: 0, isOpen: true, attempt: 1 },
    { groups: 1, isOpen: false, attempt: 1 },
  ]);
});

test("H7: with maxGroupBytes sealed groups do not wait for an open one, and take its beginning along", async () => {
  const { simulation, batches, infos, handoff, push, part } = scene({ maxGroupBytes: 100 });
  push("a");
  part("b1");
  await simulation.advance(5_000);
  expect(batches).toEqual([["a", "b1"]]);
  expect(infos[0]).toEqual({ groups: 1, isOpen: true, attempt: 1 });
  // The beginning of b is staged; b itself is not committed.
  expect(handoff.stats).toMatchObject({ sealedGroups: 1, committedGroups: 1, pendingGroups: 0 });
  push("b2");
  await simulation.run(() => handoff.flush());
  expect(batches[1]).toEqual(["b2"]);
});

test("H9: a failed batch stays at the head and is offered again, growing waits between", async () => {
  const offered: string[][] = [];
  let failures = 4;
  const { simulation, handoff, events, push } = scene({
    async commit(buffer) {
      offered.push([...buffer.items]);
      if (failures-- > 0) throw new Error(`busy ${failures}`);
    },
    retry: { initialDelayMs: 100, maxDelayMs: 1_000 },
  });
  push("a", "b");
  await simulation.settle();
  expect(handoff.state).toBe("retrying");
  push("c");
  await simulation.advance(10_000);
  expect(offered).toEqual([["a", "b"], ["a", "b"], ["a", "b"], ["a", "b"], ["a", "b"], ["c"]]);
  const failed = events.filter((event) => event.type === "commit-failed");
  expect(failed.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
  for (const { attempt, delayMs } of failed) expect(delayMs).toBeLessThan(Math.min(1_000, 100 * 2 ** (attempt - 1)));
  expect(handoff.stats).toMatchObject({ failures: 4, commits: 2, lastError: undefined });
});

test("H9: after maxAttempts it is quarantined with everything kept, and retry goes on", async () => {
  let isBroken = true;
  const offered: string[][] = [];
  const { simulation, handoff, events, push } = scene({
    async commit(buffer) {
      offered.push([...buffer.items]);
      if (isBroken) throw new Error("constraint");
    },
    retry: { maxAttempts: 3 },
    maxBytes: 5,
  });
  push("a");
  const flushed = handoff.flush();
  flushed.catch(() => {});
  await simulation.advance(60_000);
  expect(handoff.state).toBe("quarantined");
  expect(offered).toHaveLength(3);
  await expect(flushed).rejects.toMatchObject({ code: "QUARANTINED", cause: { message: "constraint" } });
  await expect(handoff.flush()).rejects.toMatchObject({ code: "QUARANTINED" });
  // The producer may fill what room there is, and then waits; nothing is dropped.
  expect(push("b", "c", "d", "e")).toBe(false);
  let isReady = false;
  void handoff.ready().then(() => (isReady = true));
  await simulation.advance(3_600_000);
  expect([isReady, offered.length, handoff.stats.pendingGroups]).toEqual([false, 3, 5]);
  isBroken = false;
  handoff.retry();
  await simulation.advance(10);
  expect(isReady).toBe(true);
  expect(offered.slice(3)).toEqual([["a"], ["b", "c", "d", "e"]]);
  expect(events.map(({ type }) => type)).toEqual([
    "commit-failed",
    "commit-failed",
    "quarantined",
    "resumed",
    "committed",
    "committed",
  ]);
});

test("H9: classify stops a batch that will never fit, and retry cuts a wait short", async () => {
  const { simulation, handoff, push } = scene({
    commit: async () => {
      throw new Error("poison");
    },
    classify: (error) => ((error as Error).message === "poison" ? "quarantine" : "retry"),
  });
  push("a");
  await simulation.settle();
  expect(handoff.state).toBe("quarantined");

  let isBusy = true;
  const other = scene({
    commit: async () => {
      if (isBusy) throw new Error("busy");
    },
    retry: { initialDelayMs: 1e9, maxDelayMs: 1e9 },
  });
  other.push("a");
  await other.simulation.settle();
  expect(other.handoff.state).toBe("retrying");
  isBusy = false;
  other.handoff.retry();
  await other.simulation.settle();
  expect(other.handoff.state).toBe("idle");
  expect(other.simulation.pending()).toEqual([]);
});

test("H9: a buffer that was transferred comes back with the error", async () => {
  class Lost extends Error {
    readonly buffer: Buffer;
    constructor(buffer: Buffer) {
      super("the worker failed");
      this.buffer = buffer;
    }
  }
  const committed: string[][] = [];
  let failures = 2;
  const { simulation, push } = scene({
    async commit(buffer) {
      // A transfer empties the sender's side.
      const moved = new ListBuffer<string>();
      for (const item of buffer.items) moved.push(item);
      buffer.clear();
      if (failures-- > 0) throw new Lost(moved);
      committed.push([...moved.items]);
      return moved;
    },
    recover: (error) => (error instanceof Lost ? error.buffer : undefined),
  });
  push("a", "b");
  await simulation.advance(10_000);
  push("c");
  await simulation.advance(10_000);
  expect(committed).toEqual([["a", "b"], ["c"]]);
});

test("X22: recover, classify and commit that throw stop it visibly with everything kept", async () => {
  const boom = () => {
    throw new Error("mine");
  };
  for (const overrides of [{ recover: boom }, { classify: boom }]) {
    const { simulation, handoff, push } = scene({ commit: () => Promise.reject(new Error("busy")), ...overrides });
    push("a");
    await simulation.settle();
    expect(handoff.state).toBe("quarantined");
    expect(handoff.stats.lastError).toMatchObject({ code: "HOOK_FAILED", cause: { message: "mine" } });
    expect(handoff.destroy().map((buffer) => buffer.items)).toEqual([["a"]]);
  }
  // A synchronous throw is a failed commit like any other.
  const { simulation, handoff, push } = scene({ commit: boom });
  push("a");
  await simulation.settle();
  expect(handoff.state).toBe("retrying");
  handoff.destroy();
});

test("H12: a buffer that cannot be emptied or made stops it visibly, and retry goes on", async () => {
  let isBroken = false;
  const committed: string[] = [];
  class Sticky extends ListBuffer<string> {
    override clear(): void {
      throw new Error("sticky");
    }
  }
  const { simulation, handoff, push } = scene({
    createBuffer() {
      if (isBroken) throw new Error("no memory");
      return new Sticky();
    },
    commit: async (buffer) => void committed.push(...buffer.items),
  });
  for (const item of ["a", "b"]) {
    push(item);
    await simulation.settle();
  }
  isBroken = true;
  push("c");
  await simulation.settle();
  push("d");
  await simulation.advance(10);
  expect(handoff.state).toBe("quarantined");
  expect(committed).toEqual(["a", "b", "c"]);
  handoff.retry();
  expect(handoff.state).toBe("quarantined");
  isBroken = false;
  handoff.retry();
  await simulation.advance(10);
  expect(committed).toEqual(["a", "b", "c", "d"]);
  expect(handoff.state).toBe("idle");
});

test("H10: with an interval changes wait for it, and for nothing when it is full or flushed", async () => {
  const { simulation, clock, handoff, batches, push } = scene({ flushIntervalMs: 5_000, maxBytes: 3 }, 0);
  push("a");
  await simulation.advance(4_999);
  expect(batches).toEqual([]);
  await simulation.advance(1);
  expect(batches).toEqual([["a"]]);
  expect(push("b", "c", "d")).toBe(false);
  await simulation.run(() => handoff.ready());
  expect(clock.monotonic()).toBe(5_000);
  push("e");
  await simulation.run(() => handoff.flush());
  expect(clock.monotonic()).toBe(5_000);
  expect(batches).toEqual([["a"], ["b", "c", "d"], ["e"]]);
  expect(simulation.pending()).toEqual([]);
});

test("H11: what is held stays within maxBytes for a producer that waits", async () => {
  const { simulation, handoff, push } = scene({ maxBytes: 10 }, 100);
  await simulation.run(async () => {
    for (let n = 0; n < 500; n++) {
      if (!push(`${n}`)) await handoff.ready();
      expect(handoff.stats.bufferedBytes + handoff.stats.inFlightBytes).toBeLessThanOrEqual(10);
    }
    await handoff.flush();
  });
  expect(handoff.stats).toMatchObject({ peakBytes: 10, committedGroups: 500 });
});

test("H11: a group larger than maxBytes is let through whole, and everything else waits for it", async () => {
  const { simulation, handoff, batches, push, part } = scene({ maxBytes: 3 }, 100);
  await simulation.run(async () => {
    push("before");
    for (let n = 0; n < 8; n++) if (!part(`${n}`)) await handoff.ready();
    if (!push("end")) await handoff.ready();
    if (!push("after")) await handoff.ready();
    await handoff.flush();
  });
  expect(batches.flat()).toEqual(["before", "0", "1", "2", "3", "4", "5", "6", "7", "end", "after"]);
});

test("flush waits for what was sealed before the call, also while more is written", async () => {
  const { simulation, clock, handoff, push } = scene({}, 1_000);
  await handoff.flush();
  push("a");
  await simulation.settle();
  push("b");
  let isWriting = true;
  void (async () => {
    for (let n = 0; isWriting; n++) {
      push(`more ${n}`);
      await clock.sleep(10);
    }
  })();
  await simulation.run(() => handoff.flush());
  expect(clock.monotonic()).toBeLessThanOrEqual(3_000);
  isWriting = false;
  const controller = new AbortController();
  const flushed = handoff.flush(controller.signal);
  controller.abort(new Error("enough"));
  await expect(flushed).rejects.toThrow("enough");
  await expect(handoff.flush(controller.signal)).rejects.toThrow("enough");
  await expect(handoff.ready(controller.signal)).rejects.toThrow("enough");
  handoff.destroy();
});

test("H13: close commits what is sealed and takes nothing more", async () => {
  const { simulation, handoff, batches, events, push } = scene();
  push("a");
  await simulation.settle();
  push("b", "c");
  const closing = handoff.close();
  // It is not in the batch that is closed, and the producer hears of that.
  expect(() => push("d")).toThrow(StreamError);
  await expect(handoff.ready()).rejects.toMatchObject({ code: "CLOSED" });
  const again = handoff.close({ flush: false });
  await simulation.run(() => Promise.all([closing, again]));
  expect(batches).toEqual([["a"], ["b", "c"]]);
  expect(handoff.state).toBe("closed");
  await simulation.settle();
  expect(events.at(-1)).toEqual({ type: "closed", pendingGroups: 0 });
  await handoff.close();
  expect(handoff.destroy()).toEqual([]);
  expect(simulation.pending()).toEqual([]);
});

test("H13: close goes through retries, and is bounded", async () => {
  let failures = 3;
  const patient = scene({
    commit: async () => {
      if (failures-- > 0) throw new Error("busy");
    },
  });
  patient.push("a");
  await patient.simulation.run(() => patient.handoff.close());

  const stuck = scene({ commit: () => new Promise(() => {}) });
  stuck.push("a");
  await stuck.simulation.settle();
  stuck.push("b");
  await stuck.simulation.run(() =>
    expect(stuck.handoff.close({ closeTimeoutMs: 5_000 })).rejects.toMatchObject({ code: "CLOSE_TIMEOUT" }),
  );
  expect(stuck.clock.monotonic()).toBe(5_000);
  expect(stuck.handoff.destroy().map((buffer) => buffer.items)).toEqual([["a"], ["b"]]);
  expect(stuck.handoff.destroy()).toEqual([]);
});

test("H13: close discards when told to, after the commit in flight, with nothing half done", async () => {
  const { simulation, handoff, batches, push } = scene();
  push("a");
  await simulation.settle();
  push("b");
  await simulation.run(() => handoff.close({ flush: false }));
  expect(batches).toEqual([["a"]]);
  expect(handoff.stats.pendingGroups).toBe(1);
  expect(handoff.destroy().map((buffer) => buffer.items)).toEqual([["b"]]);
});

test("H13: a quarantined hand-off closes with its error", async () => {
  const { simulation, handoff, push } = scene({
    commit: () => Promise.reject(new Error("constraint")),
    retry: { maxAttempts: 1 },
  });
  push("a");
  await simulation.settle();
  await expect(handoff.close()).rejects.toMatchObject({ code: "QUARANTINED", cause: { message: "constraint" } });
  const late = scene({ commit: () => Promise.reject(new Error("constraint")), retry: { maxAttempts: 2 } });
  late.push("a");
  await late.simulation.run(() => expect(late.handoff.close()).rejects.toMatchObject({ code: "QUARANTINED" }));
  expect(late.handoff.destroy()).toHaveLength(1);
});

test("H13: groups in front of an open one cannot be cut, so close says that they are left", async () => {
  const { simulation, handoff, batches, push, part } = scene();
  push("a");
  part("b1");
  await simulation.run(() => expect(handoff.close()).rejects.toMatchObject({ code: "OPEN_GROUP" }));
  expect(batches).toEqual([]);
  expect(handoff.destroy().map((buffer) => buffer.items)).toEqual([["a", "b1"]]);

  // An open group alone was never accepted: it comes again.
  const alone = scene();
  alone.part("a1");
  await alone.handoff.close();
  // And where parts can be staged nothing has to wait.
  const staged = scene({ maxGroupBytes: 100 });
  staged.push("a");
  staged.part("b1");
  await staged.simulation.run(() => staged.handoff.close());
  expect(staged.infos).toEqual([{ groups: 1, isOpen: true, attempt: 1 }]);
});

test("destroy returns what is not known to be committed, oldest first, and aborts the commit", async () => {
  const reason = new Error("now");
  const signals: AbortSignal[] = [];
  const { simulation, handoff, events, push } = scene({
    commit: (_, signal) => {
      signals.push(signal);
      return new Promise(() => {});
    },
  });
  push("a");
  await simulation.settle();
  push("b");
  const flushed = handoff.flush();
  const waiting = expect(flushed).rejects.toMatchObject({ code: "CLOSED" });
  expect(handoff.destroy(reason).map((buffer) => buffer.items)).toEqual([["a"], ["b"]]);
  await waiting;
  expect(signals[0]?.reason).toBe(reason);
  expect(() => push("c")).toThrow(StreamError);
  await simulation.settle();
  expect(events.at(-1)).toEqual({ type: "closed", pendingGroups: 2 });
  expect(handoff.state).toBe("closed");
});

test("X12: a committer that calls back in is safe", async () => {
  const asks: Record<string, (handoff: Handoff<Buffer>) => unknown> = {
    push: (handoff) => handoff.state !== "closed" && (handoff.buffer.push("from inside"), handoff.sealed()),
    close: (handoff) => handoff.close().catch(() => {}),
    destroy: (handoff) => handoff.destroy(),
    retry: (handoff) => handoff.retry(),
    flush: (handoff) => handoff.flush().catch(() => {}),
  };
  for (const [name, ask] of Object.entries(asks)) {
    let calls = 0;
    const { simulation, handoff, push } = scene({
      async commit() {
        if (++calls <= 3) void ask(handoff);
        if (calls === 2) throw new Error("busy");
      },
    });
    push("a");
    await simulation.advance(60_000);
    await simulation.run(() => handoff.close());
    expect(handoff.state, name).toBe("closed");
    expect(simulation.pending(), name).toEqual([]);
    if (name !== "destroy") expect(handoff.stats.pendingGroups, name).toBe(0);
  }
});

test("stats tell what is where", async () => {
  const { simulation, handoff, push } = scene({ createBuffer: () => createListBuffer<string>((item) => item.length) });
  push("four");
  await simulation.advance(100);
  push("seventy");
  expect(handoff.stats).toEqual({
    sealedGroups: 2,
    committedGroups: 0,
    pendingGroups: 2,
    bufferedBytes: 7,
    inFlightBytes: 4,
    peakBytes: 11,
    commits: 0,
    failures: 0,
    inFlightSinceMs: 0,
    lastError: undefined,
  });
  await simulation.run(() => handoff.flush());
  expect(handoff.stats).toMatchObject({ pendingGroups: 0, inFlightBytes: 0, commits: 2, inFlightSinceMs: undefined });
});

test("options are checked", () => {
  const make = (options: Partial<HandoffOptions<Buffer>>) => () => scene(options);
  expect(make({ maxBytes: 0 })).toThrow("maxBytes must be above 0, got 0");
  expect(make({ maxBytes: 10, maxGroupBytes: 11 })).toThrow("maxGroupBytes must be at most maxBytes (10) or Infinity");
  expect(make({ flushIntervalMs: -1 })).toThrow("flushIntervalMs must be at least 0, got -1");
  expect(make({ retry: { maxAttempts: 0 } })).toThrow("retry.maxAttempts must be at least 1, got 0");
  expect(make({ retry: { initialDelayMs: 0 } })).toThrow("initialDelayMs must be above 0, got 0");
});
