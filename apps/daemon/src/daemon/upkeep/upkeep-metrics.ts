import type { Metrics } from "@tidemark/status";
import type { RecordedAudit } from "./upkeep-types.ts";

const verdicts: readonly RecordedAudit["verdict"][] = ["equal", "repaired", "different", "inconclusive", "failed"];

/** What upkeep did, for Prometheus. */
export class UpkeepMetrics {
  readonly #audits;
  readonly #keys;
  readonly #settled;
  readonly #seconds;
  readonly #pruned;
  readonly #retries;

  constructor(metrics: Metrics) {
    const labelNames = ["stream"] as const;
    this.#audits = metrics.counter({
      name: "tidemark_audits_total",
      help: "Audits of a stream against its source, by what they found.",
      labelNames: ["stream", "verdict"],
    });
    this.#keys = metrics.counter({
      name: "tidemark_audit_different_keys_total",
      help: "Keys that audits found to differ from the source. Anything above 0 needs an explanation.",
      labelNames,
    });
    this.#settled = metrics.gauge({
      name: "tidemark_audit_last_settled_timestamp_seconds",
      help: "When an audit last found a stream equal to its source, or made it so.",
      labelNames,
    });
    this.#seconds = metrics.gauge({
      name: "tidemark_audit_last_duration_seconds",
      help: "How long the last audit of a stream took.",
      labelNames,
    });
    this.#pruned = metrics.counter({
      name: "tidemark_retention_removed_versions_total",
      help: "Superseded versions that retention removed.",
    });
    this.#retries = metrics.counter({
      name: "tidemark_quarantine_retries_total",
      help: "Changes in quarantine that were tried again, by outcome.",
      labelNames: ["outcome"],
    });
  }

  audited({ stream, verdict, missing, extra, changed, durationMs, atMs }: RecordedAudit, isSettled: boolean): void {
    // All of them from the start: a rate needs a zero before the first.
    for (const each of verdicts) this.#audits.inc({ stream, verdict: each }, each === verdict ? 1 : 0);
    this.#keys.inc({ stream }, missing + extra + changed);
    this.#seconds.set({ stream }, durationMs / 1000);
    if (isSettled) this.#settled.set({ stream }, atMs / 1000);
  }

  pruned(versions: number): void {
    this.#pruned.inc(versions);
  }

  retried(outcome: "stored" | "refused"): void {
    this.#retries.inc({ outcome });
  }
}
