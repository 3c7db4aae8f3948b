import type { Cursor, SourceCapabilities } from "../contract.ts";
import type { OpenGroup } from "./groups.ts";
import type { ObjectCache } from "./object-cache.ts";
import type { Stage } from "./stage.ts";

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
  /** Frames of the open group from earlier buffers. */
  stage: Stage;
  /** Empty; takes the next open group while the current one is applied. */
  spare: Stage;
  /** A gap was recorded and nothing applied since, so a change of epoch is explained by it. */
  isAfterGap: boolean;
  /** The gap that the history recorded itself for a change of epoch, until the source explains it. */
  ownGap: number | undefined;
}

/** What one append did. */
export interface AppendStats {
  versions: number;
  duplicates: number;
  quarantined: number;
  gaps: number;
}
