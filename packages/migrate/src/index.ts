export {
  type AggregateMigration,
  type AggregateOf,
  type ColumnName,
  defineMigration,
  type EffectContext,
  type EffectMigration,
  type MapMigration,
  type Migration,
  type MigrationBody,
  type MigrationChunk,
  type MigrationCommon,
  type RunMigration,
  type SelectedColumns,
  type SetMigration,
  type WrittenColumns,
} from "./definition.ts";
export { type DualWrite, type DualWriteOptions, dualWrite } from "./dual-write.ts";
export { type EngineOptions, engineDefaults } from "./engine-options.ts";
export type { RunLogEntry } from "./ledger.ts";
export { MigrateError, type MigrateErrorCode } from "./migrate-error.ts";
export type { MigrationEvent } from "./migration-event.ts";
export type { Adjustment, Migrations, RetryOptions } from "./migrations.ts";
export { type OpenMigrationsOptions, openMigrations } from "./open-migrations.ts";
export type { MysqlClient } from "./mysql/mysql-client.ts";
export { mysqlMigrationEvents, mysqlMigrationQuarantine, mysqlMigrations } from "./mysql/mysql-tables.ts";
export type { MysqlDatabase } from "./mysql/open-mysql.ts";
export { type MigrationTuning, tuningDefaults } from "./options.ts";
export type { PaceOptions } from "./pace.ts";
export type { PostgresDatabase } from "./postgres/open-postgres.ts";
export type { PgPool, PostgresClient, PostgresJs } from "./postgres/postgres-client.ts";
export { pgMigrationEvents, pgMigrationQuarantine, pgMigrations } from "./postgres/postgres-tables.ts";
export type { QuarantinedRow } from "./quarantine.ts";
export type { DryRun, Sample } from "./rehearsal.ts";
export type { TotalKind } from "./run-row.ts";
export type { RunState } from "./run-state.ts";
export { type MigrationReader, openMigrationReader, type OpenMigrationReaderOptions } from "./reader.ts";
export { migrateSchema, type SchemaGateOptions } from "./schema-gate.ts";
export type { ServoOptions } from "./servo.ts";
export type { Reading, ThrottleSignal } from "./signals.ts";
export {
  type MysqlReplica,
  signalLimits,
  type SignalName,
  type SignalOption,
  type SignalRequest,
} from "./signals/signal-request.ts";
export type { SqliteFile } from "./sqlite/open-sqlite.ts";
export type { SqliteDriver } from "./sqlite/sqlite-client.ts";
export type { MigrationStatus } from "./status.ts";
export { sqliteMigrationEvents, sqliteMigrationQuarantine, sqliteMigrations } from "./tables.ts";
export type { ThrottleOptions } from "./throttle.ts";
