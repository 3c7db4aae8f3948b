// Every event in every state of the pure rules, by the compiler's word: a table without a cell does not compile.
import { create, toBinary } from "@bufbuild/protobuf";
import { scanWriteRequest, StatusCode, topicWire } from "@tidemark/topic/internal";
import { describe, expect, test } from "vitest";
import {
  openPartitionSession,
  type PartitionSessionEvent,
  partitionSessionNext,
  type PartitionSessionState,
  type PartitionSessionStep,
} from "../src/service/partition-session-state.ts";
import { type ReadEvent, readSessionNext, type ReadState } from "../src/service/read-session-state.ts";
import { type WriteEvent, writeSessionNext, type WriteState } from "../src/service/write-session-state.ts";

type Phase = PartitionSessionState["phase"];

function columns() {
  const value = create(topicWire.StreamWriteMessage_WriteRequestSchema, {
    codec: 1,
    messages: [{ seqNo: 1n, data: Uint8Array.of(1) }],
  });
  const message = create(topicWire.StreamWriteMessage_FromClientSchema, {
    clientMessage: { case: "writeRequest", value },
  });
  const scanned = scanWriteRequest(toBinary(topicWire.StreamWriteMessage_FromClientSchema, message));
  if (scanned === undefined) throw new Error("not a write request");
  return scanned;
}

const writeInit = create(topicWire.StreamWriteMessage_InitRequestSchema, { path: "/local/t" });

describe("StreamWrite", () => {
  const events: { readonly [T in WriteEvent["type"]]: Extract<WriteEvent, { type: T }> } = {
    init: { type: "init", request: writeInit },
    opened: { type: "opened" },
    write: { type: "write", columns: columns(), codecs: [] },
    token: { type: "token", token: "t" },
    unset: { type: "unset" },
    invalid: { type: "invalid", detail: "garbage" },
    refused: { type: "refused", status: StatusCode.OVERLOADED, detail: "full" } as WriteEvent & { type: "refused" },
    clientEnded: { type: "clientEnded" },
  };
  const bad = "closed, fail 400010";
  const refused = "closed, fail 400060";
  const end = "closed, finish";
  const closed = "closed";
  const table: Record<WriteState, Record<WriteEvent["type"], string>> = {
    init: {
      init: "opening, open",
      opened: "open",
      write: bad,
      token: bad,
      unset: bad,
      invalid: bad,
      refused,
      clientEnded: end,
    },
    opening: {
      init: bad,
      opened: "open",
      write: bad,
      token: "opening, checkToken",
      unset: bad,
      invalid: bad,
      refused,
      clientEnded: end,
    },
    open: {
      init: bad,
      opened: "open",
      write: "open, append",
      token: "open, checkToken",
      unset: bad,
      invalid: bad,
      refused,
      clientEnded: end,
    },
    // Nothing that is said after the last word changes or causes anything.
    closed: {
      init: closed,
      opened: closed,
      write: closed,
      token: closed,
      unset: closed,
      invalid: closed,
      refused: closed,
      clientEnded: closed,
    },
  };
  for (const [state, row] of Object.entries(table) as [WriteState, Record<WriteEvent["type"], string>][]) {
    test(`${state}: every event`, () => {
      const found = Object.entries(events).map(([type, event]) => {
        const [next, effect] = writeSessionNext(state, event);
        const status = effect?.type === "fail" ? ` ${effect.status}` : "";
        return [type, effect === undefined ? next : `${next}, ${effect.type}${status}`];
      });
      expect(Object.fromEntries(found)).toEqual(row);
    });
  }
});

