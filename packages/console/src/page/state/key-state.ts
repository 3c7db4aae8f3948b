import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { equalBytes } from "../text/bytes.ts";
import type { Moment } from "./view.ts";

/** The history of one key, newest first, as far as it was read. */
export interface KeyHistory {
  readonly stream: string;
  readonly key: Uint8Array;
  readonly versions: readonly Version[];
  /**
   * Where several sites write: the positions of all versions that nothing has taken the place of. Empty elsewhere, and
   * until it is known.
   */
  readonly heads: readonly bigint[];
  /** For reading on; undefined: the oldest version is here. */
  readonly next: string | undefined;
  /** The version that is shown. Undefined: the newest one, whichever that is. */
  readonly shown: bigint | undefined;
  /** What it is compared with. Undefined: the version before it. */
  readonly base: bigint | undefined;
}

/** Adds what was pushed. The same object if nothing of it is new and of this key. */
export function addVersions(history: KeyHistory, changes: readonly Version[]): KeyHistory {
  const newest = history.versions[0]?.position ?? -1n;
  const fresh = changes.filter(
    (change) => change.position > newest && change.stream === history.stream && equalBytes(change.key, history.key),
  );
  return fresh.length === 0 ? history : { ...history, versions: [...fresh.reverse(), ...history.versions] };
}

/** Adds an older page; overlaps are dropped. */
export function addOlder(history: KeyHistory, older: readonly Version[], next: string | undefined): KeyHistory {
  const oldest = history.versions.at(-1)?.position;
  const fresh = older.filter((version) => oldest === undefined || version.position < oldest);
  return { ...history, versions: [...history.versions, ...fresh], next };
}

export interface Comparison {
  readonly shown: Version | undefined;
  readonly base: Version | undefined;
}

/** The two versions to look at. At a moment in the past the newest one is the newest of then. */
export function comparisonOf(history: KeyHistory, at: Moment | undefined): Comparison {
  const { versions } = history;
  const current = versions.find((version) => isWithin(version, at));
  const shown = history.shown === undefined ? current : versions.find(({ position }) => position === history.shown);
  if (shown === undefined) return { shown: undefined, base: undefined };
  const base =
    history.base === undefined
      ? versions.find(({ position }) => position < shown.position)
      : versions.find(({ position }) => position === history.base);
  return { shown, base };
}

/** Whether a version was there at the moment already. */
export function isWithin(version: Version, at: Moment | undefined): boolean {
  if (at === undefined) return true;
  return at.type === "time" ? Number(version.committedAtMs) <= at.ms : version.position <= at.position;
}

/** Whether the versions of the key come from several origins, so that their graph is worth a picture. */
export const hasGraph = ({ heads, versions }: KeyHistory): boolean =>
  heads.length > 0 || versions.some(({ parents }) => parents.length > 1);

/** Who made a version of a site's stream: its version is a stamp, which ends with the origin. */
export function originOf({ version }: Pick<Version, "version">): string {
  const stamp = /^[0-9a-f]{16}-(.+)$/.exec(version);
  return stamp?.[1] ?? "this database";
}
