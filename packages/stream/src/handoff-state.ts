/** What the committer does. `isDue`: a batch was wanted while none could be cut, so the next is cut at once (H4). */
export type HandoffPhase =
  | { readonly type: "idle"; readonly isDue: boolean; readonly closing: Closing }
  /** `attempt`: which try this is, from 1. */
  | { readonly type: "committing"; readonly attempt: number; readonly isDue: boolean; readonly closing: Closing }
  /** The batch at the head waits for its next try; `attempt` is how many failed. */
  | { readonly type: "retrying"; readonly attempt: number; readonly isDue: boolean; readonly closing: Closing }
  /** Stopped and visible, with everything kept. `hasHead`: a batch failed; otherwise no buffer could be made. */
  | { readonly type: "quarantined"; readonly error: unknown; readonly hasHead: boolean }
  | { readonly type: "closed" };

/** Whether it is being closed, and what happens to what is left. */
type Closing = "flush" | "discard" | undefined;

/** `canCut`: whether the accumulator holds something that may be handed over (H7). */
export type HandoffPhaseEvent =
  | { readonly type: "due"; readonly canCut: boolean }
  | { readonly type: "committed"; readonly canCut: boolean }
  | { readonly type: "failed"; readonly error: unknown; readonly isGivenUp: boolean }
  | { readonly type: "retry-due" }
  /** Somebody asked for the next try now. */
  | { readonly type: "retry" }
  /** No buffer could be made. */
  | { readonly type: "broken"; readonly error: unknown }
  | { readonly type: "close"; readonly mode: "flush" | "discard"; readonly canCut: boolean }
  | { readonly type: "close-timeout" }
  | { readonly type: "destroy" };

export type HandoffEffect =
  /** The accumulator becomes the head, and an empty buffer the accumulator. */
  | { readonly type: "exchange" }
  /** Offer the head to the committer. */
  | { readonly type: "commit"; readonly attempt: number }
  /** The head is committed: count it and keep its buffer for later. */
  | { readonly type: "release" }
  | { readonly type: "wait"; readonly attempt: number; readonly error: unknown }
  | { readonly type: "cancel-wait" }
  | { readonly type: "quarantine"; readonly attempt: number; readonly error: unknown }
  | { readonly type: "resume" }
  /** Let go of a commit that may still be under way. */
  | { readonly type: "abort" }
  | {
      readonly type: "finish";
      readonly why: "done" | "quarantined" | "timeout" | "destroyed";
      readonly error?: unknown;
    };

type Step = readonly [HandoffPhase, ...HandoffEffect[]];

const begin = (closing: Closing): Step => [
  { type: "committing", attempt: 1, isDue: false, closing },
  { type: "exchange" },
  { type: "commit", attempt: 1 },
];

const finish = (why: "done" | "timeout" | "destroyed"): Step => [{ type: "closed" }, { type: "finish", why }];

export function nextHandoffPhase(phase: HandoffPhase, event: HandoffPhaseEvent): Step {
  if (phase.type === "closed") return [phase];
  switch (event.type) {
    case "due":
      if (phase.type === "quarantined") return [phase];
      if (phase.type !== "idle") return [{ ...phase, isDue: true }];
      return event.canCut ? begin(phase.closing) : [{ ...phase, isDue: true }];
    case "committed":
      return phase.type === "committing" ? onCommitted(phase, event.canCut) : [phase];
    case "failed":
      return phase.type === "committing" ? onFailed(phase, event) : [phase];
    case "retry-due":
    case "retry":
      return onRetry(phase, event.type);
    case "broken": {
      const error = event.error;
      if (phase.type !== "idle") return [phase];
      if (phase.closing) return [{ type: "closed" }, { type: "finish", why: "quarantined", error }];
      return [
        { type: "quarantined", error, hasHead: false },
        { type: "quarantine", attempt: 0, error },
      ];
    }
    case "close":
      return onClose(phase, event);
    case "close-timeout":
      return isClosing(phase) ? stop(phase, "timeout") : [phase];
    case "destroy":
      return stop(phase, "destroyed");
  }
}

function isClosing(phase: HandoffPhase): boolean {
  return "closing" in phase && phase.closing !== undefined;
}

function onCommitted(phase: HandoffPhase & { readonly type: "committing" }, canCut: boolean): Step {
  const release = { type: "release" } as const;
  if (phase.closing === "discard" || (phase.closing === "flush" && !canCut)) {
    return [{ type: "closed" }, release, { type: "finish", why: "done" }];
  }
  if (canCut && (phase.isDue || phase.closing === "flush")) {
    const [next, ...effects] = begin(phase.closing);
    return [next, release, ...effects];
  }
  return [{ type: "idle", isDue: phase.isDue, closing: phase.closing }, release];
}

function onFailed(
  phase: HandoffPhase & { readonly type: "committing" },
  { error, isGivenUp }: { readonly error: unknown; readonly isGivenUp: boolean },
): Step {
  const { attempt } = phase;
  if (phase.closing === "discard") return finish("done");
  if (!isGivenUp) {
    return [
      { ...phase, type: "retrying" },
      { type: "wait", attempt, error },
    ];
  }
  if (phase.closing === "flush") {
    return [{ type: "closed" }, { type: "quarantine", attempt, error }, { type: "finish", why: "quarantined", error }];
  }
  return [
    { type: "quarantined", error, hasHead: true },
    { type: "quarantine", attempt, error },
  ];
}

function onRetry(phase: HandoffPhase, asked: "retry" | "retry-due"): Step {
  if (phase.type === "retrying") {
    const attempt = phase.attempt + 1;
    const commit = { type: "commit", attempt } as const;
    const next = { ...phase, type: "committing", attempt } as const;
    return asked === "retry" ? [next, { type: "cancel-wait" }, commit] : [next, commit];
  }
  if (phase.type !== "quarantined" || asked !== "retry") return [phase];
  if (!phase.hasHead) return [{ type: "idle", isDue: true, closing: undefined }, { type: "resume" }];
  return [
    { type: "committing", attempt: 1, isDue: true, closing: undefined },
    { type: "resume" },
    { type: "commit", attempt: 1 },
  ];
}

function onClose(
  phase: Exclude<HandoffPhase, { readonly type: "closed" }>,
  { mode, canCut }: { readonly mode: "flush" | "discard"; readonly canCut: boolean },
): Step {
  if (phase.type === "quarantined") {
    if (mode === "discard") return finish("done");
    return [{ type: "closed" }, { type: "finish", why: "quarantined", error: phase.error }];
  }
  if (phase.closing !== undefined) return [phase];
  if (phase.type === "committing") return [{ ...phase, closing: mode }];
  if (mode === "flush") {
    if (phase.type === "retrying") return [{ ...phase, closing: mode }];
    return canCut ? begin(mode) : finish("done");
  }
  if (phase.type === "retrying") return [{ type: "closed" }, { type: "cancel-wait" }, { type: "finish", why: "done" }];
  return finish("done");
}

function stop(phase: HandoffPhase, why: "timeout" | "destroyed"): Step {
  const end = { type: "finish", why } as const;
  if (phase.type === "committing") return [{ type: "closed" }, { type: "abort" }, end];
  if (phase.type === "retrying") return [{ type: "closed" }, { type: "cancel-wait" }, end];
  return [{ type: "closed" }, end];
}
