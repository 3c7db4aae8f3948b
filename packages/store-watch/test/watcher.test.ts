import { createHook } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect, test } from "vitest";
import type { FrameSink, ResumePoint } from "../src/contract.ts";
import { StoreWatchError } from "../src/errors.ts";
import { openWatcher } from "../src/index.ts";
import { bytes, eventsOf, onStage, scripted, type Stage, untilAborted } from "./watcher-stage.ts";

const hourMs = 3_600_000;

const busy = () => new StoreWatchError("COMMIT_FAILED", "database is locked", { retryable: true });

/** A transaction of one key in a script. */
function put(sink: FrameSink, key: string, value: string | undefined, revision: number): boolean {
  const at = `z${String(revision).padStart(10, "0")}`;
  sink.write({ type: "change", key: bytes(key), value: value === undefined ? undefined : bytes(value), version: at });
  return sink.write({ type: "commit", cursor: at });
}

function emptySnapshot(sink: FrameSink, epoch = "e1"): void {
  sink.write({ type: "begin-snapshot", epoch });
  sink.write({ type: "snapshot-end", cursor: "z0000000000" });
  sink.status({ state: "live" });
}

test("follows a store into the history and says that it is live", () =>
  onStage(async (stage) => {
    stage.put("a", "1");
    const watcher = await stage.watch({ source: stage.source() });
    expect(watcher.status()).toMatchObject({
      name: stage.name,
      kind: "simulated",
      state: "starting",
      resume: undefined,
    });
    await watcher.waitFor("now");
    stage.put("a", "2");
    stage.put("b", "3");
    stage.store.delete(bytes("a"));
    const reached = await watcher.waitFor("now");
    const committedAtMs = stage.clock.now();
    await stage.clock.sleep(100);
    expect(await stage.replica()).toEqual({ b: "3" });
    expect(await stage.log("a")).toEqual(["1", "2", undefined]);
    const status = watcher.status();
    expect(status).toMatchObject({
      state: "live",
      problem: undefined,
      versions: 4,
      drops: 0,
      gaps: 0,
      resume: reached,
    });
    expect(status.lag).toMatchObject({ currentMs: 0, pendingGroups: 0, pendingChanges: 0 });
    expect(status.lag.p99Ms).toBeLessThan(10);
    expect(status.lastCommitAtMs).toBeGreaterThan(committedAtMs - 10);
    expect(status.lastCommitAtMs).toBeLessThanOrEqual(committedAtMs);
    await watcher.close();
    expect(watcher.status().state).toBe("stopped");
  }));

test("H1: everything is accepted while one commit hangs for an hour, and nothing is lost", () =>
  onStage(async (stage) => {
    const total = 2_000;
    let isHung = false;
    stage.around = async (append, buffer) => {
      if (!isHung && watcher !== undefined && watcher.status().resume !== undefined) {
        isHung = true;
        await stage.clock.sleep(hourMs);
      }
      return await append(buffer);
    };
    const watcher: Awaited<ReturnType<Stage["watch"]>> = await stage.watch({
      source: stage.source(),
      silenceTimeoutMs: 60_000,
    });
    await watcher.waitFor("now");
    for (let number = 0; number < total; number++) {
      stage.put("k", `${number}`);
      await stage.clock.sleep(1);
    }
    await stage.clock.sleep(60_000);
    const held = watcher.status();
    expect(held.lag.pendingGroups).toBeGreaterThanOrEqual(total);
    expect(held.lag.pendingChanges).toBe(total);
    expect(held).toMatchObject({ state: "live", isStalled: true, drops: 0, reconnects: 0 });
    expect(held.problem).toContain("Nothing is lost");
    await watcher.waitFor("now");
    expect(await stage.log("k")).toEqual(Array.from({ length: total }, (_, number) => `${number}`));
    expect(watcher.status()).toMatchObject({ state: "live", isStalled: false, problem: undefined });
    await watcher.close();
  }));

