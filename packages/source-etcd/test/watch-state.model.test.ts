import { create } from "@bufbuild/protobuf";
import { type Frame, sortableInteger } from "@tidemark/store-watch/contract";
import fc from "fast-check";
import { expect, test } from "vitest";
import { EtcdError } from "../src/etcd-error.ts";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/etcd/etcdserverpb/rpc_pb.ts";
import { Event_EventType } from "../src/gen/etcd/mvccpb/kv_pb.ts";
import { WatchState } from "../src/watch-state.ts";

/** One revision: which keys it puts or deletes. */
interface Revision {
  readonly number: bigint;
  readonly changes: readonly { readonly key: number; readonly isPut: boolean }[];
}

/** What the server does from one connection to the next. */
type Step =
  /** Sends so many revisions as one response, cut into fragments of so many events (0: not at all). */
  | {
      readonly type: "send";
      readonly revisions: number;
      readonly fragmentEvents: number;
      readonly cut: number;
      /** A notice of the store's revision comes between these fragments. */
      readonly noticeAfter: number;
    }
  /** Sends again what came before. */
  | { readonly type: "again"; readonly back: number; readonly revisions: number }
  /** Sends something old in front of something new, as after a member was restored. */
  | { readonly type: "regress"; readonly back: number; readonly fresh: number }
  /** Says how far the store is, in order with the events. */
  | { readonly type: "progress" }
  | { readonly type: "disconnect" };

const history = fc
  .array(
    fc.tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.uniqueArray(fc.record({ key: fc.nat(5), isPut: fc.boolean() }), {
        selector: ({ key }) => key,
        minLength: 1,
        maxLength: 5,
      }),
    ),
    { minLength: 1, maxLength: 25 },
  )
  .map((entries) => {
    let number = 10n;
    // Revisions have holes: what happens outside of the range.
    return entries.map(([step, changes]): Revision => ({ number: (number += BigInt(step)), changes }));
  });

const steps = fc.array(
  fc.oneof<fc.Arbitrary<Step>[]>(
    fc.record({
      type: fc.constant("send" as const),
      revisions: fc.integer({ min: 1, max: 8 }),
      fragmentEvents: fc.nat(4),
      noticeAfter: fc.nat(6),
      // After how many messages of this response the connection breaks; most often after none.
      cut: fc.oneof(
        { weight: 3, arbitrary: fc.constant(99) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) },
      ),
    }),
    fc.record({ type: fc.constant("again" as const), back: fc.integer({ min: 1, max: 5 }), revisions: fc.nat(4) }),
    fc.record({
      type: fc.constant("regress" as const),
      back: fc.integer({ min: 1, max: 4 }),
      fresh: fc.integer({ min: 1, max: 2 }),
    }),
    fc.constant({ type: "progress" as const }),
    fc.constant({ type: "disconnect" as const }),
  ),
  { maxLength: 40 },
);

const eventsOf = ({ number, changes }: Revision) =>
  changes.map(({ key, isPut }) => ({
    type: isPut ? Event_EventType.PUT : Event_EventType.DELETE,
    kv: {
      key: Uint8Array.of(key),
      value: isPut ? Uint8Array.of(key, Number(number)) : new Uint8Array(0),
      modRevision: number,
    },
  }));

function responses(revisions: readonly Revision[], header: bigint, fragmentEvents: number): WatchResponse[] {
  const events = revisions.flatMap(eventsOf);
  const size = fragmentEvents === 0 ? Math.max(1, events.length) : fragmentEvents;
  const messages: WatchResponse[] = [];
  for (let at = 0; at < events.length; at += size) {
    const part = {
      header: { revision: header },
      events: events.slice(at, at + size),
      fragment: at + size < events.length,
    };
    messages.push(create(WatchResponseSchema, part));
  }
  return messages;
}

/** What a source that follows the state's cursor makes of it all, across connections. */
class Receiver {
  readonly groups: string[] = [];
  #open: string[] = [];
  #boundary = "";

