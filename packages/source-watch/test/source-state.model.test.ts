import { create } from "@bufbuild/protobuf";
import { systemClock } from "@tidemark/clock";
import { type Frame, parseSortableInteger, sortableInteger } from "@tidemark/store-watch/contract";
import { SourceProbe } from "@tidemark/store-watch/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/tidemark/watch/v1/watch_pb.ts";
import { initialSourceState, nextSource, type Refusal, resumeMarkerOf } from "../src/source-state.ts";

interface Change {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
}

interface Run {
  readonly first: number;
  readonly incarnation: string;
}

interface Data {
  readonly storeId: string;
  readonly log: readonly Change[];
  readonly floor: number;
  readonly runs: readonly Run[];
}

/** The store as its protocol shows it, small enough to be obviously right. */
class ModelStore {
  #names = 0;
  #data: Data;
  #incarnation: string;
  #backup: Data | undefined;

  constructor() {
    this.#incarnation = this.#name("run");
    this.#data = this.#empty();
  }

  get revision(): number {
    return this.#data.log.at(-1)?.revision ?? 0;
  }

  write(key: string, value: string | undefined): void {
    if (value === undefined && !this.stateAt(this.revision).has(key)) return;
    const change = { revision: this.revision + 1, key, value };
    const { runs } = this.#data;
    const isNewRun = runs.at(-1)?.incarnation !== this.#incarnation;
    const run = { first: change.revision, incarnation: this.#incarnation };
    this.#data = { ...this.#data, log: [...this.#data.log, change], runs: isNewRun ? [...runs, run] : runs };
  }

  compact(back: number): void {
    this.#data = { ...this.#data, floor: Math.max(this.#data.floor, this.revision - back) };
  }

  restart(): void {
    this.#incarnation = this.#name("run");
  }

  wipe(): void {
    this.restart();
    this.#data = this.#empty();
  }

  backUp(): void {
    this.#backup = this.#data;
  }

  restore(): void {
    this.restart();
    this.#data = this.#backup ?? this.#data;
  }

  stateAt(revision: number): Map<string, Change> {
    const state = new Map<string, Change>();
    for (const change of this.#data.log) {
      if (change.revision > revision) break;
      if (change.value === undefined) state.delete(change.key);
      else state.set(change.key, change);
    }
    return state;
  }

  /** One stream from its beginning, as it would be if nothing were written from now on. */
  *watch(marker: string): Generator<WatchResponse | Refusal> {
    const { storeId } = this.#data;
    const peer = { storeId, incarnation: this.#incarnation };
    let position = this.revision;
    if (marker === "") {
      const at = this.#marker(position);
      yield create(WatchResponseSchema, { ...peer, kind: { case: "snapshotBegin", value: { marker: at } } });
      for (const { key, value, revision } of this.stateAt(position).values()) {
        const kv = { key: Buffer.from(key), value: Buffer.from(value ?? ""), modRevision: BigInt(revision) };
        yield create(WatchResponseSchema, { kind: { case: "snapshotPage", value: { kvs: [kv] } } });
      }
      yield create(WatchResponseSchema, { kind: { case: "snapshotEnd", value: { marker: at } } });
    } else {
      position = Number(parseSortableInteger(marker.slice(0, marker.indexOf("."))));
      if (position > this.revision || this.#marker(position) !== marker) return yield { reason: "epoch-changed" };
      if (position < this.#data.floor) return yield { reason: "compacted", incarnation: this.#incarnation };
      yield create(WatchResponseSchema, { ...peer, kind: { case: "progress", value: { marker } } });
    }
    for (const { revision, key, value } of this.#data.log.filter((change) => change.revision > position)) {
      const changes = [{ key: Buffer.from(key), ...(value !== undefined && { value: Buffer.from(value) }) }];
      const transactions = [{ revision: BigInt(revision), marker: this.#marker(revision), changes }];
      yield create(WatchResponseSchema, { kind: { case: "transactions", value: { transactions } } });
    }
    yield create(WatchResponseSchema, { kind: { case: "progress", value: { marker: this.#marker(this.revision) } } });
  }

  #marker(revision: number): string {
    const run = this.#data.runs.findLast(({ first }) => first <= revision);
    return `${sortableInteger(revision)}.${run?.incarnation}`;
  }

  #empty(): Data {
    return { storeId: this.#name("store"), log: [], floor: 0, runs: [{ first: 0, incarnation: this.#incarnation }] };
  }

  #name(what: string): string {
    return `${what}${++this.#names}`;
  }
}

/** A stream of at most so many messages, cut after them. */
class Follower {
  readonly probe = new SourceProbe(systemClock, 1000);
  readonly frames: Frame[] = [];
  #state = initialSourceState(undefined);

  connect(store: ModelStore, messages: number): void {
    let left = messages;
    for (const answer of store.watch(resumeMarkerOf(this.#state))) {
      if (left-- === 0) break;
      if ("reason" in answer) this.#apply({ type: "refused", refusal: answer });
      else this.#apply({ type: "message", message: answer });
    }
    this.#apply({ type: "disconnected" });
  }

  #apply(event: Parameters<typeof nextSource>[1]): void {
    const [state, frames] = nextSource(this.#state, event);
    this.#state = state;
    for (const frame of frames) {
      this.frames.push(frame);
      this.probe.write(frame);
    }
  }
}

const keys = fc.constantFrom("a", "b");
type Step = (store: ModelStore, follower: Follower, n: number) => void;
const step = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary });
const steps = fc.oneof(
  step(
    4,
    keys.map(
      (key): Step =>
        (store, _, n) =>
          store.write(key, `${n}`),
    ),
  ),
  step(
    1,
    keys.map(
      (key): Step =>
        (store) =>
          store.write(key, undefined),
    ),
  ),
  step(
    5,
    fc.nat(6).map(
      (messages): Step =>
        (store, follower) =>
          follower.connect(store, messages),
    ),
  ),
  step(
    1,
    fc.nat(3).map(
      (back): Step =>
        (store) =>
          store.compact(back),
    ),
  ),
  step(
    1,
    fc.constant<Step>((store) => store.restart()),
  ),
  step(
    1,
    fc.constant<Step>((store) => store.backUp()),
  ),
  step(
    1,
    fc.constant<Step>((store) => store.restore()),
  ),
  step(
    1,
    fc.constant<Step>((store) => store.wipe()),
  ),
);

test("V1: however a store is wiped, restored, compacted and cut off, a version names one value in its epoch", () => {
  fc.assert(
    fc.property(fc.array(steps, { size: "large", maxLength: 60 }), (walk) => {
      const store = new ModelStore();
      const follower = new Follower();
      for (const [n, take] of walk.entries()) take(store, follower, n);
      for (let attempt = 0; attempt < 3; attempt++) follower.connect(store, Number.POSITIVE_INFINITY);

      const { probe, frames } = follower;
      const seen = new Set([...probe.state.values()].map((value) => Buffer.from(value).toString()));
      expect(seen).toEqual(new Set([...store.stateAt(store.revision).values()].map(({ value }) => value)));
      expect(probe.state.size).toBe(store.stateAt(store.revision).size);
      const meanings = new Map<string, string>();
      let epoch = "";
      for (const frame of frames) {
        if (frame.type === "begin-snapshot" || frame.type === "reset") epoch = frame.epoch;
        if (frame.type !== "change") continue;
        const name = `${epoch} ${Buffer.from(frame.key).toString()} ${frame.version}`;
        const meaning = frame.value === undefined ? "deleted" : `=${Buffer.from(frame.value).toString()}`;
        expect(meanings.get(name) ?? meaning, name).toBe(meaning);
        meanings.set(name, meaning);
      }
    }),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 50_000 : 2000 },
  );
});
