export type { Bytes } from "./bytes.ts";
export type { KeyRange } from "./key-range.ts";
export { serveWatch, serveWatchDefaults, type ServeWatchOptions, type WatchServer } from "./rpc/serve-watch.ts";
export {
  createStoreClient,
  type StoreClient,
  storeClientDefaults,
  type StoreClientOptions,
} from "./rpc/store-client.ts";
export { watchRoutes, type WatchRoutesOptions } from "./rpc/watch-routes.ts";
export { openStore, type Store } from "./store.ts";
export { StoreError, type StoreErrorCode, type StoreErrorOptions } from "./store-error.ts";
export { storeDefaults, type StoreOptions } from "./store-options.ts";
export type {
  CallOptions,
  Change,
  Compare,
  CompareAndPutResult,
  DeleteResult,
  GetResult,
  KeyValue,
  KeyValueStore,
  ListOptions,
  ListResult,
  Op,
  PutResult,
  StoreSize,
  StoreStatus,
  Transaction,
  TxnRequest,
  TxnResult,
  WatchEvent,
  WatchOptions,
} from "./store-types.ts";
