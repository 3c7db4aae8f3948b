import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Frame, ResumePoint } from "@tidemark/store-watch/contract";
import { expect, test } from "vitest";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/tidemark/watch/v1/watch_pb.ts";
import {
  initialSourceState,
  nextSource,
  type Refusal,
  resumeMarkerOf,
  type SourceEvent,
  type SourceState,
} from "../src/source-state.ts";

const key = new Uint8Array([1]);
const value = new Uint8Array([2]);

type Kind = NonNullable<MessageInitShape<typeof WatchResponseSchema>["kind"]>;

function message(kind: Kind, peer: { storeId?: string; incarnation?: string } = {}): SourceEvent {
  return { type: "message", message: create(WatchResponseSchema, { ...peer, kind }) as WatchResponse };
}

const peer = { storeId: "s", incarnation: "i1" };
const begin = (incarnation = "i1", marker = "a5.x") =>
  message({ case: "snapshotBegin", value: { marker } }, { ...peer, incarnation });
const page = message({ case: "snapshotPage", value: { kvs: [{ key, value, modRevision: 12n }] } });
const end = (marker = "a5.x") => message({ case: "snapshotEnd", value: { marker } });
const progress = (marker: string) => message({ case: "progress", value: { marker } });
const transactions = message({
  case: "transactions",
  value: {
    transactions: [
      { revision: 6n, marker: "a6.x", committedAtMs: 99n, changes: [{ key, value }, { key: new Uint8Array([9]) }] },
      { revision: 12n, marker: "b12.x", committedAtMs: 100n, changes: [{ key, value }] },
    ],
  },
});
const refused = (refusal: Refusal): SourceEvent => ({ type: "refused", refusal });
const disconnected: SourceEvent = { type: "disconnected" };
const at: ResumePoint = { epoch: "s/i0", cursor: "a3.x" };

function run(from: ResumePoint | undefined, ...events: SourceEvent[]): { state: SourceState; frames: Frame[] } {
  let state = initialSourceState(from);
  const frames: Frame[] = [];
  for (const event of events) {
    const [next, more] = nextSource(state, event);
    state = next;
    frames.push(...more);
  }
  return { state, frames };
}

test("a first snapshot, then transactions as groups, then progress", () => {
  const { state, frames } = run(undefined, begin(), page, end(), transactions, progress("b13.x"));
  expect(frames).toEqual([
    { type: "begin-snapshot", epoch: "s/i1" },
    { type: "change", key, value, version: "b12" },
    { type: "snapshot-end", cursor: "a5.x" },
    { type: "change", key, value, version: "a6", sourceTimeMs: 99 },
    { type: "change", key: new Uint8Array([9]), value: undefined, version: "a6", sourceTimeMs: 99 },
    { type: "commit", cursor: "a6.x", sourceTimeMs: 99 },
    { type: "change", key, value, version: "b12", sourceTimeMs: 100 },
    { type: "commit", cursor: "b12.x", sourceTimeMs: 100 },
    { type: "progress", cursor: "b13.x" },
  ]);
  expect(state.at).toEqual({ epoch: "s/i1", cursor: "b13.x" });
  expect(resumeMarkerOf(state)).toBe("b13.x");
});

test("goes on from where the last complete group ended, in its epoch", () => {
  expect(resumeMarkerOf(initialSourceState(at))).toBe("a3.x");
  const { state, frames } = run(at, progress("a3.x"), transactions, disconnected);
  expect(frames.map(({ type }) => type)).toEqual(["progress", "change", "change", "commit", "change", "commit"]);
  expect(resumeMarkerOf(state)).toBe("b12.x");
  expect(state.at?.epoch).toBe("s/i0");
});

test("V7: a snapshot that breaks off is discarded and begins again", () => {
  const { state, frames } = run(undefined, begin(), page, disconnected);
  expect(frames.at(-1)).toEqual({ type: "discard" });
  expect(resumeMarkerOf(state)).toBe("");
  const [again, more] = nextSource(state, begin("i2"));
  expect(more).toEqual([{ type: "begin-snapshot", epoch: "s/i2" }]);
  expect(nextSource(again, end())[0].at).toEqual({ epoch: "s/i2", cursor: "a5.x" });
});

test("a compacted marker is a gap up to the snapshot, in the same epoch while the same run answers", () => {
  const { state, frames } = run(at, refused({ reason: "compacted", incarnation: "i1" }));
  expect(frames).toEqual([]);
  expect(resumeMarkerOf(state)).toBe("");
  const [, more] = nextSource(state, begin("i1"));
  expect(more).toMatchObject([
    { type: "gap", reason: "compacted", from: "a3.x", to: "a5.x" },
    { type: "begin-snapshot", epoch: "s/i0" },
  ]);
});

test("a compacted marker and another run after it may be another life: a new epoch", () => {
  const { frames } = run(at, refused({ reason: "compacted", incarnation: "i1" }), begin("i2"));
  expect(frames).toMatchObject([
    { type: "gap", reason: "compacted", from: "a3.x", to: undefined },
    { type: "reset", epoch: "s/i2" },
    { type: "begin-snapshot", epoch: "s/i2" },
  ]);
});

test("a replaced store is a gap, a reset and a snapshot in a new epoch, also under the same id", () => {
  const { state, frames } = run(at, refused({ reason: "epoch-changed" }), begin("i1"), end());
  expect(frames).toMatchObject([
    { type: "gap", reason: "epoch-changed", from: "a3.x" },
    { type: "reset", epoch: "s/i1" },
    { type: "begin-snapshot", epoch: "s/i1" },
    { type: "snapshot-end" },
  ]);
  expect(state).toEqual(initialSourceState({ epoch: "s/i1", cursor: "a5.x" }));
});

test("a loss is told once, however often its snapshot breaks off", () => {
  const { frames } = run(
    at,
    refused({ reason: "epoch-changed" }),
    begin("i1"),
    page,
    disconnected,
    begin("i1"),
    disconnected,
    begin("i1"),
    end(),
  );
  expect(frames.map(({ type }) => type)).toEqual([
    "gap",
    "reset",
    "begin-snapshot",
    "change",
    "discard",
    "begin-snapshot",
    "discard",
    "begin-snapshot",
    "snapshot-end",
  ]);
});

test("a second loss after a finished snapshot is told again, from where that ended", () => {
  const { frames } = run(
    at,
    refused({ reason: "compacted", incarnation: "i1" }),
    begin("i1"),
    end("a5.x"),
    refused({ reason: "compacted", incarnation: "i1" }),
    begin("i1", "a9.x"),
  );
  expect(frames.filter(({ type }) => type === "gap")).toMatchObject([
    { from: "a3.x", to: "a5.x" },
    { from: "a5.x", to: "a9.x" },
  ]);
});

test("messages that have no place where they come are errors of the store, not data", () => {
  for (const events of [
    [page],
    [end()],
    [transactions],
    [progress("a1.x")],
    [begin(), transactions],
    [begin(), progress("a1.x")],
    [message({ case: "snapshotBegin", value: {} })],
  ]) {
    expect(() => run(undefined, ...events)).toThrow("[PROTOCOL] the store sent");
  }
});

test("a kind of message of a later release is passed over", () => {
  expect(run(at, { type: "message", message: create(WatchResponseSchema) as WatchResponse }).frames).toEqual([]);
});