test("H2: changes that left memory without a commit are counted, told, and asked for again", () =>
  onStage(async (stage) => {
    let isLost = false;
    stage.around = async (append, buffer) => {
      if (isLost || !buffer.decode().some((frame) => frame.type === "change")) return await append(buffer);
      isLost = true;
      buffer.toTransfer();
      throw new StoreWatchError("WORKER_DIED", "the writer's thread ended", { retryable: true });
    };
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    const events = eventsOf(watcher);
    stage.put("a", "1");
    stage.put("b", "2");
    await watcher.waitFor("now");
    expect(await stage.replica()).toEqual({ a: "1", b: "2" });
    expect(watcher.status()).toMatchObject({ state: "live", drops: 2, gaps: 0, reconnects: 1 });
    expect(watcher.status().problem).toContain("2 accepted changes left memory");
    expect(events).toContainEqual(expect.objectContaining({ type: "dropped", changes: 2 }));
    expect(stage.opens).toBe(2);
    await watcher.close();
  }));

test("H2: a commit of which nobody knows whether it happened is not made twice", () =>
  onStage(async (stage) => {
    let isBroken = false;
    stage.around = async (append, buffer) => {
      const frames = buffer.decode();
      const result = await append(buffer);
      if (isBroken || !frames.some((frame) => frame.type === "change")) return result;
      isBroken = true;
      buffer.clear();
      for (const frame of frames) buffer.write(frame);
      throw new Error("the connection broke during COMMIT");
    };
    // Without versions, committing the same frames twice would show.
    const watcher = await stage.watch({ source: stage.source({ capabilities: { versioned: false } }) });
    await watcher.waitFor("now");
    for (const value of ["1", "2", "1"]) stage.put("a", value);
    await watcher.waitFor("now");
    await stage.clock.sleep(10_000);
    expect(isBroken).toBe(true);
    expect(await stage.log("a")).toEqual(["1", "2", "1"]);
    expect(watcher.status()).toMatchObject({ state: "live", gaps: 0 });
    await watcher.close();
  }));

test("H3: a buffer under way to the database is not written to", () =>
  onStage(async (stage) => {
    const before: string[] = [];
    const after: string[] = [];
    stage.around = async (append, buffer) => {
      before.push(JSON.stringify(buffer.decode()));
      await stage.clock.sleep(500);
      after.push(JSON.stringify(buffer.decode()));
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source() });
    for (let number = 0; number < 50; number++) {
      stage.put("k", `${number}`);
      await stage.clock.sleep(100);
    }
    await watcher.waitFor("now");
    expect(after).toEqual(before);
    expect(before.length).toBeGreaterThan(5);
    await watcher.close();
  }));

test("H4: H5: one commit at a time, in order, and update-then-delete within one batch stays a delete", () =>
  onStage(async (stage) => {
    let running = 0;
    let most = 0;
    const cursors: string[] = [];
    stage.around = async (append, buffer) => {
      running++;
      most = Math.max(most, running);
      for (const frame of buffer.decode()) if (frame.type === "commit") cursors.push(frame.cursor);
      await stage.clock.sleep(200);
      const result = await append(buffer);
      running--;
      return result;
    };
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    stage.put("first", "1");
    await stage.clock.sleep(50);
    // All of these are in the batch after the first.
    stage.store.transact([
      { key: bytes("k"), value: bytes("update") },
      { key: bytes("k"), value: undefined },
    ]);
    stage.put("l", "1");
    stage.store.delete(bytes("l"));
    stage.put("m", "1");
    stage.store.delete(bytes("m"));
    stage.put("m", "2");
    await watcher.waitFor("now");
    expect(await stage.replica()).toEqual({ first: "1", m: "2" });
    expect(await stage.log("k")).toEqual(["update", undefined]);
    expect(await stage.log("m")).toEqual(["1", undefined, "2"]);
    expect(most).toBe(1);
    expect(cursors).toEqual([...cursors].sort());
    await watcher.close();
  }));

test("H6: the durable cursor is that of the last commit, never of what is only accepted", () =>
  onStage(async (stage) => {
    let isStuck = false;
    stage.around = async (append, buffer) => {
      while (isStuck) await stage.clock.sleep(1_000);
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source() });
    stage.put("k", "1");
    const committed = await watcher.waitFor("now");
    isStuck = true;
    stage.put("k", "2");
    await stage.clock.sleep(10_000);
    expect(watcher.status().lag.pendingGroups).toBeGreaterThan(0);
    expect(watcher.status().resume).toEqual(committed);
    expect(await stage.durable()).toEqual(committed);
    isStuck = false;
    const next = await watcher.waitFor("now");
    expect(next.cursor > committed.cursor).toBe(true);
    expect(await stage.durable()).toEqual(next);
    await watcher.close();
  }));

