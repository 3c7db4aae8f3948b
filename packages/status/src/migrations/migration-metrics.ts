import type { Metrics } from "../metrics.ts";
import type { AsyncMigration } from "./async-migration.ts";
import type { MigrationSource } from "./migration-source.ts";

const states = [
  "registered",
  "counting",
  "running",
  "throttled",
  "paused",
  "verifying",
  "stalled",
  "done",
  "failed",
  "cancelled",
];

/**
 * The gauges and counters of migrations. When they cannot be read, their series are away and
 * `tidemark_metrics_source_up{source="migrations"}` is 0.
 *
 * @throws {StatusError} `OPTIONS_INVALID` when called twice for the same metrics.
 */
export function addMigrationMetrics(metrics: Metrics, source: MigrationSource): void {
  const labelNames = ["migration"] as const;
  const gauge = (name: string, help: string) => metrics.gauge({ name: `tidemark_migration_${name}`, help, labelNames });
  const counter = (name: string, help: string) =>
    metrics.counter({ name: `tidemark_migration_${name}_total`, help, labelNames });
  const state = metrics.gauge({
    name: "tidemark_migration_state",
    help: "1 for the state the migration is in, 0 for all others.",
    labelNames: ["migration", "state"],
  });
  const throttled = metrics.gauge({
    name: "tidemark_migration_throttled",
    help: "1 while a signal holds the migration back; the reason is the one that does so most.",
    labelNames: ["migration", "reason"],
  });
  type Series<M> = readonly [metric: M, value: (migration: AsyncMigration) => number | undefined];
  const gauges = [
    [gauge("rows_done", "Rows that are dealt with; falls when a run starts over."), (m) => m.rowsProcessed],
    [gauge("rows", "Rows there are in all, where that is known."), (m) => m.rowsTotal || undefined],
    [gauge("rows_quarantined", "Rows that could not be migrated."), (m) => m.rowsQuarantined],
    [gauge("progress_ratio", "The share that is dealt with; 1 for done alone."), (m) => m.progress],
    [gauge("rows_per_second", "Rows in a second, over the last ten to twenty."), (m) => m.ratePerSec],
    [gauge("eta_seconds", "How long copying takes at this rate, where that is known."), (m) => m.etaSec || undefined],
    [gauge("yield_ratio", "The share of the time that was left to others."), (m) => m.yieldShare],
    [gauge("run", "The number of the run; each retry is a new one."), (m) => m.runNo],
    [gauge("start_timestamp_seconds", "When it began."), (m) => seconds(m.startedAt)],
    [gauge("end_timestamp_seconds", "When it ended."), (m) => seconds(m.endedAt)],
    [gauge("heartbeat_timestamp_seconds", "The last sign of life of its worker."), (m) => seconds(m.heartbeatAt)],
  ] satisfies readonly Series<ReturnType<typeof gauge>>[];
  const chunks = counter("chunks", "Chunks that are committed.");

  const clear = () => {
    state.reset();
    throttled.reset();
    chunks.reset();
    for (const [metric] of gauges) metric.reset();
  };
  metrics.addSource({
    name: "migrations",
    async read() {
      const { migrations, error } = await source.current();
      if (migrations === undefined) throw new Error(error);
      return migrations;
    },
    // The source remembers already.
    ttlMs: 0,
    clear,
    write(migrations) {
      clear();
      for (const each of migrations) {
        const migration = each.name;
        for (const name of new Set([...states, each.state]))
          state.set({ migration, state: name }, +(name === each.state));
        if (each.throttleReason !== undefined) throttled.set({ migration, reason: signalIn(each.throttleReason) }, 1);
        chunks.inc({ migration }, each.chunks);
        for (const [metric, value] of gauges) {
          const current = value(each);
          if (current !== undefined) metric.set({ migration }, current);
        }
      }
    },
  });
}

/** The signal that a reason begins with: what it measured changes all the time, and each label is a series for ever. */
const signalIn = (reason: string) => /^[^:]*?(?=:| cannot be read|$)/.exec(reason)?.[0] ?? reason;

const seconds = (time: string | undefined) => (time === undefined ? undefined : Date.parse(time) / 1000);
