import type { Notification } from "./gen/gnmi/gnmi_pb.ts";
import type { GnmiPath } from "./path.ts";
import { type ReadValue, readUpdate } from "./typed-value.ts";
import { fromWirePath, wholePath } from "./wire-path.ts";

/** One value of a notification. */
export interface GnmiUpdate {
  readonly path: GnmiPath;
  /** A leaf as JSON text, or a subtree. */
  readonly value: ReadValue;
  /** How many values of this path the device skipped before this one. */
  readonly duplicates: number;
}

/** What a device says happened at one moment: deletions first, then updates. */
export interface GnmiNotification {
  /** Nanoseconds since the Unix epoch, by the device's clock. */
  readonly timestampNs: bigint;
  /** What everything in here is below. */
  readonly prefix: GnmiPath;
  /** It is the whole state of `prefix`. */
  readonly isAtomic: boolean;
  readonly updates: readonly GnmiUpdate[];
  readonly deletes: readonly GnmiPath[];
}

/** @throws {GnmiError} `PATH_INVALID` or `VALUE_INVALID`. */
export function readNotification(notification: Notification): GnmiNotification {
  const prefix = fromWirePath(notification.prefix);
  return {
    timestampNs: notification.timestamp,
    prefix,
    isAtomic: notification.atomic,
    updates: notification.update.map((update) => ({
      path: wholePath(prefix, update.path),
      value: readUpdate(update),
      duplicates: update.duplicates,
    })),
    deletes: notification.delete.map((path) => wholePath(prefix, path)),
  };
}
