export {
  type CatalogConfig,
  type CatalogSourceConfig,
  defineConfig,
  type EtcdSourceConfig,
  type GnmiSourceConfig,
  type GnmiSubscriptionConfig,
  type HistoryConfig,
  type LogLevel,
  type SourceConfig,
  type TidemarkConfig,
  type TlsConfig,
  type WatchSourceConfig,
} from "./config/config.ts";
export { DaemonError, type DaemonErrorCode, type DaemonErrorOptions, exitCodes } from "./daemon-error.ts";
