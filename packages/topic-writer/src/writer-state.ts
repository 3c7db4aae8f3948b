import type { SeqNo } from "./seq-no.ts";

/**
 * How many requests may be under way before a small one waits for an acknowledgement. A writer that is idle sends at
 * once; under load what is written meanwhile shares a request.
 */
export const maxSmallInFlight = 8;

/**
 * What becomes of the open frame. `empty`: there is none. `scheduled`: it is looked at when the tick or the turn is
 * over. `held`: it is full of nothing yet and waits for an acknowledgement or a stream.
 */
type Framing = "empty" | "scheduled" | "held";

export type WriterState =
  /** There was no stream yet, so the numbers and the codec are not known. */
  | { readonly type: "unopened" }
  | { readonly type: "live"; readonly framing: Framing }
  /** The stream is gone and another will come. */
  | { readonly type: "offline"; readonly framing: Framing }
  /** The partition takes nothing any more: what is left belongs to somebody else. */
  | { readonly type: "retired" }
  | { readonly type: "over" };

/** What the server said when a stream was opened, and what is known about this writer. */
export interface Handshaken {
  readonly type: "handshaken";
  readonly lastSeqNo: SeqNo;
  /** The highest number that a stream of this writer ever got. */
  readonly highestSent: SeqNo;
  /** Whether only this writer gives numbers to its producer, so that a higher one is somebody else's. */
  readonly isExclusive: boolean;
  /** Whether the partition was split or merged. */
  readonly isInactive: boolean;
}

/** `inFlight`: frames that are sent and not acknowledged. */
export type WriterEvent =
  | Handshaken
  | { readonly type: "lost" }
  /** The open frame got its first message. */
  | { readonly type: "opened"; readonly inFlight: number }
  /** The tick, or the turn, that was waited for is over. */
  | { readonly type: "due"; readonly isEmpty: boolean; readonly inFlight: number }
  | { readonly type: "acknowledged"; readonly inFlight: number }
  | { readonly type: "end" };

export type WriterEffect =
  /** Give numbers to what was written so far, from `lastSeqNo` on, and encode it. */
  | "number"
  /** Settle what the server had already, as far as it was sent. */
  | "confirm"
  /** Send every frame again. */
  | "replay"
  /** Close the open frame, if there is one, and send it. */
  | "cut"
  | "await-tick"
  | "await-turn"
  /** Forget what the stream had. */
  | "rewind"
  | "fail-conflict"
  | "hand-over";

type Step = readonly [WriterState, ...WriterEffect[]];

export const initialWriterState: WriterState = { type: "unopened" };

/** Pure: no clock, no I/O. The outbox keeps the messages; this says what happens to them when. */
export function nextWriterState(state: WriterState, event: WriterEvent): Step {
  if (state.type === "over" || state.type === "retired") {
    return event.type === "end" ? [{ type: "over" }] : [state];
  }
  switch (event.type) {
    case "handshaken":
      return state.type === "live" ? [state] : onHandshaken(state, event);
    case "lost":
      if (state.type !== "live") return [state];
      return [{ type: "offline", framing: state.framing === "empty" ? "empty" : "held" }, "rewind"];
    case "opened":
      return onOpened(state, event.inFlight);
    case "due":
      if (state.type === "unopened" || state.framing !== "scheduled") return [state];
      if (event.isEmpty) return [{ ...state, framing: "empty" }];
      if (event.inFlight >= maxSmallInFlight) return [{ ...state, framing: "held" }];
      return [{ ...state, framing: "empty" }, "cut"];
    case "acknowledged":
      if (state.type !== "live" || state.framing !== "held" || event.inFlight >= maxSmallInFlight) return [state];
      return [{ type: "live", framing: "empty" }, "cut"];
    case "end":
      return [{ type: "over" }];
  }
}

function onHandshaken(state: WriterState, event: Handshaken): Step {
  const isFirst = state.type === "unopened";
  // The server's number is above every number of ours: those it has are not ours, and which of ours it dropped as
  // duplicates of them nobody can tell.
  if (!isFirst && event.isExclusive && event.lastSeqNo > event.highestSent) {
    return [{ type: "over" }, "fail-conflict"];
  }
  if (event.isInactive) return [{ type: "retired" }, "confirm", "hand-over"];
  const live: WriterState = { type: "live", framing: "empty" };
  return isFirst ? [live, "number", "cut"] : [live, "confirm", "replay", "cut"];
}

function onOpened(state: Exclude<WriterState, { type: "over" | "retired" }>, inFlight: number): Step {
  if (state.type === "unopened" || state.framing !== "empty") return [state];
  if (state.type === "offline") return [{ type: "offline", framing: "held" }];
  return [{ type: "live", framing: "scheduled" }, inFlight === 0 ? "await-tick" : "await-turn"];
}