  readonly write = (frame: Frame): boolean => {
    if (frame.type === "change") {
      const change = `${frame.key.join()}=${frame.value?.join() ?? "gone"}`;
      // The same version of a key again is nothing new (V1).
      if (!this.#open.includes(change)) this.#open.push(change);
      expect(frame.version).toBeDefined();
    } else if (frame.type === "commit") {
      expect(frame.cursor > this.#boundary, "the cursor must grow").toBe(true);
      this.groups.push(`${frame.cursor}: ${this.#open.join(" ")}`);
      this.#boundary = frame.cursor;
      this.#open = [];
    } else if (frame.type === "progress") {
      expect(this.#open, "progress within a group").toEqual([]);
      expect(frame.cursor > this.#boundary, "the cursor must grow").toBe(true);
      this.#boundary = frame.cursor;
    } else {
      expect(frame.type).toBe("discard");
      this.#open = [];
    }
    return true;
  };

  get isClean(): boolean {
    return this.#open.length === 0;
  }
}

type MakeState = (cursor: bigint) => Pick<WatchState, "break" | "cursor" | "progress" | "take">;

/** Plays the steps, then lets the server send the rest undisturbed. */
function play(revisions: readonly Revision[], script: readonly Step[], makeState: MakeState): string[] {
  const receiver = new Receiver();
  const state = makeState(10n);
  const head = revisions.at(-1)?.number ?? 10n;
  /** The next revision that this connection has to send. */
  let next = 0;
  const reconnect = () => {
    state.break(receiver.write);
    expect(receiver.isClean).toBe(true);
    // From the cursor itself on, as the source does.
    next = revisions.findIndex(({ number }) => number >= state.cursor);
    if (next < 0) next = revisions.length;
  };
  const send = (messages: readonly WatchResponse[], cut = 99, noticeAfter = 99): void => {
    try {
      for (const [index, message] of messages.slice(0, cut).entries()) {
        if (index > 0 && index === noticeAfter) state.progress(head, receiver.write);
        state.take(message, receiver.write);
      }
    } catch (error) {
      if (!EtcdError.is(error)) throw error;
      reconnect();
      return;
    }
    if (cut < messages.length) reconnect();
  };
  for (const step of script) {
    if (step.type === "send") {
      const batch = revisions.slice(next, next + step.revisions);
      next += batch.length;
      send(responses(batch, head, step.fragmentEvents), step.cut, step.noticeAfter);
    } else if (step.type === "again") {
      const from = Math.max(0, next - step.back);
      send(responses(revisions.slice(from, Math.min(next, from + step.revisions)), head, 0));
    } else if (step.type === "regress") {
      const old = revisions.slice(Math.max(0, next - step.back), next);
      const fresh = revisions.slice(next, next + step.fresh);
      next += fresh.length;
      // New ones, then old ones, then the new ones again: with two of them that is out of order above the cursor.
      send(responses([...fresh, ...old, ...fresh], head, 0));
    } else if (step.type === "progress") {
      state.progress((revisions[next]?.number ?? head + 1n) - 1n, receiver.write);
    } else {
      reconnect();
    }
  }
  reconnect();
  send(responses(revisions.slice(next), head, 0));
  return receiver.groups;
}

const wantedOf = (revisions: readonly Revision[]) =>
  revisions.map((revision) => {
    const changes = eventsOf(revision).map(({ type, kv }) => {
      return `${kv.key.join()}=${type === Event_EventType.PUT ? kv.value.join() : "gone"}`;
    });
    return `${sortableInteger(revision.number)}: ${changes.join(" ")}`;
  });

const runs = process.env["TIDEMARK_LONG"] === "1" ? 20_000 : 1_000;

test("any split into responses, fragments, duplicates and cuts hands on the same groups", () => {
  fc.assert(
    fc.property(history, steps, (revisions, script) => {
      expect(play(revisions, script, (cursor) => new WatchState(cursor))).toEqual(wantedOf(revisions));
    }),
    { numRuns: runs },
  );
});

/** Whether the property above notices that something is wrong. */
function isKilled(makeState: MakeState): boolean {
  const result = fc.check(
    fc.property(history, steps, (revisions, script) => {
      expect(play(revisions, script, makeState)).toEqual(wantedOf(revisions));
    }),
    { numRuns: 2_000, seed: 1 },
  );
  return result.failed;
}

test("kills the mutant that takes the header's revision for its cursor (etcd3)", () => {
  class HeaderCursor extends WatchState {
    #header = 0n;
    override get cursor(): bigint {
      return this.#header > super.cursor ? this.#header : super.cursor;
    }
    override take(message: WatchResponse, write: (frame: Frame) => boolean): boolean {
      const hasRoom = super.take(message, write);
      this.#header = message.header?.revision ?? 0n;
      return hasRoom;
    }
  }
  expect(isKilled((cursor) => new HeaderCursor(cursor))).toBe(true);
});

test("kills the mutant that takes every fragment for a whole response", () => {
  class Hasty extends WatchState {
    override take(message: WatchResponse, write: (frame: Frame) => boolean): boolean {
      return super.take({ ...message, fragment: false }, write);
    }
  }
  expect(isKilled((cursor) => new Hasty(cursor))).toBe(true);
});

test("kills the mutant that forgets to take back half a revision", () => {
  class Forgetful extends WatchState {
    override break(): void {
      super.break(() => true);
    }
  }
  expect(isKilled((cursor) => new Forgetful(cursor))).toBe(true);
});

test("kills the mutant that lets progress overtake a revision under way", () => {
  class Eager extends WatchState {
    override progress(revision: bigint, write: (frame: Frame) => boolean): boolean {
      if (this.isOpen) return write({ type: "progress", cursor: sortableInteger(revision) });
      return super.progress(revision, write);
    }
  }
  expect(isKilled((cursor) => new Eager(cursor))).toBe(true);
});
