import type { Cursor, SourceCapabilities } from "../contract.ts";
import type { OpenGroup } from "./groups.ts";
import type { ObjectCache } from "./object-cache.ts";

/** One open stream as its writer knows it. What has a column in `streams` is reloaded after a rollback. */
export interface StreamState {
  readonly id: number;
  name: string;
  capabilities: SourceCapabilities;
  readonly cache: ObjectCache;
  epoch: { readonly id: number; readonly identity: string } | undefined;
  cursor: Cursor | undefined;
  keys: number;
  versions: number;
  gaps: number;
  quarantined: number;
  lastCommitAt: number | undefined;
  /** Grows with every `openStream` of the name: only the newest writer may append. */
  token: number;
  open: OpenGroup | undefined;
  /** A gap was recorded and nothing applied since, so a change of epoch is explained by it. */
  isAfterGap: boolean;
  /** The gap was that what is here was found to be wrong: the snapshot after it is compared byte for byte. */
  isRepair: boolean;
  /** The gap that the history recorded itself for a change of epoch, until the source explains it. */
  ownGap: number | undefined;
}

/** What a stream's row says about where it stands. */
export type StreamColumns = Pick<
  StreamState,
  "name" | "capabilities" | "epoch" | "cursor" | "keys" | "versions" | "gaps" | "quarantined" | "lastCommitAt"
>;

/** What one append did. */
export interface AppendStats {
  versions: number;
  duplicates: number;
  quarantined: number;
  gaps: number;
}

export const noStats = (): AppendStats => ({ versions: 0, duplicates: 0, quarantined: 0, gaps: 0 });
