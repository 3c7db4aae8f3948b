import { create } from "@bufbuild/protobuf";
import type { Frame } from "@tidemark/store-watch/contract";
import { expect, test } from "vitest";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/etcd/etcdserverpb/rpc_pb.ts";
import { Event_EventType } from "../src/gen/etcd/mvccpb/kv_pb.ts";
import { WatchState } from "../src/watch-state.ts";

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes).toString());

/** `3 a=1` puts at revision 3, `3 a` deletes. */
function response(events: readonly string[], more: { fragment?: boolean; header?: bigint } = {}): WatchResponse {
  return create(WatchResponseSchema, {
    header: { revision: more.header ?? 999n },
    fragment: more.fragment ?? false,
    events: events.map((each) => {
      const [, revision = "", key = "", put, value = ""] = /^(\d+) (\w+)(=(.*))?$/.exec(each) ?? [];
      return {
        type: put === undefined ? Event_EventType.DELETE : Event_EventType.PUT,
        kv: { key: Buffer.from(key), value: Buffer.from(value), modRevision: BigInt(revision) },
      };
    }),
  });
}

function recorder(cursor: bigint) {
  const state = new WatchState(cursor);
  const said: string[] = [];
  const write = (frame: Frame): boolean => {
    if (frame.type === "change") said.push(`${text(frame.key)}=${text(frame.value) ?? "gone"}@${frame.version}`);
    else if (frame.type === "commit" || frame.type === "progress") said.push(`${frame.type} ${frame.cursor}`);
    else said.push(frame.type);
    return true;
  };
  return { state, said, write, take: (message: WatchResponse) => state.take(message, write) };
}

test("E1: a revision is committed when a later one comes, or at the end of the response", () => {
  const { said, take, state } = recorder(1n);
  take(response(["2 a=1", "2 b=1", "3 a=2"]));
  expect(said).toEqual(["a=1@a2", "b=1@a2", "commit a2", "a=2@a3", "commit a3"]);
  expect(state.cursor).toBe(3n);
});

test("E1: the cursor is the last event's revision, not that of the header", () => {
  const { state, take } = recorder(1n);
  take(response(["2 a=1"], { header: 5_001n }));
  expect(state.cursor).toBe(2n);
});

test("E2: what was handed on already is dropped, also within a response", () => {
  const { said, take, state } = recorder(5n);
  take(response(["4 a=0", "5 a=1", "6 a=2"]));
  take(response(["6 a=2"]));
  take(response(["5 a=1", "7 a=3"]));
  expect(said).toEqual(["a=2@a6", "commit a6", "a=3@a7", "commit a7"]);
  expect(state.duplicates).toBe(4);
});

test("E3: what is complete is committed within a fragmented response, and the rest when it comes", () => {
  const { said, take, state } = recorder(1n);
  take(response(["2 a=1", "3 a=2", "3 b=2"], { fragment: true }));
  expect(said).toEqual(["a=1@a2", "commit a2", "a=2@a3", "b=2@a3"]);
  expect([state.cursor, state.isOpen]).toEqual([2n, true]);
  take(response(["3 c=2"], { fragment: true }));
  take(response(["3 d", "4 a=3"]));
  expect(said.slice(4)).toEqual(["c=2@a3", "d=gone@a3", "commit a3", "a=3@a4", "commit a4"]);
});

test("V7: a break within a revision takes it back, and a break between revisions takes back nothing", () => {
  const { said, take, state, write } = recorder(1n);
  take(response(["2 a=1", "3 a=2"], { fragment: true }));
  state.break(write);
  state.break(write);
  take(response(["3 a=2", "3 b=2"]));
  state.break(write);
  expect(said).toEqual(["a=1@a2", "commit a2", "a=2@a3", "discard", "a=2@a3", "b=2@a3", "commit a3"]);
});

test("E4: going back in time above the cursor breaks the stream", () => {
  const { take } = recorder(1n);
  expect(() => take(response(["5 a=1", "4 a=1"]))).toThrow(
    "[PROTOCOL] etcd sent an event of revision 4 after one of 5",
  );
});

test("E5: progress moves the cursor between revisions only, and never back", () => {
  const { said, take, state, write } = recorder(5n);
  state.progress(5n, write);
  state.progress(4n, write);
  state.progress(7n, write);
  take(response(["8 a=1"], { fragment: true }));
  state.progress(9n, write);
  expect(said).toEqual(["progress a7", "a=1@a8"]);
  take(response(["8 b=1"]));
  state.progress(9n, write);
  expect(said.slice(2)).toEqual(["b=1@a8", "commit a8", "progress a9"]);
});

test("remembers the last put that was committed, and not one that was taken back", () => {
  const { take, state, write } = recorder(1n);
  take(response(["2 a=1", "3 b=1", "4 b"]));
  expect([text(state.anchor?.key), state.anchor?.revision]).toEqual(["b", 3n]);
  take(response(["5 c=1", "6 d=1"], { fragment: true }));
  state.break(write);
  expect(state.anchor?.revision).toBeLessThanOrEqual(5n);
});

test("an event without a key breaks the stream", () => {
  const { take } = recorder(1n);
  expect(() => take(create(WatchResponseSchema, { events: [{}] }))).toThrow("[PROTOCOL]");
});

test("leases are attributes of puts", () => {
  const frames: Frame[] = [];
  const message = response(["2 a=1", "2 b"]);
  for (const { kv } of message.events) if (kv !== undefined) kv.lease = 7_587n;
  new WatchState(1n).take(message, (frame) => frames.push(frame) > 0);
  expect(frames.map((frame) => (frame.type === "change" ? frame.attributes : frame.type))).toEqual([
    '{"lease":"7587"}',
    undefined,
    "commit",
  ]);
});
