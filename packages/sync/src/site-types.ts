import type { ConflictGroup, GraphSnapshotPart, GraphWritten, VersionId } from "@tidemark/store-watch";
import type { SiteEvent, SiteStatus } from "./site-status.ts";

export interface Site extends AsyncDisposable {
  /** Names this site in the vectors of all sites. */
  readonly origin: string;
  /**
   * Writes one transaction here: it is durable when this resolves, and goes to the other sites as a whole.
   *
   * @throws {SyncError} `CLOSED`; {StoreWatchError} `COMMIT_FAILED`
   */
  write(edits: readonly SiteEdit[]): Promise<GraphWritten>;
  /** Groups of keys whose conflict is open. */
  conflicts(): Promise<readonly ConflictGroup[]>;
  /** Resolves once the channel has everything that was written before. */
  flush(signal?: AbortSignal): Promise<void>;
  status(): Promise<SiteStatus>;
  /** This site as a peer of others. */
  missing(vector: Readonly<Record<string, number>>): Promise<readonly Uint8Array[]>;
  /** This site as a peer of those that are new, or too late for `missing`. */
  snapshot(after: string | undefined): Promise<GraphSnapshotPart>;
  /** Calls back with what happens, until the function that is returned is called. */
  onEvent(listener: (event: SiteEvent) => void): () => void;
  /** Resolves when it is closed, rejects when it cannot go on. */
  readonly closed: Promise<void>;
  /** Stops; what is not published yet is after the next start. */
  close(): Promise<void>;
}

/** A new value of a key; undefined deletes it. */
export interface SiteEdit {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly attributes?: string;
  /**
   * The heads whose place it takes, for who decided after looking at them: one that came meanwhile stays in conflict.
   * @default every head that the key has here
   */
  readonly parents?: readonly VersionId[];
}
