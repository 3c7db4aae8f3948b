export { openWatcher } from "./watcher.ts";
export {
  type Watcher,
  type WatcherCloseOptions,
  watcherDefaults,
  type WatcherEvent,
  type WatcherLag,
  type WatcherOptions,
  type WatcherState,
  type WatcherStatus,
} from "./watcher-types.ts";
