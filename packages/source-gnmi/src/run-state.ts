/** Where a run of the source stands. */
export type RunPhase =
  /** Nothing was begun. */
  | "idle"
  | "connecting"
  /** Connected; the device tells everything that is there, and nothing is handed on. */
  | "collecting"
  /** Everything that is there is being handed on, within an open snapshot. */
  | "handing-on"
  /** Everything that came was handed on, and ended with a commit. */
  | "live"
  /** Live, and the group that is open has no commit yet. */
  | "grouping"
  /** There is no connection, and another one is to come. */
  | "waiting"
  | "over";

export type RunEvent =
  | "connect"
  | "connected"
  /** The first `sync_response`. */
  | "synced"
  | "handed-on"
  | "changed"
  | "committed"
  | "disconnected"
  | "ended";

/** What is to be done with what was handed on and has no end. */
export type RunStep = readonly [RunPhase, isCutShort: boolean];

type Row = Readonly<Record<RunEvent, RunPhase | undefined>>;

const never: Row = {
  connect: undefined,
  connected: undefined,
  synced: undefined,
  "handed-on": undefined,
  changed: undefined,
  committed: undefined,
  disconnected: undefined,
  ended: "over",
};

/** Every pair that is not undefined may happen; the others are bugs of ours. */
const table: Readonly<Record<RunPhase, Row>> = {
  idle: { ...never, connect: "connecting" },
  connecting: { ...never, connected: "collecting", disconnected: "waiting" },
  collecting: { ...never, synced: "handing-on", disconnected: "waiting" },
  "handing-on": { ...never, "handed-on": "live", disconnected: "waiting" },
  live: { ...never, changed: "grouping", disconnected: "waiting" },
  grouping: { ...never, changed: "grouping", committed: "live", disconnected: "waiting" },
  waiting: { ...never, connect: "connecting" },
  over: { ...never, ended: "over" },
};

/**
 * The phase after an event, and whether something that was handed on has to be taken back (V7): a snapshot or a group without
 * its end. No I/O, no clock.
 *
 * @throws where the event must not happen: that is a bug here, and nothing that a device does.
 */
export function nextRunPhase(phase: RunPhase, event: RunEvent): RunStep {
  const next = table[phase][event];
  if (next === undefined) throw new Error(`"${event}" must not happen while a run is ${phase}`);
  const isOver = event === "disconnected" || event === "ended";
  return [next, isOver && (phase === "handing-on" || phase === "grouping")];
}
