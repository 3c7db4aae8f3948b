import { expect, test } from "vitest";
import { nextRunPhase, type RunEvent, type RunPhase } from "../src/run-state.ts";

const no = "must not happen";

/** A pair that is missing here does not compile. `-` in front: what was handed on is taken back. */
const table: Record<RunPhase, Record<RunEvent, RunPhase | `-${RunPhase}` | typeof no>> = {
  idle: {
    connect: "connecting",
    connected: no,
    synced: no,
    "handed-on": no,
    changed: no,
    committed: no,
    disconnected: no,
    ended: "over",
  },
  connecting: {
    connect: no,
    connected: "collecting",
    synced: no,
    "handed-on": no,
    changed: no,
    committed: no,
    disconnected: "waiting",
    ended: "over",
  },
  collecting: {
    connect: no,
    connected: no,
    synced: "handing-on",
    "handed-on": no,
    changed: no,
    committed: no,
    disconnected: "waiting",
    ended: "over",
  },
  "handing-on": {
    connect: no,
    connected: no,
    synced: no,
    "handed-on": "live",
    changed: no,
    committed: no,
    disconnected: "-waiting",
    ended: "-over",
  },
  live: {
    connect: no,
    connected: no,
    synced: no,
    "handed-on": no,
    changed: "grouping",
    committed: no,
    disconnected: "waiting",
    ended: "over",
  },
  grouping: {
    connect: no,
    connected: no,
    synced: no,
    "handed-on": no,
    changed: "grouping",
    committed: "live",
    disconnected: "-waiting",
    ended: "-over",
  },
  waiting: {
    connect: "connecting",
    connected: no,
    synced: no,
    "handed-on": no,
    changed: no,
    committed: no,
    disconnected: no,
    ended: "over",
  },
  over: {
    connect: no,
    connected: no,
    synced: no,
    "handed-on": no,
    changed: no,
    committed: no,
    disconnected: no,
    ended: "over",
  },
};

test.each(
  Object.entries(table).flatMap(([phase, row]) =>
    Object.entries(row).map(([event, next]) => [phase as RunPhase, event as RunEvent, next] as const),
  ),
)("%s, %s: %s", (phase, event, next) => {
  if (next === no) {
    expect(() => nextRunPhase(phase, event)).toThrow(`"${event}" must not happen while a run is ${phase}`);
    return;
  }
  const isCutShort = next.startsWith("-");
  expect(nextRunPhase(phase, event)).toEqual([next.replace(/^-/, ""), isCutShort]);
});