test("H7: a transaction larger than maxGroupBytes is staged, and shows only when it is whole", () =>
  onStage(async (stage) => {
    let go = () => {};
    const half = new Promise<void>((resolve) => {
      go = resolve;
    });
    const write = async (sink: FrameSink, from: number, to: number) => {
      for (let index = from; index < to; index++) {
        const isRoom = sink.write({
          type: "change",
          key: bytes(`k${index}`),
          value: bytes("x".repeat(100)),
          version: "v1",
        });
        if (!isRoom) await sink.ready();
      }
    };
    const source = scripted(async (sink, signal) => {
      emptySnapshot(sink);
      await write(sink, 0, 500);
      await half;
      await write(sink, 500, 1_000);
      sink.write({ type: "commit", cursor: "z0000000001" });
      await untilAborted(signal);
    });
    let most = 0;
    stage.around = (append, buffer) => {
      most = Math.max(most, buffer.bytes);
      return append(buffer);
    };
    const watcher = await stage.watch({ source, maxBufferBytes: 20_000, maxGroupBytes: 5_000 });
    await stage.clock.sleep(1_000);
    expect(await stage.replica()).toEqual({});
    expect((await stage.durable())?.cursor).toBe("z0000000000");
    go();
    await watcher.waitFor({ epoch: "e1", cursor: "z0000000001" });
    expect(Object.keys(await stage.replica()).length).toBe(1_000);
    expect(most).toBeLessThan(21_000);
    await watcher.close();
  }));

test("H7: what a broken connection left of a transaction never shows", () =>
  onStage(async (stage) => {
    let runs = 0;
    const source = scripted(async (sink, signal, from) => {
      runs++;
      if (from === undefined) emptySnapshot(sink);
      sink.write({ type: "change", key: bytes("a"), value: bytes("1"), version: "v1" });
      if (runs === 1) throw new Error("reset by peer");
      sink.write({ type: "change", key: bytes("b"), value: bytes("1"), version: "v1" });
      sink.write({ type: "commit", cursor: "z0000000001" });
      await untilAborted(signal);
    });
    const watcher = await stage.watch({ source });
    await stage.clock.sleep(10);
    expect(await stage.replica()).toEqual({});
    await watcher.waitFor({ epoch: "e1", cursor: "z0000000001" });
    expect(await stage.replica()).toEqual({ a: "1", b: "1" });
    expect(await stage.log("a")).toEqual(["1"]);
    await watcher.close();
  }));

test("H8: a snapshot after a reconnect removes what vanished meanwhile, and says that something was lost", () =>
  onStage(async (stage) => {
    stage.put("stays", "1");
    stage.put("goes", "1");
    const source = stage.source({ capabilities: { resumable: false } });
    const watcher = await stage.watch({ source });
    const { cursor } = await watcher.waitFor("now");
    source.disconnect();
    stage.store.delete(bytes("goes"));
    stage.put("comes", "1");
    await watcher.waitFor("now");
    expect(await stage.replica()).toEqual({ stays: "1", comes: "1" });
    expect(await stage.log("goes")).toEqual(["1", undefined]);
    expect(await stage.gaps()).toEqual([`disconnected after ${cursor}`]);
    await watcher.close();
  }));

