export { SourceWatchError, type SourceWatchErrorCode } from "./source-watch-error.ts";
export { watchSource } from "./watch-source.ts";
export { watchSourceDefaults, type WatchSourceOptions } from "./watch-source-options.ts";
