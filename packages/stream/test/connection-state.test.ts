import { expect, test } from "vitest";
import {
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
  nextConnectionState,
} from "../src/connection-state.ts";

const failure = new Error("first");
const ended = new Error("the peer ended the stream");

const states: Record<ConnectionState["type"], ConnectionState> = {
  new: { type: "new" },
  handshaking: { type: "handshaking" },
  live: { type: "live" },
  closing: { type: "closing" },
  dead: { type: "dead", error: new Error("older") },
};

const events: Record<ConnectionEvent["type"], ConnectionEvent> = {
  open: { type: "open" },
  handshaken: { type: "handshaken" },
  "peer-ended": { type: "peer-ended", error: ended },
  failed: { type: "failed", error: failure },
  close: { type: "close" },
  "grace-over": { type: "grace-over" },
};

type Step = readonly [ConnectionState, ...ConnectionEffect[]];
const stay = "stay";
const dead = (error?: unknown): Step => [{ type: "dead", error }, "die"];

const table: Record<ConnectionState["type"], Record<ConnectionEvent["type"], Step | typeof stay>> = {
  new: {
    open: [{ type: "handshaking" }, "start"],
    handshaken: stay,
    "peer-ended": stay,
    failed: dead(failure),
    close: dead(),
    "grace-over": stay,
  },
  handshaking: {
    open: stay,
    handshaken: [{ type: "live" }, "go-live"],
    "peer-ended": dead(ended),
    failed: dead(failure),
    close: dead(),
    "grace-over": stay,
  },
  live: {
    open: stay,
    handshaken: stay,
    "peer-ended": dead(ended),
    failed: dead(failure),
    close: [{ type: "closing" }, "half-close"],
    "grace-over": stay,
  },
  closing: {
    open: stay,
    handshaken: stay,
    "peer-ended": dead(),
    failed: dead(failure),
    close: stay,
    "grace-over": dead(),
  },
  dead: {
    open: stay,
    handshaken: stay,
    "peer-ended": stay,
    failed: stay,
    close: stay,
    "grace-over": stay,
  },
};

for (const [from, row] of Object.entries(table)) {
  for (const [on, expected] of Object.entries(row)) {
    const state = states[from as ConnectionState["type"]];
    const event = events[on as ConnectionEvent["type"]];
    test(`a ${from} connection ${expected === stay ? "ignores" : "follows"} ${on}`, () => {
      expect(nextConnectionState(state, event)).toEqual(expected === stay ? [state] : expected);
    });
  }
}