test("H9: a failed commit is offered again unchanged until it succeeds", () =>
  onStage(async (stage) => {
    const offered: string[] = [];
    let failures = 0;
    stage.around = async (append, buffer) => {
      const frames = buffer.decode();
      if (frames.some((frame) => frame.type === "change")) {
        offered.push(JSON.stringify(frames));
        if (++failures <= 5) throw busy();
      }
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    const events = eventsOf(watcher);
    stage.put("k", "1");
    await watcher.waitFor("now");
    expect(new Set(offered).size).toBe(1);
    expect(offered.length).toBe(6);
    expect(events.filter(({ type }) => type === "commit-failed").length).toBe(5);
    expect(await stage.log("k")).toEqual(["1"]);
    expect(watcher.status()).toMatchObject({ state: "live", drops: 0, problem: undefined });
    await watcher.close();
  }));

test("H9: when retrying is given up the watcher is quarantined with everything kept, until retry()", () =>
  onStage(async (stage) => {
    let isFull = false;
    stage.around = async (append, buffer) => {
      if (isFull) throw busy();
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source(), commitRetry: { maxAttempts: 3 } });
    await watcher.waitFor("now");
    isFull = true;
    for (let number = 0; number < 10; number++) stage.put("k", `${number}`);
    await stage.clock.sleep(hourMs);
    const status = watcher.status();
    expect(status).toMatchObject({ state: "quarantined", drops: 0 });
    expect(status.problem).toContain("retry()");
    isFull = false;
    await stage.clock.sleep(hourMs);
    expect(watcher.status().state).toBe("quarantined");
    watcher.retry();
    await watcher.waitFor("now");
    expect(await stage.log("k")).toEqual(Array.from({ length: 10 }, (_, number) => `${number}`));
    expect(watcher.status()).toMatchObject({ state: "live", problem: undefined, drops: 0 });
    await watcher.close();
  }));

test("H10: an accepted change is committed within a flush interval and a commit, and an idle watcher makes no transaction", () =>
  onStage(async (stage) => {
    let commits = 0;
    stage.around = async (append, buffer) => {
      commits++;
      await stage.clock.sleep(100);
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source(), flushIntervalMs: 300 });
    await watcher.waitFor("now");
    for (let number = 0; number < 40; number++) {
      stage.put("k", `${number}`);
      await stage.clock.sleep(stage.simulation.rng.int(0, 100));
    }
    await watcher.waitFor("now");
    // Behind a commit that just began, then the interval, then its own commit.
    expect(watcher.status().lag.maxMs).toBeLessThanOrEqual(300 + 2 * 100 + 20);
    await stage.clock.sleep(10_000);
    const idle = commits;
    await stage.clock.sleep(600_000);
    expect(commits).toBe(idle);
    await watcher.close();
  }));

test("H11: memory is bounded by holding the source back, and that is not taken for silence", () =>
  onStage(async (stage) => {
    let most = 0;
    stage.around = async (append, buffer) => {
      await stage.clock.sleep(120_000);
      return await append(buffer);
    };
    const limits = { maxBufferBytes: 10_000, maxGroupBytes: 10_000, silenceTimeoutMs: 30_000, stallTimeoutMs: hourMs };
    const watcher = await stage.watch({ source: stage.source(), ...limits });
    const events = eventsOf(watcher);
    for (let number = 0; number < 400; number++) stage.put(`k${number}`, "x".repeat(100));
    for (let look = 0; look < 200; look++) {
      await stage.clock.sleep(1_000);
      const { inflightBytes, bufferedBytes } = watcher.status();
      most = Math.max(most, inflightBytes + bufferedBytes);
    }
    expect(watcher.status()).toMatchObject({ isHeldBack: true, reconnects: 0 });
    expect(watcher.status().problem).toContain("held back");
    await watcher.waitFor("now");
    expect(Object.keys(await stage.replica()).length).toBe(400);
    expect(most).toBeGreaterThan(5_000);
    expect(most).toBeLessThan(10_500);
    expect(events.some(({ type }) => type === "source-silent")).toBe(false);
    expect(events).toContainEqual({ type: "held-back", isHeldBack: true });
    expect(watcher.status()).toMatchObject({ isHeldBack: false, drops: 0, reconnects: 0 });
    await watcher.close({ closeTimeoutMs: hourMs });
  }));

