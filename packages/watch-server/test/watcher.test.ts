import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { RowWriter } from "../src/database/packed-rows.ts";
import type { BelowFloor, ListAnswer, LogAnswer } from "../src/database/store-reader.ts";
import type { WatchEvent } from "../src/index.ts";
import { Tail } from "../src/tail.ts";
import { Timeline } from "../src/timeline.ts";
import { type Pin, Watcher, type WatcherHost } from "../src/watcher.ts";
import { storeFile, testStore, watchUntil } from "./support.ts";

/** A store in virtual time: its log is in the tail, so nothing real is waited for. */
class Host implements WatcherHost {
  readonly clock;
  readonly storeId = "s";
  readonly incarnation = "i";
  readonly timeline = new Timeline([{ firstRevision: 0, incarnation: "i" }]);
  readonly tail = new Tail(1_000_000);
  readonly watchers = new Set<Watcher>();
  readonly pins = new Set<Pin>();
  head = 0;
  floor = 0;

  constructor(simulation: Simulation) {
    this.clock = simulation.clock;
  }

  commit(key: string): void {
    this.head++;
    const changes = [{ key: Buffer.from(key), value: Buffer.from("v") }];
    const marker = this.timeline.marker(this.head);
    this.tail.push(this.head, { revision: BigInt(this.head), marker, committedAtMs: 0, changes });
    for (const watcher of this.watchers) watcher.wake();
  }

  attach(watcher: Watcher): void {
    this.watchers.add(watcher);
  }

  detach(watcher: Watcher): void {
    this.watchers.delete(watcher);
  }

  pin(revision: number): Pin {
    const pin = { revision };
    this.pins.add(pin);
    return pin;
  }

  unpin(pin: Pin): void {
    this.pins.delete(pin);
  }

  async readList(): Promise<ListAnswer> {
    return { revision: this.head, rows: new RowWriter().finish(), count: 0, scannedTo: undefined };
  }

  async readLog(): Promise<LogAnswer | BelowFloor> {
    throw new Error("the tail has everything");
  }
}

/** Reads in the background and notes when what came. */
function collect(simulation: Simulation, watcher: Watcher): string[] {
  const seen: string[] = [];
  const read = async () => {
    for await (const event of watcher) seen.push(`${simulation.clock.monotonic()} ${show(event)}`);
  };
  read().catch((error: unknown) => seen.push(`${simulation.clock.monotonic()} ${String(error)}`));
  return seen;
}

function show(event: WatchEvent): string {
  if (event.type === "transactions") return event.transactions.map(({ revision }) => `tx ${revision}`).join(" ");
  return "marker" in event ? `${event.type} ${event.marker}` : event.type;
}

test("an idle watch says where it is at its interval, and nothing more", async () => {
  const simulation = createSimulation({ seed: 1 });
  const host = new Host(simulation);
  const seen = collect(simulation, new Watcher(host, { resumeMarker: "a0.i", progressIntervalMs: 1000 }));
  await simulation.advance(3500);
  expect(seen).toEqual(["0 progress a0.i", "1000 progress a0.i", "2000 progress a0.i", "3000 progress a0.i"]);
  host.commit("a");
  await simulation.advance(1500);
  expect(seen.slice(4)).toEqual(["3500 tx 1", "4500 progress a1.i"]);
});

test("changes of other keys move a watch on within 100 ms, once for any number of them", async () => {
  const simulation = createSimulation({ seed: 2 });
  const host = new Host(simulation);
  const watcher = new Watcher(host, { range: { prefix: "a" }, resumeMarker: "a0.i", progressIntervalMs: 60_000 });
  const seen = collect(simulation, watcher);
  await simulation.advance(1000);
  for (let n = 0; n < 50; n++) {
    host.commit("b");
    await simulation.advance(1);
  }
  await simulation.advance(1000);
  expect(seen).toEqual(["0 progress a0.i", "1000 progress a1.i", "1100 progress b50.i"]);
});

test("a watch that begins with a snapshot pins it until it has caught up once", async () => {
  const simulation = createSimulation({ seed: 3 });
  const host = new Host(simulation);
  host.commit("a");
  const watcher = new Watcher(host, {});
  const events: WatchEvent[] = [];
  const next = async () => events.push((await simulation.run(() => watcher.next())).value as WatchEvent);
  await next();
  expect([...host.pins]).toEqual([{ revision: 1 }]);
  host.commit("b");
  await next();
  await next();
  expect(events.map(({ type }) => type)).toEqual(["snapshot-begin", "snapshot-page", "snapshot-end"]);
  expect([...host.pins]).toEqual([{ revision: 1 }]);
  await next();
  expect(host.pins.size).toBe(0);
  await watcher.return();
  expect(host.watchers.size).toBe(0);
});

test("leaving a watch ends a next() that is waiting, and lets go of pin, timer and signal", async () => {
  const simulation = createSimulation({ seed: 4 });
  const host = new Host(simulation);
  const controller = new AbortController();
  const watcher = new Watcher(host, { resumeMarker: "a0.i", signal: controller.signal });
  await simulation.run(() => watcher.next());
  const waiting = watcher.next();
  await simulation.settle();
  void watcher.return();
  expect(await simulation.run(() => waiting)).toEqual({ done: true, value: undefined });
  expect(simulation.pending()).toEqual([]);
  expect(host.watchers.size).toBe(0);
  expect(await watcher.next()).toEqual({ done: true, value: undefined });
});