describe("StreamRead", () => {
  const readInit = create(topicWire.StreamReadMessage_InitRequestSchema, {
    consumer: "c",
    topicsReadSettings: [{ path: "/local/t" }],
  });
  const asked = create(topicWire.StreamReadMessage_ReadRequestSchema, { bytesSize: 10n });
  const nothing = create(topicWire.StreamReadMessage_ReadRequestSchema, { bytesSize: 0n });
  const token = { case: "updateTokenRequest", value: { token: "t" } } as never;
  type Name =
    | Exclude<ReadEvent["type"], "message">
    | "init"
    | "read"
    | "readNothing"
    | "dispatched"
    | "direct"
    | "unset";
  const events: Readonly<Record<Name, ReadEvent>> = {
    init: { type: "message", message: { case: "initRequest", value: readInit } },
    read: { type: "message", message: { case: "readRequest", value: asked } },
    readNothing: { type: "message", message: { case: "readRequest", value: nothing } },
    dispatched: { type: "message", message: token },
    direct: { type: "message", message: { case: "directReadAck", value: {} as never } },
    unset: { type: "message", message: { case: undefined } },
    sent: { type: "sent", bytes: 25 },
    invalid: { type: "invalid", detail: "garbage" },
    refused: { type: "refused", status: StatusCode.SCHEME_ERROR, detail: "no topic" },
    clientEnded: { type: "clientEnded" },
  };
  const bad = "closed 0, fail 400010";
  const refused = "closed 0, fail 400070";
  const end = "closed 0, finish";
  const closed = "closed 0";
  const table: Record<ReadState["phase"], Record<Name, string>> = {
    init: {
      init: "open 0, open",
      read: bad,
      readNothing: bad,
      dispatched: bad,
      direct: bad,
      unset: bad,
      sent: "init -25",
      invalid: bad,
      refused,
      clientEnded: end,
    },
    open: {
      init: bad,
      read: "open 30, pump",
      readNothing: bad,
      dispatched: "open 20, dispatch",
      direct: bad,
      unset: bad,
      // A message that is larger than the room is owed.
      sent: "open -5",
      invalid: bad,
      refused,
      clientEnded: end,
    },
    closed: {
      init: closed,
      read: closed,
      readNothing: closed,
      dispatched: closed,
      direct: closed,
      unset: closed,
      sent: closed,
      invalid: closed,
      refused: closed,
      clientEnded: closed,
    },
  };
  for (const [phase, row] of Object.entries(table) as [ReadState["phase"], Record<Name, string>][]) {
    test(`${phase}: every event`, () => {
      const found = Object.entries(events).map(([name, event]) => {
        const [next, effect] = readSessionNext({ phase, credit: phase === "open" ? 20 : 0 }, event);
        const status = effect?.type === "fail" ? ` ${effect.status}` : "";
        return [name, `${next.phase} ${next.credit}${effect === undefined ? "" : `, ${effect.type}${status}`}`];
      });
      expect(Object.fromEntries(found)).toEqual(row);
    });
  }
});

/** What is left of a step in a line: the phase, what is committed, planned and ahead, and the effects. */
function line([state, ...effects]: PartitionSessionStep): string {
  const ahead = state.ahead.map(({ start, end }) => `${start}-${end}`).join(" ");
  const done = effects.map((effect) => {
    if (effect.type === "read") return `read ${effect.from}`;
    if (effect.type === "sendStop") return effect.isGraceful ? "ask" : "take";
    if (effect.type === "persist" || effect.type === "acknowledge") return `${effect.type} ${effect.offset}`;
    return effect.type;
  });
  return [`${state.phase} ${state.committed}/${state.planned}${ahead === "" ? "" : ` [${ahead}]`}`, ...done].join(", ");
}

