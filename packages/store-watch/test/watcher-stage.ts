import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { afterAll } from "vitest";
import type { FrameSink, ResumePoint, Source, SourceCapabilities } from "../src/contract.ts";
import type { FrameBuffer } from "../src/frame-buffer.ts";
import type { AppendResult, History, HistoryStream } from "../src/history-types.ts";
import { openHistory } from "../src/index.ts";
import { createReferenceStore, type ReferenceStore } from "../src/testing/reference-store.ts";
import {
  createSimulatedSource,
  type SimulatedSource,
  type SimulatedSourceOptions,
} from "../src/testing/simulated-source.ts";
import { openWatcher } from "../src/watcher.ts";
import type { Watcher, WatcherEvent, WatcherOptions } from "../src/watcher-types.ts";

const folder = mkdtempSync(join(tmpdir(), "tidemark-watcher-"));
let opened: Promise<History> | undefined;
let streams = 0;

/** One real database for a whole test file: every test has a stream of its own. */
export function sharedHistory(): Promise<History> {
  opened ??= openHistory({ file: join(folder, "shared.db") });
  return opened;
}

afterAll(async () => {
  await (await opened)?.close();
  rmSync(folder, { recursive: true, force: true });
});

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

const everything: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

/** A source that does what the test says. */
export function scripted(
  run: (sink: FrameSink, signal: AbortSignal, from: ResumePoint | undefined) => Promise<void>,
  capabilities: Partial<SourceCapabilities> = {},
): Source {
  return {
    kind: "scripted",
    description: "a script",
    scope: "everything",
    capabilities: { ...everything, ...capabilities },
    run: (from, sink, signal) => run(sink, signal, from),
  };
}

/** Waits until the watcher ends the run. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

type Append = (buffer: FrameBuffer) => Promise<AppendResult>;

/** Everything a test of the watcher needs, on the real history and in virtual time. */
export class Stage {
  readonly simulation: Simulation;
  readonly store: ReferenceStore = createReferenceStore();
  readonly name = `stream-${++streams}`;
  readonly history: History;
  /** What stands between the watcher and the history's append. */
  around: (append: Append, buffer: FrameBuffer) => Promise<AppendResult> = (append, buffer) => append(buffer);
  /** How often the stream was opened. */
  opens = 0;

  constructor(history: History, seed: number) {
    this.history = history;
    this.simulation = createSimulation({ seed });
  }

  get clock() {
    return this.simulation.clock;
  }

  source(options: Partial<SimulatedSourceOptions> = {}): SimulatedSource {
    const { clock, rng } = this.simulation;
    return createSimulatedSource(this.store, { clock, rng: rng.fork("source"), ...options });
  }

  async watch(options: Partial<WatcherOptions> & { readonly source: Source }): Promise<Watcher> {
    const { clock, rng } = this.simulation;
    return await openWatcher({
      history: { openStream: (each) => this.#open(each) },
      name: this.name,
      clock,
      rng,
      ...options,
    });
  }

  put(key: string, value: string): bigint {
    return this.store.put(bytes(key), bytes(value));
  }

  /** The live keys of the stream, as the history has them. */
  async replica(): Promise<Record<string, string | undefined>> {
    const { items } = await this.#external(() => this.history.list({ stream: this.name }, { limit: 10_000 }));
    return Object.fromEntries(items.map(({ key, value }) => [textOf(key), textOf(value)]));
  }

  /** A key's values, oldest first; undefined: it was deleted. */
  async log(key: string): Promise<(string | undefined)[]> {
    const { items } = await this.#external(() => this.history.log(this.name, bytes(key), { limit: 10_000 }));
    return items.map(({ value }) => textOf(value)).reverse();
  }

  async gaps(): Promise<string[]> {
    return (await this.#external(() => this.history.gaps(this.name))).map(
      ({ reason, from }) => `${reason} after ${from}`,
    );
  }

  /** What the database says, whatever anybody remembers. */
  async durable(): Promise<ResumePoint | undefined> {
    const all = await this.#external(() => this.history.streams());
    const record = all.find(({ name }) => name === this.name);
    return record?.epoch === undefined || record.cursor === undefined
      ? undefined
      : { epoch: record.epoch, cursor: record.cursor };
  }

  external<T>(work: () => Promise<T>): Promise<T> {
    return this.#external(work);
  }

  #external<T>(work: () => Promise<T>): Promise<T> {
    return this.simulation.external(work);
  }

  async #open(options: Parameters<History["openStream"]>[0]): Promise<HistoryStream> {
    this.opens++;
    const stream = await this.#external(() => this.history.openStream(options));
    const append: Append = (buffer) => this.#external(() => stream.append(buffer));
    return {
      name: stream.name,
      get resume() {
        return stream.resume;
      },
      append: (buffer) => this.around(append, buffer),
    };
  }
}

/** Runs a test in virtual time over the real history. */
export async function onStage<T>(play: (stage: Stage) => Promise<T>, seed = 1): Promise<T> {
  const stage = new Stage(await sharedHistory(), seed);
  return await stage.simulation.run(() => play(stage));
}

/** Collects what a watcher says from now on. */
export function eventsOf(watcher: Watcher): WatcherEvent[] {
  const events: WatcherEvent[] = [];
  void (async () => {
    for await (const event of watcher.events()) events.push(event);
  })();
  return events;
}
