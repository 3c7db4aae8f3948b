import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock, SeededRng } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { type History, openHistory, openWatcher, type VersionRecord, type Watcher } from "@tidemark/store-watch";
import type { Frame, FrameSink, Source } from "@tidemark/store-watch/contract";
import { FaultyHistory } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DeviceSource } from "../src/gnmi-source.ts";
import { resolveSource } from "../src/options.ts";
import { ReceiveTurn } from "../src/receive-turn.ts";
import { type DeviceOperation, type LinkFaults, SimulatedDevice, type SimulatedCall } from "./simulated-device.ts";

/** `TIDEMARK_SEEDS=1000-1999` runs these. */
const [first = 1, last = process.env.TIDEMARK_LONG === "1" ? 3_000 : 201] =
  process.env.TIDEMARK_SEEDS?.split("-").map(Number) ?? [];

let folder: string;
let history: History;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tidemark-gnmi-model-"));
  history = await openHistory({ file: join(folder, "history.db") });
});

afterAll(async () => {
  expect((await history.fsck()).findings).toEqual([]);
  await history.close();
  rmSync(folder, { recursive: true, force: true });
});

const totals: Record<string, number> = {};

test(`the history is what the device told, through every fault: seeds ${first} to ${last}`, {
  timeout: 3_600_000,
}, async () => {
  for (let seed = first; seed <= last; seed++) {
    try {
      await runWorld(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  // Faults that never strike prove nothing; a few seeds may not have all of them.
  const needed = "refused cut flapped halfOpen ended reordered noSync busy hang crash stop gaps".split(" ");
  if (last - first >= 200) expect(needed.filter((name) => !totals[name])).toEqual([]);
});

type Defect = (sink: FrameSink) => (frame: Frame) => boolean;

/** Bugs, put in between the source and the watcher: each must be found out. */
const mutants: Readonly<Record<string, Defect>> = {
  "one change in forty is lost": (sink) => {
    let seen = 0;
    return (frame) => (frame.type === "change" && ++seen % 40 === 0) || sink.write(frame);
  },
  "a snapshot lacks its last leaf": (sink) => {
    let held: Frame | undefined;
    let isSnapshot = false;
    return (frame) => {
      if (frame.type === "begin-snapshot") isSnapshot = true;
      if (frame.type === "snapshot-end") [isSnapshot, held] = [false, undefined];
      if (!isSnapshot || frame.type !== "change") return sink.write(frame);
      const before = held;
      held = copied(frame);
      return before === undefined || sink.write(before);
    };
  },
  "a group is held back until the next one": (sink) => {
    let held: Frame[] = [];
    let open: Frame[] = [];
    let isSnapshot = false;
    return (frame) => {
      if (frame.type === "begin-snapshot") isSnapshot = true;
      if (frame.type === "snapshot-end") isSnapshot = false;
      if (isSnapshot || (frame.type !== "change" && frame.type !== "commit")) return sink.write(frame);
      open.push(copied(frame));
      if (frame.type !== "commit") return true;
      for (const each of held) sink.write(each);
      [held, open] = [open, []];
      return true;
    };
  },
  "deletions are not told": (sink) => (frame) =>
    (frame.type === "change" && frame.value === undefined) || sink.write(frame),
  "every connection is the same epoch": (sink) => (frame) =>
    sink.write(frame.type === "begin-snapshot" ? { ...frame, epoch: "c1" } : frame),
};

test.each(Object.keys(mutants))("it is found out when %s", async (name) => {
  const defect = mutants[name] as Defect;
  const found = async () => {
    for (let seed = 1; seed <= 20; seed++) await runWorld(seed, `${name}-${seed}`, defect);
  };
  await expect(found()).rejects.toThrow();
});

test("the same seed makes the same world", async () => {
  expect(await runWorld(7, "again-1")).toBe(await runWorld(7, "again-2"));
});

/** O6: with nothing failing any more, everything is committed within this time. */
const healMs = 15 * 60_000;

async function runWorld(seed: number, stream = `seed-${seed}`, defect?: Defect): Promise<string> {
  const simulation = createSimulation({ seed, limitMs: 7 * 24 * 3_600_000 });
  return simulation.run(() => new World(simulation, stream, defect).live());
}

class World {
  readonly #simulation: Simulation;
  readonly #clock: Clock;
  readonly #rng: SeededRng;
  readonly #stream: string;
  readonly #defect: Defect | undefined;
  readonly #device: SimulatedDevice;
  readonly #faulty: FaultyHistory;
  /** Epochs in which accepted changes may be missing at their end: the process died, or lost its memory. */
  readonly #cutShort = new Set<string>();
  #source: DeviceSource;
  #watcher: Watcher | undefined;
  #reopening = Promise.resolve();
  #stops = 0;

  constructor(simulation: Simulation, stream: string, defect: Defect | undefined) {
    this.#simulation = simulation;
    this.#stream = stream;
    this.#defect = defect;
    const { clock, rng } = simulation;
    this.#clock = clock;
    this.#rng = rng;
    const plan = rng.fork("plan");
    this.#device = new SimulatedDevice({
      clock,
      rng: rng.fork("device"),
      faults: linkFaults(plan),
      epoch: () => `c${this.#source.stats().connections}`,
    });
    this.#source = this.#newSource();
    const some = (most: number) => (plan.float() < 0.5 ? 0 : plan.float() * most);
    this.#faulty = new FaultyHistory(history, {
      clock,
      rng: rng.fork("history"),
      faults: {
        delay: some(0.5),
        busy: some(0.4),
        hang: some(0.1),
        lost: some(0.05),
        unknown: some(0.05),
        crash: some(0.05),
      },
      hangMs: 3_600_000,
      external: (work) => simulation.external(work),
      onCrash: () => this.#die("crash"),
    });
  }

  async live(): Promise<string> {
    await this.#open();
    await this.#work();
    this.#device.heal();
    this.#faulty.heal();
    await this.#converge();
    await this.#reopening;
    await this.#watcher?.close();
    await this.#audit();
    return this.#simulation.trace.digest();
  }

  #newSource(): DeviceSource {
    return new DeviceSource(
      resolveSource({
        address: "http://127.0.0.1:9339",
        subscriptions: [{ path: "/" }],
        clock: this.#clock,
        rng: this.#rng.fork("source"),
        limiter: new ReconnectLimiter({ clock: this.#clock, ratePerSecond: 10, burst: 10 }),
      }),
      {
        openLink: () => this.#device.openLink(),
        turn: new ReceiveTurn(this.#clock, this.#rng.fork("turn").int(1, 500)),
      },
    );
  }

  async #open(): Promise<void> {
    const watcher = await openWatcher({
      source: this.#defect === undefined ? this.#source : defective(this.#source, this.#defect),
      history: this.#faulty,
      name: this.#stream,
      clock: this.#clock,
      rng: this.#rng.fork("watcher"),
      maxBufferBytes: 6_000,
      maxGroupBytes: 3_000,
      silenceTimeoutMs: 600_000,
      commitRetry: { maxAttempts: Number.POSITIVE_INFINITY },
    });
    this.#watcher = watcher;
    void this.#listen(watcher);
  }

  async #listen(watcher: Watcher): Promise<void> {
    for await (const event of watcher.events()) {
      if (event.type === "state-changed") this.#simulation.trace.record(`${event.from} → ${event.to}: ${event.reason}`);
      else this.#simulation.trace.record(event.type);
      if (event.type !== "dropped") continue;
      // The memory is gone, with all that was accepted and not committed.
      for (let epoch = committedEpoch(watcher); epoch <= this.#source.stats().connections; epoch++) {
        this.#cutShort.add(`c${epoch}`);
      }
    }
  }

  /** The process ends without a word, and another one begins. */
  #die(why: "crash" | "stop"): void {
    const watcher = this.#watcher;
    if (watcher === undefined) return;
    if (why === "stop") this.#stops++;
    this.#watcher = undefined;
    for (let epoch = committedEpoch(watcher); epoch <= this.#source.stats().connections; epoch++) {
      this.#cutShort.add(`c${epoch}`);
    }
    watcher.destroy(new Error(why));
    this.#reopening = this.#clock.sleep(this.#rng.int(0, 3_000)).then(() => {
      this.#source = this.#newSource();
      return this.#open();
    });
  }

  async #work(): Promise<void> {
    const rng = this.#rng.fork("work");
    const paths = ["/a/x", "/a/y", "/a/z/p", "/a/z/q", "/b/x", "/c", "/d/e/f", "/d/e/g"];
    let value = 0;
    for (let count = rng.int(10, 36); count > 0; count--) {
      const updates = Array.from({ length: rng.pick([0, 1, 1, 1, 2, 4]) }, () => {
        return [rng.pick(paths), rng.float() < 0.1 ? value : ++value] as const;
      });
      const draw = rng.float();
      let operation: DeviceOperation;
      if (draw < 0.15) operation = { deletes: [rng.pick([...paths, "/a", "/a/z", "/d", "/"])], updates: [] };
      else if (draw < 0.3) operation = { deletes: [rng.pick(["/a", "/a/z", "/d/e"])], updates };
      else if (draw < 0.4) {
        const atomic = rng.pick(["/a", "/d/e"]);
        operation = { deletes: [], atomic, updates: updates.filter(([path]) => path.startsWith(`${atomic}/`)) };
      } else operation = { deletes: [], updates };
      if (operation.deletes.length + operation.updates.length > 0 || operation.atomic !== undefined) {
        this.#device.apply(operation);
      }
      const pause = rng.float();
      if (pause < 0.5) await this.#clock.sleep(rng.int(0, 5));
      else if (pause < 0.9) await this.#clock.sleep(rng.int(0, 1_500));
      else await this.#clock.sleep(rng.int(0, 150_000));
      if (rng.float() < 0.01) this.#die("stop");
    }
  }

  async #converge(): Promise<void> {
    const limitMs = this.#clock.monotonic() + healMs;
    // A value that is nowhere else: what shows it has everything before it.
    this.#device.apply({ deletes: [], updates: [["/end", 1]] });
    while (this.#clock.monotonic() < limitMs) {
      await this.#reopening;
      await this.#clock.sleep(1_000);
      const status = this.#watcher?.status();
      if (status?.state !== "live" || status.lag.pendingChanges > 0 || status.inflightBytes > 0) continue;
      const shown = await this.#simulation.external(() => history.get(this.#stream, Buffer.from("/end")));
      if (shown !== undefined) return;
    }
    throw new Error(`O6: not caught up after ${healMs} ms: ${JSON.stringify(this.#watcher?.status())}`);
  }

  async #audit(): Promise<void> {
    const name = this.#stream;
    const [records, current, gaps] = await this.#simulation.external(async () => [
      (await history.changes(0n, { limit: 10_000, stream: name })).items,
      (await history.list({ stream: name }, { limit: 1_000 })).items,
      await history.gaps(name),
    ]);
    // O1: what is there now is what the device has.
    expect(mapOf(current)).toEqual(this.#device.tree);
    // O2: epoch by epoch, what the device told over that connection and nothing else.
    const calls = new Map<string, SimulatedCall>();
    for (const call of this.#device.calls) if (call.base !== undefined) calls.set(call.epochName ?? "", call);
    const state = new Map<string, number>();
    const epochs = [...new Set(records.map(({ epoch }) => epoch))];
    for (const [index, epoch] of epochs.entries()) {
      const call = calls.get(epoch);
      if (call?.base === undefined)
        throw new Error(`O2: ${epoch} is in the history, and the device knows nothing of it`);
      const ours = records.filter((record) => record.epoch === epoch);
      const snapshot = ours.filter(({ via }) => via !== "stream");
      const stream = ours.filter(({ via }) => via === "stream").map(shownAs);
      for (const { key, kind, value } of snapshot) {
        if (kind === "put") state.set(String(Buffer.from(key)), Number(Buffer.from(value ?? "")));
        else state.delete(String(Buffer.from(key)));
      }
      expect(state, `${epoch}: its snapshot`).toEqual(new Map(call.base));
      // H7: whole notifications, in the order in which they came; within one its leaves have no order.
      let at = 0;
      const told: string[][] = [];
      for (const { length } of call.changes) {
        if (at >= stream.length) break;
        told.push(stream.slice(at, at + length).toSorted());
        at += length;
      }
      const mayEndEarly = this.#cutShort.has(epoch) && index < epochs.length - 1;
      const expected = mayEndEarly ? call.changes.slice(0, told.length) : call.changes;
      expect(told, `${epoch}: its changes`).toEqual(expected);
      expect(stream.length, `${epoch}: changes that nobody told`).toBeLessThanOrEqual(at);
      for (const record of ours.filter(({ via }) => via === "stream")) {
        if (record.kind === "put") state.set(String(Buffer.from(record.key)), Number(Buffer.from(record.value ?? "")));
        else state.delete(String(Buffer.from(record.key)));
      }
    }
    // A device cannot resume: each epoch but the first begins behind a gap.
    expect(gaps.length, "gaps").toBeGreaterThanOrEqual(epochs.length - 1);
    for (const { reason } of gaps) expect(["disconnected", "epoch-changed"]).toContain(reason);
    const { counts } = this.#device;
    count({ ...counts, ...this.#faulty.counts, gaps: gaps.length, stop: this.#stops, epochs: epochs.length });
  }
}

function count(counts: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + value;
}

function defective(source: Source, defect: Defect): Source {
  const { kind, description, scope, capabilities } = source;
  const run: Source["run"] = (from, sink, signal) =>
    source.run(
      from,
      {
        write: defect(sink),
        ready: (given) => sink.ready(given),
        alive: () => sink.alive(),
        status: (status) => sink.status(status),
      },
      signal,
    );
  return { kind, description, scope, capabilities, run };
}

/** A frame is the source's again once `write` returned. */
function copied(frame: Frame): Frame {
  return frame.type === "change" && frame.value !== undefined ? { ...frame, value: frame.value.slice() } : { ...frame };
}

function committedEpoch(watcher: Watcher): number {
  return Number(watcher.status().resume?.epoch.slice(1) ?? 0);
}

function shownAs({ key, kind, value }: VersionRecord): string {
  const path = String(Buffer.from(key));
  return kind === "put" ? `${path}=${String(Buffer.from(value ?? ""))}` : `${path} gone`;
}

function mapOf(records: readonly VersionRecord[]): Map<string, number> {
  return new Map(records.map(({ key, value }) => [String(Buffer.from(key)), Number(Buffer.from(value ?? ""))]));
}

/** Each fault is there or not, and as bad as the seed says. */
function linkFaults(plan: SeededRng): LinkFaults {
  const some = (most: number) => (plan.float() < 0.5 ? 0 : plan.float() * most);
  return {
    refuse: some(0.5),
    disconnect: some(0.1),
    flap: some(0.5),
    halfOpen: some(0.03),
    delay: some(0.3),
    status: some(0.05),
    reorder: some(0.5),
    unreadable: some(0.05),
    noSync: some(0.3),
    refuseOnChange: some(0.2),
  };
}