test("an aborted signal ends a watch with its reason, before and while it waits", async () => {
  const simulation = createSimulation({ seed: 5 });
  const host = new Host(simulation);
  const reason = new Error("enough");
  await expect(new Watcher(host, { signal: AbortSignal.abort(reason) }).next()).rejects.toBe(reason);
  const controller = new AbortController();
  const watcher = new Watcher(host, { resumeMarker: "a0.i", signal: controller.signal });
  await simulation.run(() => watcher.next());
  const waiting = watcher.next();
  await simulation.settle();
  controller.abort(reason);
  await expect(simulation.run(() => waiting)).rejects.toBe(reason);
  expect(simulation.pending()).toEqual([]);
});

test("what comes of a read that was under way does not hide why a watch ended before", async () => {
  const simulation = createSimulation({ seed: 7 });
  const reason = new Error("enough");
  const underWay = async (end: (watcher: Watcher, controller: AbortController) => void) => {
    const host = new Host(simulation);
    const { promise: answer, resolve } = Promise.withResolvers<BelowFloor>();
    host.readLog = () => answer;
    host.head = 3;
    const controller = new AbortController();
    const watcher = new Watcher(host, { resumeMarker: "a1.i", signal: controller.signal });
    await simulation.run(() => watcher.next());
    const waiting = watcher.next();
    await simulation.settle();
    end(watcher, controller);
    resolve({ floor: 2 });
    return simulation.run(() => waiting);
  };
  await expect(underWay((_, controller) => controller.abort(reason))).rejects.toBe(reason);
  expect(await underWay((watcher) => void watcher.return())).toEqual({ done: true, value: undefined });
  await expect(underWay(() => {})).rejects.toMatchObject({ code: "TOO_OLD" });
});

test("a watch that was ended holds nothing back, also where nobody reads it any more", async () => {
  const simulation = createSimulation({ seed: 6 });
  const host = new Host(simulation);
  host.commit("a");
  const reason = new Error("enough");
  const controller = new AbortController();
  const aborted = new Watcher(host, { signal: controller.signal });
  const stopped = new Watcher(host, {});
  for (const watcher of [aborted, stopped]) await simulation.run(() => watcher.next());
  expect([host.watchers.size, host.pins.size]).toEqual([2, 2]);
  controller.abort(reason);
  stopped.stop(reason);
  expect([host.watchers.size, host.pins.size]).toEqual([0, 0]);
  for (const watcher of [aborted, stopped]) await expect(simulation.run(() => watcher.next())).rejects.toBe(reason);
});

test("compaction does not wait for a watch that was aborted in the middle of its snapshot", async () => {
  const file = storeFile();
  const store = await testStore({ file });
  await store.put("a", "1");
  const controller = new AbortController();
  const watch = store.watch({ signal: controller.signal });
  await watch.next();
  await store.put("a", "2");
  controller.abort();
  expect(store.watchers).toBe(0);
  await store.compact(2n);
  await store.close();
  const database = new Database(file, { readonly: true });
  onTestFinished(() => void database.close());
  expect(database.prepare("SELECT revision FROM changes").pluck().all()).toEqual([2]);
});

test("a commit wakes every watch at once, not at its next sign of life", async () => {
  const store = await testStore();
  const watches = Array.from({ length: 5 }, () => store.watch({ progressIntervalMs: 3_600_000 }));
  const seen = watches.map((watch) => watchUntil(watch, 3n));
  await store.put("a", "1");
  await store.put("a", "2");
  await store.put("a", "3");
  for (const { state } of await Promise.all(seen)) expect([...state]).toEqual([["a", "3"]]);
});

test("a watch that nobody reads holds nothing but its position, and then shows everything", async () => {
  const store = await testStore({ tailBytes: 10_000 });
  const watch = store.watch({ progressIntervalMs: 100 });
  await watch.next();
  for (let n = 0; n < 20; n++) {
    await Promise.all(Array.from({ length: 100 }, (_, m) => store.put(`k${m}`, `${n}${"x".repeat(500)}`)));
  }
  const { log } = await watchUntil(watch, 2000n);
  expect(log).toHaveLength(2000);
  expect(log.map((line) => Number(line.split(" ")[0]))).toEqual(Array.from({ length: 2000 }, (_, n) => n + 1));
});

test("compaction during a snapshot does not take it away, and a watch behind the floor is told so", async () => {
  const store = await testStore({ tailBytes: 0 });
  for (let n = 0; n < 4; n++) await store.put(`k${n}`, "x".repeat(200_000));
  const slow = store.watch();
  await slow.next();
  const behind = store.watch({ resumeMarker: (await store.status()).marker });
  await behind.next();
  for (let n = 0; n < 4; n++) await store.put(`k${n}`, "y");
  await store.compact(8n);
  for (let n = 0; n < 4; n++) await store.put(`k${n}`, "z");
  await expect(behind.next()).rejects.toMatchObject({ code: "TOO_OLD" });
  const { state, log } = await watchUntil(slow, 12n);
  expect(log).toEqual(["5 k0=y", "6 k1=y", "7 k2=y", "8 k3=y", "9 k0=z", "10 k1=z", "11 k2=z", "12 k3=z"]);
  expect([...state.values()]).toEqual(["z", "z", "z", "z"]);
});
