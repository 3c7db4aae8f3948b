import { deadline } from "@tidemark/clock";
import type { CycleBooks, DirtyRow } from "./books.ts";
import type { CycleDefinition, CycleReport, FinalizeReport } from "./cycle-types.ts";
import { type Gate, type GateMemo, type GateReason, type GateView, gateReason, memoAfter } from "./gate.ts";
import { type Phase, type PhaseHost, type PhaseOutcome, type PhaseReport, Overdue } from "./phase.ts";
import { errorText, ReconcileError } from "./reconcile-error.ts";

const defaultProbeTimeoutMs = 3_000;

export interface CycleRunParts<Tx> extends Omit<PhaseHost<Tx>, "overdue"> {
  readonly definition: CycleDefinition<Tx>;
  readonly books: CycleBooks<Tx>;
  /** Of all cycles, by phase. */
  readonly overdue: Map<string, Overdue>;
  onPhase(name: string | undefined): void;
  onReport(report: PhaseReport): void;
}

interface Opened {
  readonly reason: GateReason;
  readonly view: GateView;
  readonly memo: GateMemo | undefined;
}

/** One cycle from its first phase to its last finalizer. Never rejects: what went wrong is in the report. */
export class CycleRun<Tx> {
  readonly #parts: CycleRunParts<Tx>;
  readonly #reports: PhaseReport[] = [];
  /** Phases that have succeeded, now or before. */
  readonly #satisfied = new Set<string>();

  constructor(parts: CycleRunParts<Tx>) {
    this.#parts = parts;
  }

  async run(): Promise<CycleReport> {
    const { clock, context, definition } = this.#parts;
    const started = clock.monotonic();
    let finalized: FinalizeReport = { keys: 0, failed: 0 };
    let error: string | undefined;
    try {
      for (const phase of definition.phases) {
        const report = await this.#phase(phase);
        this.#reports.push(report);
        this.#parts.onReport(report);
      }
      this.#parts.onPhase(undefined);
      if (!context.signal.aborted) finalized = await this.#finalize();
    } catch (cause) {
      error = errorText(cause);
    }
    this.#parts.onPhase(undefined);
    return {
      cycleNo: context.cycleNo,
      startedMs: context.nowMs,
      durationMs: clock.monotonic() - started,
      isCancelled: context.signal.aborted,
      phases: this.#reports,
      finalized,
      ...(error === undefined ? {} : { error }),
    };
  }

  async #phase(phase: Phase<Tx>): Promise<PhaseReport> {
    const { clock, context, overdue } = this.#parts;
    const started = clock.monotonic();
    const report = (outcome: PhaseOutcome, more: Partial<PhaseReport> = {}): PhaseReport => {
      if (outcome === "done" || outcome === "partial") this.#satisfied.add(phase.name);
      return { phase: phase.name, outcome, durationMs: clock.monotonic() - started, ...more };
    };
    if (context.signal.aborted) return report("cancelled");
    const missing = phase.requires.find((name) => !this.#satisfied.has(name));
    if (missing !== undefined) return report("blocked", { error: `${missing} has not succeeded` });
    this.#parts.onPhase(phase.name);

    let opened: Opened | undefined;
    const about: { reason?: GateReason; probeError?: string } = {};
    try {
      if (phase.gate !== undefined) {
        const tried = await this.#tryGate(phase.name, phase.gate);
        if (tried.probeError !== undefined) about.probeError = tried.probeError;
        if (tried.opened === undefined) {
          // A memo is there only after a success.
          this.#satisfied.add(phase.name);
          return report("gated", about);
        }
        opened = tried.opened;
        about.reason = tried.opened.reason;
      }
      let own = overdue.get(phase.name);
      if (own === undefined) overdue.set(phase.name, (own = new Overdue()));
      const { outcome, ...rest } = await phase.execute({ ...this.#parts, overdue: own });
      if (opened !== undefined && outcome === "done") {
        await this.#parts.books.saveGate(phase.name, memoAfter(opened.memo, opened.view));
      }
      return report(outcome, { ...about, ...rest });
    } catch (error) {
      if (context.signal.aborted) return report("cancelled", about);
      return report("failed", { ...about, error: errorText(error) });
    }
  }

  /** What the configuration and the probe say is read before the phase runs, so that a change during it counts. */
  async #tryGate(name: string, gate: Gate): Promise<{ opened: Opened | undefined; probeError: string | undefined }> {
    const { books, clock } = this.#parts;
    const memo = await books.gate(name);
    const config = await gate.config?.();
    let probe: string | undefined;
    let probeError: string | undefined;
    if (gate.probe !== undefined) {
      try {
        probe = await this.#probe(gate.probe, gate.probeTimeoutMs ?? defaultProbeTimeoutMs);
      } catch (error) {
        this.#parts.context.signal.throwIfAborted();
        probeError = errorText(error);
      }
    }
    const view = { config, probe, nowMs: clock.now() };
    const reason = gateReason(memo, view, gate.everyMs ?? Number.POSITIVE_INFINITY);
    return { opened: reason && { reason, view, memo }, probeError };
  }

  async #probe(ask: (signal: AbortSignal) => Promise<string>, timeoutMs: number): Promise<string> {
    using limit = deadline(this.#parts.clock, timeoutMs, this.#parts.context.signal);
    const { signal } = limit;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () =>
      reject(new ReconcileError("TIMEOUT", `The probe gave no answer within ${timeoutMs} ms`, { retryable: true }));
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([ask(signal), promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Every key that is dirty now, once. What is marked from here on is the next cycle's. */
  async #finalize(): Promise<FinalizeReport> {
    const { books, context, definition } = this.#parts;
    const { finalizers = [], finalizeConcurrency = 1 } = definition;
    const dirty = await books.dirty();
    const keys = dirty.values();
    let failed = 0;
    let error: string | undefined;
    const finalizeOne = async (row: DirtyRow): Promise<void> => {
      try {
        for (const each of finalizers) await each.run(row.item, context.signal);
      } catch (cause) {
        if (context.signal.aborted) return;
        failed++;
        error ??= `${row.item}: ${errorText(cause)}`;
        return;
      }
      await books.clearDirty(row);
    };
    const work = async (): Promise<void> => {
      for (const row of keys) {
        if (context.signal.aborted) return;
        await finalizeOne(row);
      }
    };
    await Promise.all(Array.from({ length: Math.min(finalizeConcurrency, dirty.length) }, work));
    return { keys: dirty.length, failed, ...(error === undefined ? {} : { error }) };
  }
}
