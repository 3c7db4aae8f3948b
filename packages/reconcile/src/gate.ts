/** When a phase has anything to do. Without a gate it runs in every cycle. */
export interface Gate {
  /**
   * Digest of the whole configuration that decides what the phase does: addresses and limits, too, not only ids. The
   * phase runs when it differs from that of its last success.
   */
  readonly config?: () => string | Promise<string>;
  /**
   * Asks whether anything changed there, cheaply: a hash, an ETag, a revision. The phase runs when the answer differs
   * from that of its last success. A probe that fails forces nothing (R5); it is in the report.
   */
  readonly probe?: (signal: AbortSignal) => Promise<string>;
  /**
   * How long a probe may take, in milliseconds.
   * @default 3_000
   */
  readonly probeTimeoutMs?: number;
  /**
   * Runs the phase when its last success is older, in milliseconds, whatever the probe says: a hash may lie.
   * @default Infinity
   */
  readonly everyMs?: number;
}

/** What a gate knew when its phase last succeeded. Failures do not move it (R4). */
export interface GateMemo {
  readonly config: string | undefined;
  readonly probe: string | undefined;
  readonly successMs: number;
}

export interface GateView {
  readonly config: string | undefined;
  /** Undefined: there is no probe, or it failed. */
  readonly probe: string | undefined;
  readonly nowMs: number;
}

export type GateReason = "first" | "config" | "probe" | "age";

/** Why the phase has to run, or undefined: it has not (R4). */
export function gateReason(memo: GateMemo | undefined, view: GateView, everyMs: number): GateReason | undefined {
  if (memo === undefined) return "first";
  if (view.config !== memo.config) return "config";
  if (view.probe !== undefined && view.probe !== memo.probe) return "probe";
  const ageMs = view.nowMs - memo.successMs;
  // A wall clock that was set back says nothing about the age.
  return ageMs >= everyMs || (ageMs < 0 && everyMs !== Number.POSITIVE_INFINITY) ? "age" : undefined;
}

/** What to remember after a success. A probe that failed leaves the former answer, so that the next one counts. */
export function memoAfter(memo: GateMemo | undefined, view: GateView): GateMemo {
  return { config: view.config, probe: view.probe ?? memo?.probe, successMs: view.nowMs };
}
