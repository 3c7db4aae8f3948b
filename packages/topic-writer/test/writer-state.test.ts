import { expect, test } from "vitest";
import {
  maxSmallInFlight,
  nextWriterState,
  type Handshaken,
  type WriterEffect,
  type WriterEvent,
  type WriterState,
} from "../src/writer-state.ts";

const busy = maxSmallInFlight;
const handshaken = (changes: Partial<Handshaken> = {}): Handshaken => ({
  type: "handshaken",
  lastSeqNo: 5,
  highestSent: 7,
  isExclusive: true,
  isInactive: false,
  ...changes,
});

const states = {
  unopened: { type: "unopened" },
  "live, empty": { type: "live", framing: "empty" },
  "live, scheduled": { type: "live", framing: "scheduled" },
  "live, held": { type: "live", framing: "held" },
  "offline, empty": { type: "offline", framing: "empty" },
  "offline, held": { type: "offline", framing: "held" },
  retired: { type: "retired" },
  over: { type: "over" },
} as const satisfies Record<string, WriterState>;

const events = {
  handshaken: handshaken(),
  "handshaken, somebody else's number": handshaken({ lastSeqNo: 8 }),
  "handshaken, manual": handshaken({ lastSeqNo: 8, isExclusive: false }),
  "handshaken, inactive": handshaken({ isInactive: true }),
  lost: { type: "lost" },
  "opened, idle": { type: "opened", inFlight: 0 },
  "opened, busy": { type: "opened", inFlight: 1 },
  "due, empty": { type: "due", isEmpty: true, inFlight: 0 },
  "due, few in flight": { type: "due", isEmpty: false, inFlight: busy - 1 },
  "due, many in flight": { type: "due", isEmpty: false, inFlight: busy },
  "acknowledged, few in flight": { type: "acknowledged", inFlight: busy - 1 },
  "acknowledged, many in flight": { type: "acknowledged", inFlight: busy },
  end: { type: "end" },
} as const satisfies Record<string, WriterEvent>;

type StateName = keyof typeof states;
type Outcome = readonly [StateName, ...WriterEffect[]] | "stays";

const over: Record<keyof typeof events, Outcome> = {
  handshaken: "stays",
  "handshaken, somebody else's number": "stays",
  "handshaken, manual": "stays",
  "handshaken, inactive": "stays",
  lost: "stays",
  "opened, idle": "stays",
  "opened, busy": "stays",
  "due, empty": "stays",
  "due, few in flight": "stays",
  "due, many in flight": "stays",
  "acknowledged, few in flight": "stays",
  "acknowledged, many in flight": "stays",
  end: ["over"],
};

const replay = ["live, empty", "confirm", "replay", "cut"] as const;
const number = ["live, empty", "number", "cut"] as const;
const retire = ["retired", "confirm", "hand-over"] as const;
const offline: Record<keyof typeof events, Outcome> = {
  ...over,
  handshaken: replay,
  // The server has a number that this writer never sent.
  "handshaken, somebody else's number": ["over", "fail-conflict"],
  "handshaken, manual": replay,
  "handshaken, inactive": retire,
};

const table: Record<StateName, Record<keyof typeof events, Outcome>> = {
  unopened: {
    ...over,
    handshaken: number,
    // Whatever the producer had is where this writer begins.
    "handshaken, somebody else's number": number,
    "handshaken, manual": number,
    "handshaken, inactive": retire,
  },
  "live, empty": {
    ...over,
    lost: ["offline, empty", "rewind"],
    "opened, idle": ["live, scheduled", "await-tick"],
    "opened, busy": ["live, scheduled", "await-turn"],
  },
  "live, scheduled": {
    ...over,
    lost: ["offline, held", "rewind"],
    "due, empty": ["live, empty"],
    "due, few in flight": ["live, empty", "cut"],
    "due, many in flight": ["live, held"],
  },
  "live, held": {
    ...over,
    lost: ["offline, held", "rewind"],
    "acknowledged, few in flight": ["live, empty", "cut"],
  },
  "offline, empty": { ...offline, "opened, idle": ["offline, held"], "opened, busy": ["offline, held"] },
  "offline, held": offline,
  retired: over,
  over: { ...over, end: ["over"] },
};

for (const [from, outcomes] of Object.entries(table) as [StateName, (typeof table)[StateName]][]) {
  test(`a writer that is ${from} does what the table says`, () => {
    for (const [name, outcome] of Object.entries(outcomes) as [keyof typeof events, Outcome][]) {
      const [to, ...effects] = outcome === "stays" ? [from] : outcome;
      expect(nextWriterState(states[from], events[name]), name).toEqual([states[to], ...effects]);
    }
  });
}
