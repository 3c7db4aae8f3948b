export { buildTree, buildTrees, type StoredLeaf } from "./build-tree.ts";
export { type GnmiConnectionOptions, gnmiConnectionDefaults } from "./connection-options.ts";
export type { LeafCounts } from "./device-state.ts";
export { type GnmiDesired, type GnmiDifference, type GnmiDrift, gnmiDesiredDefaults } from "./drift.ts";
export type { GnmiCredentials, GnmiTls } from "./endpoint.ts";
export { type ExactNumber, formatExactJson, type Json, type JsonObject, parseExactJson } from "./exact-json.ts";
export {
  type GnmiCapabilities,
  GnmiClient,
  type GnmiGetOptions,
  type GnmiSetOptions,
  type GnmiSetUpdate,
  type GnmiSubscribeEvent,
  type GnmiSubscribeOptions,
  type GnmiSubscriptionStream,
} from "./gnmi-client.ts";
export { GnmiError, type GnmiErrorCode } from "./gnmi-error.ts";
export { type GnmiSource, type GnmiSourceStats, gnmiSource } from "./gnmi-source.ts";
export type { GnmiNotification, GnmiUpdate } from "./notification.ts";
export { type GnmiSourceMode, type GnmiSourceOptions, gnmiSourceDefaults } from "./options.ts";
export {
  coversPath,
  formatPath,
  type GnmiPath,
  joinPaths,
  type PathElem,
  parsePath,
  pathElem,
  rootPath,
} from "./path.ts";
export type { GnmiSubscription, GnmiSubscriptionMode, SubscribeListOptions } from "./subscription.ts";
export { type FlattenOptions, flatten } from "./subtree.ts";
export type { EncodingName, LeafType, LeafValue, ReadValue } from "./typed-value.ts";
