export type { Check, CheckOutcome, CheckReport, CheckState } from "./checks.ts";
export { errorText } from "./error-text.ts";
export {
  methodRefusal,
  type PlainHandler,
  type PlainRequest,
  type PlainResponse,
  pathOf,
  toFetchHandler,
  toNodeListener,
} from "./http.ts";
export { type MetricOptions, Metrics, type MetricSource, type MetricsOptions, metricsDefaults } from "./metrics.ts";
export {
  createStatus,
  type HealthReport,
  type ReadyReport,
  type Status,
  type StatusOptions,
  statusDefaults,
} from "./status.ts";
export type { AsyncMigration, AsyncMigrationStatus } from "./migrations/async-migration.ts";
export { addMigrationMetrics } from "./migrations/migration-metrics.ts";
export type { MigrationHealth, PerfSection } from "./migrations/migration-routes.ts";
export type { MigrationSample } from "./migrations/migration-sample.ts";
export {
  createMigrationSource,
  type MigrationReading,
  type MigrationSource,
  type MigrationSourceOptions,
} from "./migrations/migration-source.ts";
export { StatusError, type StatusErrorCode } from "./status-error.ts";
export {
  addStreamMetrics,
  type CommitObservation,
  type StreamMetrics,
  type StreamMetricsOptions,
  type StreamSample,
} from "./stream-metrics.ts";
export { TtlCache, type TtlCacheOptions, ttlCacheDefaults } from "./ttl-cache.ts";
