import { expect, test } from "vitest";
import { nextSchedule, type ScheduleEffect, type ScheduleEvent, type ScheduleState } from "../src/cycle-schedule.ts";

type Row = Record<ScheduleEvent["type"], readonly [string, ...ScheduleEffect["type"][]]>;

// A state or an event that is missing here does not compile.
const table: Record<ScheduleState["type"] | "running, again", Row> = {
  idle: {
    tick: ["running", "start"],
    trigger: ["running", "start"],
    ended: ["idle"],
    close: ["closed", "finish"],
  },
  running: {
    tick: ["running, again"],
    trigger: ["running, again"],
    ended: ["idle"],
    close: ["closing", "cancel"],
  },
  "running, again": {
    tick: ["running, again"],
    trigger: ["running, again"],
    ended: ["running", "start"],
    close: ["closing", "cancel"],
  },
  closing: { tick: ["closing"], trigger: ["closing"], ended: ["closed", "finish"], close: ["closing"] },
  closed: { tick: ["closed"], trigger: ["closed"], ended: ["closed"], close: ["closed"] },
};

const stateOf = (name: string): ScheduleState => {
  const type = name as ScheduleState["type"];
  if (name === "running, again") return { type: "running", isAgain: true };
  return type === "running" ? { type, isAgain: false } : { type };
};

const nameOf = (state: ScheduleState) => (state.type === "running" && state.isAgain ? "running, again" : state.type);

test("R1: every state answers every event as the table says", () => {
  for (const [from, row] of Object.entries(table)) {
    for (const [event, expected] of Object.entries(row)) {
      const [state, ...effects] = nextSchedule(stateOf(from), { type: event } as ScheduleEvent);
      expect([nameOf(state), ...effects.map((each) => each.type)], `${from}, ${event}`).toEqual(expected);
    }
  }
});