describe("a partition of a StreamRead", () => {
  const places = { readOffset: undefined, commitOffset: undefined, cut: 0, startOffset: 0, endOffset: 100 };
  type Name = Exclude<PartitionSessionEvent["type"], "stop"> | "stop" | "take" | "commitAhead";
  const events: Readonly<Record<Name, PartitionSessionEvent>> = {
    offered: { type: "offered" },
    started: { type: "started", ...places },
    commit: { type: "commit", ranges: [{ start: 10, end: 20 }], endOffset: 100 },
    commitAhead: { type: "commit", ranges: [{ start: 15, end: 20 }], endOffset: 100 },
    persisted: { type: "persisted", offset: 12 },
    moved: { type: "moved", offset: 15 },
    stop: { type: "stop", isGraceful: true },
    take: { type: "stop", isGraceful: false },
    stopAnswered: { type: "stopAnswered" },
  };
  const table: Record<Phase, Record<Name, string>> = {
    starting: {
      offered: "starting 10/10",
      started: "reading 10/10, read 10",
      commit: "starting 10/10, fail",
      commitAhead: "starting 10/10, fail",
      persisted: "starting 12/10, acknowledge 12",
      moved: "starting 15/15",
      stop: "stopping 10/10, ask",
      take: "gone 10/10, take, released",
      stopAnswered: "starting 10/10, fail",
    },
    reading: {
      offered: "reading 10/10",
      started: "reading 10/10, fail",
      commit: "reading 10/20, persist 20",
      commitAhead: "reading 10/10 [15-20]",
      persisted: "reading 12/10, acknowledge 12",
      moved: "reading 15/15, acknowledge 15",
      stop: "stopping 10/10, ask",
      take: "gone 10/10, take, released",
      stopAnswered: "reading 10/10, fail",
    },
    stopping: {
      offered: "stopping 10/10",
      started: "stopping 10/10",
      commit: "stopping 10/20, persist 20",
      commitAhead: "stopping 10/10 [15-20]",
      persisted: "stopping 12/10, acknowledge 12",
      moved: "stopping 15/15, acknowledge 15",
      stop: "stopping 10/10",
      take: "gone 10/10, take, released",
      stopAnswered: "gone 10/10, released",
    },
    gone: {
      offered: "gone 10/10",
      started: "gone 10/10",
      commit: "gone 10/10",
      commitAhead: "gone 10/10",
      persisted: "gone 12/10",
      moved: "gone 10/10",
      stop: "gone 10/10",
      take: "gone 10/10",
      stopAnswered: "gone 10/10",
    },
  };
  const at = (phase: Phase): PartitionSessionState => ({ ...openPartitionSession(10, true), told: 10, phase });
  for (const [phase, row] of Object.entries(table) as [Phase, Record<Name, string>][]) {
    test(`${phase}: every event`, () => {
      const found = Object.entries(events).map(([name, event]) => [name, line(partitionSessionNext(at(phase), event))]);
      expect(Object.fromEntries(found)).toEqual(row);
    });
  }

  test("a partition that its client was not told of yet is given away without a word", () => {
    for (const event of [events.stop, events.take]) {
      expect(line(partitionSessionNext(openPartitionSession(10, true), event))).toBe("gone 10/10, released");
    }
  });

  test("a commit that came between the offer and its answer is told then, and the answer goes by the offer", () => {
    let [state] = partitionSessionNext(openPartitionSession(10, true), events.offered);
    [state] = partitionSessionNext(state, events.moved);
    const answer: PartitionSessionEvent = { type: "started", ...places, readOffset: 12 };
    expect(line(partitionSessionNext(state, answer))).toBe("reading 15/15, acknowledge 15, read 15");
  });

  test("what it starts from is the furthest of what is committed, asked for, new enough and there", () => {
    const from = (more: Partial<typeof places> | { readOffset?: number; commitOffset?: number }, hasConsumer = true) =>
      line(partitionSessionNext(openPartitionSession(10, hasConsumer), { type: "started", ...places, ...more }));
    expect(from({ readOffset: 30 })).toBe("reading 10/10, read 30");
    expect(from({ cut: 40 })).toBe("reading 10/10, read 40");
    expect(from({ startOffset: 50 })).toBe("reading 10/10, read 50");
    expect(from({ commitOffset: 60, readOffset: 20 })).toBe("reading 10/60, persist 60, read 60");
    expect(from({ readOffset: 100, commitOffset: 100 })).toBe("reading 10/100, persist 100, read 100");
    expect(from({ readOffset: 9 })).toBe("starting 10/10, fail");
    expect(from({ readOffset: 101 })).toBe("starting 10/10, fail");
    expect(from({ commitOffset: 9 })).toBe("starting 10/10, fail");
    expect(from({ commitOffset: 101 })).toBe("starting 10/10, fail");
    expect(from({ commitOffset: 20 }, false)).toBe("starting 10/10, fail");
    expect(from({ readOffset: 5 }, false)).toBe("reading 10/10, read 10");
  });

  test("commits close holes in any order, each once", () => {
    const commit = (...ranges: [number, number][]): PartitionSessionEvent => ({
      type: "commit",
      ranges: ranges.map(([start, end]) => ({ start, end })),
      endOffset: 100,
    });
    let state = at("reading");
    const step = (event: PartitionSessionEvent) => {
      const next = partitionSessionNext(state, event);
      state = next[0];
      return line(next);
    };
    expect(step(commit([40, 50], [20, 30]))).toBe("reading 10/10 [20-30 40-50]");
    expect(step(commit([30, 40]))).toBe("reading 10/10 [20-30 30-40 40-50]");
    const before = state;
    for (const wrong of [
      [5, 15],
      [25, 27],
      [15, 25],
      [45, 55],
      [60, 60],
      [70, 60],
      [90, 101],
    ] as const) {
      expect(step(commit([...wrong]))).toBe("reading 10/10 [20-30 30-40 40-50], fail");
      state = before;
    }
    expect(step(commit([10, 20]))).toBe("reading 10/50, persist 50");
    expect(step({ type: "persisted", offset: 50 })).toBe("reading 50/50, acknowledge 50");
    // Late, or said twice.
    expect(step({ type: "persisted", offset: 50 })).toBe("reading 50/50");
    expect(step(commit([60, 70]))).toBe("reading 50/50 [60-70]");
    // Somebody else committed the hole, and half of what was beyond it.
    expect(step({ type: "moved", offset: 65 })).toBe("reading 65/70, acknowledge 65, persist 70");
    expect(step({ type: "moved", offset: 60 })).toBe("reading 65/70");
  });

  test("a read without a consumer has nothing to commit to", () => {
    const state = { ...openPartitionSession(0, false), phase: "reading" as const };
    expect(line(partitionSessionNext(state, events.commit))).toBe("reading 0/0, fail");
  });
});
