import type { StoredKeyValue } from "./database/commands.ts";
import type { KeyValue } from "./store-types.ts";

/** Inside a store revisions are numbers (2^53 of them outlive any disk); outside they are 64-bit integers. */
export function toKeyValue(stored: StoredKeyValue): KeyValue {
  return {
    key: stored.key,
    value: stored.value,
    modRevision: BigInt(stored.modRevision),
    createRevision: BigInt(stored.createRevision),
    version: BigInt(stored.version),
  };
}
