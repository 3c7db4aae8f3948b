import type { WatcherMachine } from "./watcher-state.ts";
import type { WatcherState } from "./watcher-types.ts";

/** What people see of the machine. */
export function stateOf({ phase, health, attempt }: WatcherMachine): WatcherState {
  if (phase === "failed" || phase === "stopped") return phase;
  if (phase === "closing") return "stopped";
  if (health === "quarantined") return "quarantined";
  switch (phase) {
    case "snapshotting":
    case "live":
      return phase;
    case "starting":
      // Started again is not connected again.
      return attempt === 0 ? phase : "reconnecting";
    case "waiting":
    case "draining":
    case "backing-off":
    case "resyncing":
      return "reconnecting";
    default:
      return phase satisfies never;
  }
}

/** The worst of what is wrong, as a sentence. */
export function problemOf(machine: WatcherMachine, isHeldBack: boolean, drops: number): string | undefined {
  const state = stateOf(machine);
  if (state === "stopped") return undefined;
  if (state === "failed") return `${machine.reason} Open a new watcher once the cause is gone.`;
  if (machine.commitProblem !== undefined) return machine.commitProblem;
  if (state === "reconnecting") return machine.reason;
  if (isHeldBack) {
    return (
      "The source is held back because the buffer is full: it delivers faster than the history commits. Nothing is lost; " +
      "raise maxBufferBytes or look at the disk if this lasts."
    );
  }
  if (drops > 0) {
    return (
      `${drops} accepted changes left memory without a known commit and were asked of the source again. ` +
      "Look at the events of the history's threads."
    );
  }
  return undefined;
}