test("H12: a source that throws, ends, or falls silent is seen, and started again from the last commit", () =>
  onStage(async (stage) => {
    const started: (ResumePoint | undefined)[] = [];
    const source = scripted(async (sink, signal, from) => {
      started.push(from);
      const run = started.length;
      if (from === undefined) emptySnapshot(sink);
      else sink.status({ state: "live" });
      put(sink, "k", `${run}`, run);
      await stage.clock.sleep(1_000, { signal });
      if (run === 1) throw new Error("the parser met 0x00");
      if (run === 2) return;
      await untilAborted(signal);
    });
    const watcher = await stage.watch({ source, silenceTimeoutMs: 60_000 });
    const events = eventsOf(watcher);
    await stage.clock.sleep(200_000);
    const reasons = events.flatMap((event) =>
      event.type === "state-changed" && event.to === "reconnecting" ? [event.reason] : [],
    );
    expect(reasons[0]).toContain("the parser met 0x00");
    expect(reasons[1]).toContain("ended its run without being told to");
    expect(reasons[2]).toContain("no sign of life for 60000 ms");
    expect(events).toContainEqual({ type: "source-silent", silentMs: 60_000 });
    expect(started.slice(0, 4)).toEqual([
      undefined,
      { epoch: "e1", cursor: "z0000000001" },
      { epoch: "e1", cursor: "z0000000002" },
      { epoch: "e1", cursor: "z0000000003" },
    ]);
    expect(await stage.log("k")).toEqual(started.map((_, run) => `${run + 1}`));
    await watcher.close();
  }));

test("H12: a run that ignores its end is left behind, and what it still says is not accepted", () =>
  onStage(async (stage) => {
    let runs = 0;
    const source = scripted(async (sink, signal, from) => {
      const run = ++runs;
      if (from === undefined) emptySnapshot(sink);
      sink.status({ state: "live" });
      put(sink, "k", `${run}`, run);
      if (run > 1) return await untilAborted(signal);
      await stage.clock.sleep(200_000);
      put(sink, "k", "from the grave", 900);
      sink.write({ type: "change", key: bytes("ghost"), value: bytes("1"), version: "v1" });
      await sink.ready();
    });
    const watcher = await stage.watch({ source, silenceTimeoutMs: 60_000, stopTimeoutMs: 5_000 });
    await stage.clock.sleep(110_000);
    expect(runs).toBe(2);
    await stage.clock.sleep(200_000);
    expect(await stage.log("k")).not.toContain("from the grave");
    expect(await stage.replica()).not.toHaveProperty("ghost");
    await watcher.close();
  }));

