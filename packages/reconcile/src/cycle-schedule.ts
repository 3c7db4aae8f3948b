/**
 * When a cycle runs, as a pure state machine (R1): the first one at once, never two at a time, and whatever is due while
 * one runs becomes exactly one more after it. Nothing that happens inside of a cycle is an event here, so a cycle cannot
 * trigger itself.
 */
export type ScheduleState =
  | { readonly type: "idle" }
  | { readonly type: "running"; readonly isAgain: boolean }
  | { readonly type: "closing" }
  | { readonly type: "closed" };

export type ScheduleEvent =
  /** The interval has passed. */
  | { readonly type: "tick" }
  /** Somebody outside wants a cycle now. */
  | { readonly type: "trigger" }
  | { readonly type: "ended" }
  | { readonly type: "close" };

export type ScheduleEffect = { readonly type: "start" } | { readonly type: "cancel" } | { readonly type: "finish" };

export const initialSchedule: ScheduleState = { type: "idle" };

type Step = readonly [ScheduleState, ...ScheduleEffect[]];

const running: ScheduleState = { type: "running", isAgain: false };

export function nextSchedule(state: ScheduleState, event: ScheduleEvent): Step {
  switch (state.type) {
    case "idle":
      if (event.type === "close") return [{ type: "closed" }, { type: "finish" }];
      return event.type === "ended" ? [state] : [running, { type: "start" }];
    case "running":
      if (event.type === "close") return [{ type: "closing" }, { type: "cancel" }];
      if (event.type !== "ended") return [{ type: "running", isAgain: true }];
      return state.isAgain ? [running, { type: "start" }] : [initialSchedule];
    case "closing":
      return event.type === "ended" ? [{ type: "closed" }, { type: "finish" }] : [state];
    case "closed":
      return [state];
  }
}
