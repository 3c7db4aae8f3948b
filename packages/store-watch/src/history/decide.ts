import { sortableInteger } from "../cursor.ts";

/** What is known of an object: its head and what the source said last. */
export interface ObjectState {
  readonly id: number;
  /** Position of the newest version; 0 until it has one. */
  head: number;
  level: number;
  /** Row id of the head's epoch. */
  epoch: number;
  /** The head's version. */
  version: string;
  /** The greatest version that the source gave in the head's epoch; "" for none. */
  seen: string;
  isDeleted: boolean;
}

/** A change as the decision needs it. */
export interface ChangeFacts {
  readonly isDelete: boolean;
  /** The source's version; undefined where it has none. */
  readonly version: string | undefined;
  /** Row id of the stream's epoch. */
  readonly epoch: number;
  /** The first time that this key comes in a snapshot. */
  readonly isFirstInSnapshot: boolean;
  /** The snapshot corrects what we hold: the same version with another value is an error of ours. */
  readonly isRepair: boolean;
  /** The position that the version would get. */
  readonly position: number;
}

/** A version that the history made up; it never compares as one of the source's. */
const made = (base: string, position: number) => `${base}~${position}`;

/**
 * Whether a change is a new version, and under which text: undefined means that it is known already (V1).
 *
 * - A version must be greater than everything the source said about this key in this epoch. Another epoch always wins.
 * - Without versions, an equal value is no change.
 * - Deleting what does not exist is no change (V8).
 * - What a snapshot contains exists, also where we thought it gone: such a source contradicts itself, and the current
 *   state is right while the version's text tells it apart.
 *
 * `isSameValue` is asked only where the source has no versions, and in a repair.
 */
export function decideVersion(
  object: ObjectState | undefined,
  change: ChangeFacts,
  isSameValue: (object: ObjectState) => boolean,
): string | undefined {
  const { isDelete, version, position } = change;
  if (object === undefined) return isDelete ? undefined : (version ?? sortableInteger(position));
  if (isDelete && object.isDeleted) return undefined;
  if (version === undefined) {
    if (!isDelete && !object.isDeleted && isSameValue(object)) return undefined;
    return sortableInteger(position);
  }
  if (change.epoch !== object.epoch) return version;
  // A tombstone of a sweep has the snapshot's cursor as its version, which a source may use as a version too.
  if (version > object.seen) return version === object.version ? made(version, position) : version;
  if (!change.isFirstInSnapshot || isDelete) return undefined;
  if (object.isDeleted) return made(version, position);
  const isHead = version === object.version || version === object.seen || object.version === made(version, object.head);
  if (isHead && (!change.isRepair || isSameValue(object))) return undefined;
  return made(version, position);
}

/**
 * The version of the tombstone of a key that a snapshot no longer has: the snapshot's cursor, as long as that is newer.
 * Where the source has no versions it is our position, as for every change: a cursor could be equal to one of those.
 */
export function decideSweep(
  object: ObjectState,
  epoch: number,
  cursor: string,
  position: number,
  isVersioned: boolean,
): string {
  if (!isVersioned) return sortableInteger(position);
  const seen = object.epoch === epoch ? object.seen : "";
  return cursor > seen && !(object.epoch === epoch && object.version === cursor) ? cursor : made(seen, position);
}