test("H12: a history that is closed under the watcher fails it visibly, and whoever waits is told", () =>
  onStage(async (stage) => {
    let isClosed = false;
    stage.around = (append, buffer) => {
      if (isClosed) return Promise.reject(new StoreWatchError("CLOSED", "the history is closed"));
      return append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    isClosed = true;
    stage.put("k", "1");
    await expect(watcher.waitFor("now")).rejects.toMatchObject({ code: "CLOSED" });
    expect(watcher.status().state).toBe("failed");
    expect(watcher.status().problem).toContain("Open a new watcher");
    await expect(watcher.waitFor("now")).rejects.toMatchObject({ code: "CLOSED" });
    await watcher.close();
  }));

test("H13: close() commits what was accepted", () =>
  onStage(async (stage) => {
    stage.around = async (append, buffer) => {
      await stage.clock.sleep(5_000);
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    for (let number = 0; number < 20; number++) stage.put("k", `${number}`);
    await stage.clock.sleep(100);
    expect(watcher.status().lag.pendingGroups).toBeGreaterThan(0);
    await Promise.all([watcher.close(), watcher.close()]);
    expect(await stage.log("k")).toEqual(Array.from({ length: 20 }, (_, number) => `${number}`));
    expect(watcher.status()).toMatchObject({ state: "stopped", problem: undefined });
  }));

for (const [way, stop] of Object.entries({
  "close({ flush: false })": (watcher: { close(options: { flush: boolean }): Promise<void> }) =>
    watcher.close({ flush: false }),
  "destroy()": async (watcher: { destroy(): void }) => watcher.destroy(),
})) {
  test(`H13: ${way} leaves the cursor before what was not committed, as a crash does`, () =>
    onStage(async (stage) => {
      let isStuck = false;
      stage.around = (append, buffer) => (isStuck ? new Promise(() => {}) : append(buffer));
      const source = stage.source();
      const first = await stage.watch({ source });
      stage.put("k", "1");
      const committed = await first.waitFor("now");
      isStuck = true;
      stage.put("k", "2");
      stage.put("k", "3");
      await stage.clock.sleep(1_000);
      await stop(first);
      expect(first.status().state).toBe("stopped");
      expect(await stage.durable()).toEqual(committed);
      isStuck = false;
      const second = await stage.watch({ source });
      await second.waitFor("now");
      expect(await stage.log("k")).toEqual(["1", "2", "3"]);
      expect(await stage.gaps()).toEqual([]);
      await second.close();
    }));
}

test("H13: close() says what it could not commit in time, and has stopped all the same", () =>
  onStage(async (stage) => {
    let isStuck = false;
    stage.around = (append, buffer) => (isStuck ? new Promise(() => {}) : append(buffer));
    const watcher = await stage.watch({ source: stage.source() });
    await watcher.waitFor("now");
    isStuck = true;
    stage.put("k", "1");
    await stage.clock.sleep(1_000);
    const startedMs = stage.clock.monotonic();
    await expect(watcher.close({ closeTimeoutMs: 7_000 })).rejects.toMatchObject({ code: "NOT_COMMITTED" });
    expect(stage.clock.monotonic() - startedMs).toBe(7_000);
    expect(watcher.status().state).toBe("stopped");
  }));

test("a stalled commit is told once per stallTimeoutMs and over when it is done", () =>
  onStage(async (stage) => {
    stage.around = async (append, buffer) => {
      if (buffer.decode().some(({ type }) => type === "change")) await stage.clock.sleep(95_000);
      return await append(buffer);
    };
    const watcher = await stage.watch({ source: stage.source(), stallTimeoutMs: 30_000 });
    await watcher.waitFor("now");
    const events = eventsOf(watcher);
    stage.put("k", "1");
    await watcher.waitFor("now");
    expect(events.filter(({ type }) => type === "commit-stalled")).toEqual([
      { type: "commit-stalled", forMs: 30_000 },
      { type: "commit-stalled", forMs: 60_000 },
      { type: "commit-stalled", forMs: 90_000 },
    ]);
    expect(watcher.status().isStalled).toBe(false);
    await watcher.close();
  }));

test("waitFor(now) tells when one's own write is in the history, also where nothing else ever happens", () =>
  onStage(async (stage) => {
    const watcher = await stage.watch({ source: stage.source({ heartbeatMs: hourMs }), silenceTimeoutMs: 24 * hourMs });
    for (let number = 0; number < 5; number++) {
      stage.put("mine", `${number}`);
      await watcher.waitFor("now");
      expect((await stage.replica())["mine"]).toBe(`${number}`);
      await stage.clock.sleep(600_000);
    }
    const before = stage.clock.monotonic();
    await watcher.waitFor("now");
    expect(stage.clock.monotonic() - before).toBeLessThan(1_000);
    await watcher.close();
  }));

test("every waiter settles: by its signal, by the end of the watcher, by the end of the epoch", () =>
  onStage(async (stage) => {
    const source = stage.source();
    const watcher = await stage.watch({ source });
    const { epoch } = await watcher.waitFor("now");
    const never = { epoch, cursor: "zzz" };
    const controller = new AbortController();
    const bySignal = watcher.waitFor(never, { signal: controller.signal });
    const byEpoch = watcher.waitFor(never);
    const other = watcher.waitFor({ epoch: "unheard of", cursor: "a1" });
    controller.abort(new Error("enough"));
    await expect(bySignal).rejects.toThrow("enough");
    stage.store.wipe();
    await expect(byEpoch).rejects.toMatchObject({ code: "EPOCH_CHANGED" });
    await expect(watcher.waitFor(never)).rejects.toMatchObject({ code: "EPOCH_CHANGED" });
    await watcher.close();
    await expect(other).rejects.toMatchObject({ code: "CLOSED" });
    await expect(watcher.waitFor("now")).rejects.toMatchObject({ code: "CLOSED" });
  }));

test("a source without a barrier says so", () =>
  onStage(async (stage) => {
    const watcher = await stage.watch({ source: scripted((_, signal) => untilAborted(signal)) });
    await expect(watcher.waitFor("now")).rejects.toMatchObject({ code: "NO_BARRIER" });
    await watcher.close();
  }));

test("a change that the check refuses is quarantined and the stream goes on", () =>
  onStage(async (stage) => {
    const watcher = await stage.watch({
      source: stage.source(),
      check({ value }) {
        if (value !== undefined && value.length > 3) throw new Error("at most three bytes");
      },
    });
    const events = eventsOf(watcher);
    await watcher.waitFor("now");
    stage.put("a", "1");
    stage.put("a", "too long");
    stage.put("b", "2");
    await watcher.waitFor("now");
    expect(await stage.replica()).toEqual({ a: "1", b: "2" });
    const refused = await stage.external(() => stage.history.quarantine(stage.name));
    expect(refused.map(({ error, state }) => [error, state])).toEqual([["at most three bytes", "open"]]);
    expect(watcher.status().quarantined).toBe(1);
    expect(events).toContainEqual({ type: "change-refused", key: bytes("a"), error: "at most three bytes" });
    await watcher.close();
  }));

test("a deletion that the check refuses is retried as a deletion", () =>
  onStage(async (stage) => {
    const watcher = await stage.watch({
      source: stage.source(),
      check({ value }) {
        if (value === undefined) throw new Error("nothing is deleted here");
      },
    });
    stage.put("a", "1");
    await watcher.waitFor("now");
    stage.store.delete(bytes("a"));
    await watcher.waitFor("now");
    expect(await stage.replica()).toEqual({ a: "1" });
    const [refused] = await stage.external(() => stage.history.quarantine(stage.name));
    expect(refused?.kind).toBe("delete");
    await stage.external(() => stage.history.retryQuarantined(refused!.id));
    expect(await stage.replica()).toEqual({});
    await watcher.close();
  }));

test("what a source fails to say about a loss is put on record by the watcher", () =>
  onStage(async (stage) => {
    let runs = 0;
    const source = scripted(async (sink, signal) => {
      const run = ++runs;
      sink.write({ type: "begin-snapshot", epoch: run === 3 ? "e2" : "e1" });
      sink.write({ type: "snapshot-end", cursor: `z000000000${run}` });
      sink.status({ state: "live" });
      await stage.clock.sleep(10, { signal });
      if (run < 3) throw new Error("again");
      await untilAborted(signal);
    });
    const watcher = await stage.watch({ source });
    await watcher.waitFor({ epoch: "e2", cursor: "z0000000003" });
    expect(await stage.gaps()).toEqual(["source-lost after z0000000001", "epoch-changed after z0000000002"]);
    await watcher.close();
  }));

for (const [what, script] of Object.entries({
  "a commit within a snapshot": (sink: FrameSink) => {
    sink.write({ type: "begin-snapshot", epoch: "e1" });
    sink.write({ type: "commit", cursor: "z1" });
  },
  "a deletion within a snapshot": (sink: FrameSink) => {
    sink.write({ type: "begin-snapshot", epoch: "e1" });
    sink.write({ type: "change", key: bytes("k"), value: undefined });
  },
  "the end of a snapshot that was not begun": (sink: FrameSink) => {
    sink.write({ type: "snapshot-end", cursor: "z1" });
  },
})) {
  test(`${what} ends the run and is named as a defect of the source`, () =>
    onStage(async (stage) => {
      const watcher = await stage.watch({ source: scripted(async (sink) => script(sink)) });
      await stage.clock.sleep(1_000);
      expect(watcher.status().state).toBe("reconnecting");
      expect(watcher.status().problem).toContain("broke the watch contract");
      expect(await stage.durable()).toBe(undefined);
      await watcher.close();
    }));
}

test("progress within a group does not move the cursor past the group", () =>
  onStage(async (stage) => {
    const source = scripted(async (sink, signal) => {
      emptySnapshot(sink);
      sink.write({ type: "change", key: bytes("k"), value: bytes("1"), version: "v1" });
      sink.write({ type: "progress", cursor: "z0000000009" });
      await untilAborted(signal);
    });
    const watcher = await stage.watch({ source });
    await stage.clock.sleep(10_000);
    expect(watcher.status().resume?.cursor).toBe("z0000000000");
    await watcher.close();
  }));

test("retry() ends the wait before the next run", () =>
  onStage(async (stage) => {
    let runs = 0;
    const source = scripted(async () => {
      runs++;
      throw new Error("refused");
    });
    const watcher = await stage.watch({ source, restart: { initialDelayMs: hourMs, maxDelayMs: 24 * hourMs } });
    await stage.clock.sleep(100);
    expect(runs).toBe(1);
    expect(watcher.status().nextAttemptAtMs).toBeGreaterThan(stage.clock.now());
    watcher.retry();
    await stage.clock.sleep(100);
    expect(runs).toBe(2);
    expect(watcher.status()).toMatchObject({ state: "reconnecting", reconnects: 2 });
    await watcher.close();
  }));

test("a source that fails at once is started more and more seldom (O8)", () =>
  onStage(async (stage) => {
    let runs = 0;
    const source = scripted(async (sink) => {
      runs++;
      sink.status({ state: "live" });
      throw new Error("refused");
    });
    const watcher = await stage.watch({ source });
    await stage.clock.sleep(hourMs);
    // Full jitter up to 30 s: 15 s on average.
    expect(runs).toBeGreaterThan(150);
    expect(runs).toBeLessThan(350);
    await watcher.close();
  }));

test("no promise is made per frame", () =>
  onStage(async (stage) => {
    const total = 20_000;
    let promises = 0;
    const hook = createHook({
      init(_, type) {
        if (type === "PROMISE") promises++;
      },
    });
    const source = scripted(async (sink, signal) => {
      emptySnapshot(sink);
      hook.enable();
      for (let revision = 1; revision <= total; revision++) put(sink, `k${revision % 100}`, "x", revision);
      hook.disable();
      await untilAborted(signal);
    });
    const watcher = await stage.watch({ source, check: () => {} });
    await watcher.waitFor({ epoch: "e1", cursor: `z${String(total).padStart(10, "0")}` });
    expect(promises).toBeLessThan(10);
    await watcher.close();
  }));

test("metrics hear of commits and states through diagnostics channels", () =>
  onStage(async (stage) => {
    const heard: unknown[] = [];
    const hear = (message: unknown) => heard.push(message);
    const names = ["tidemark:store-watch.state.changed", "tidemark:store-watch.batch.committed"];
    for (const name of names) subscribe(name, hear);
    const watcher = await stage.watch({ source: stage.source() });
    stage.put("k", "1");
    await watcher.waitFor("now");
    await watcher.close();
    for (const name of names) unsubscribe(name, hear);
    expect(heard).toContainEqual(expect.objectContaining({ name: stage.name, type: "state-changed", to: "live" }));
    expect(heard).toContainEqual(expect.objectContaining({ name: stage.name, type: "committed", versions: 1 }));
  }));

test("a new watcher of the same name goes on where the last one stopped", () =>
  onStage(async (stage) => {
    const first = await stage.watch({ source: stage.source() });
    stage.put("k", "1");
    await first.waitFor("now");
    await first.close();
    stage.put("k", "2");
    const source = stage.source();
    const second = await stage.watch({ source });
    await second.waitFor("now");
    expect(await stage.log("k")).toEqual(["1", "2"]);
    expect(source.stats.snapshots).toBe(0);
    expect(await stage.gaps()).toEqual([]);
    await second.close();
  }));

test("options out of bounds are refused with what was expected", async () => {
  const source = scripted((_, signal) => untilAborted(signal));
  const history = { openStream: () => Promise.reject(new Error("not reached")) };
  for (const [options, message] of [
    [{ maxBufferBytes: 0 }, "maxBufferBytes must be above 0, got 0"],
    [{ maxBufferBytes: 10, maxGroupBytes: 11 }, "maxGroupBytes must be at most maxBufferBytes (10), got 11"],
    [{ silenceTimeoutMs: -1 }, "silenceTimeoutMs must be above 0, got -1"],
    [{ flushIntervalMs: Number.NaN }, "flushIntervalMs must be at least 0, got NaN"],
  ] as const) {
    await expect(openWatcher({ source, history, name: "x", ...options })).rejects.toThrow(message);
  }
});
