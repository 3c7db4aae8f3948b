export {
  type AccessRight,
  type CatalogConfig,
  type CatalogSourceConfig,
  defineConfig,
  type EtcdSourceConfig,
  type GnmiSourceConfig,
  type GnmiSubscriptionConfig,
  type HistoryConfig,
  type LogLevel,
  type LimitsConfig,
  type SecretConfig,
  type ServerTlsConfig,
  type SourceConfig,
  type TidemarkConfig,
  type TlsConfig,
  type TokenConfig,
  type TopicsAuthConfig,
  type TopicsRightsConfig,
  type TopicsUserConfig,
  type WatchSourceConfig,
} from "./config/config.ts";
export type { MigrationsConfig } from "./config/migrations-settings.ts";
export type { MirrorConfig, SiteConfig } from "./config/site-settings.ts";
export type { AuditConfig, RetentionConfig } from "./config/upkeep-settings.ts";
export { DaemonError, type DaemonErrorCode, type DaemonErrorOptions, exitCodes } from "./daemon-error.ts";
