import type { FsckReport, WatcherState } from "@tidemark/store-watch";

export interface FollowOptions {
  readonly endpoint: string;
  /** The authority of the endpoint's certificate, in PEM. */
  readonly ca?: string;
  readonly prefix: string;
  readonly file: string;
  /** The defaults are those of the packages. */
  readonly heartbeatIntervalMs?: number;
  readonly silenceTimeoutMs?: number;
  readonly maxBackoffMs?: number;
  readonly maxBufferBytes?: number;
  readonly maxGroupBytes?: number;
  readonly synchronous?: "normal" | "full";
  /** Whether to tell every commit and every change of state. */
  readonly tells?: boolean;
  /** A follower that is broken on purpose, to see it found out. */
  readonly defect?: FollowDefect;
}

export type FollowDefect =
  /** Every 500th change of the stream never reaches the watcher. */
  | "loses-changes"
  /** It moves the cursor to the end of a batch before the batch is there. */
  | "runs-ahead"
  /** What is lost to a compaction is not said to be a gap. */
  | "hides-gaps";

/** What a follower tells while it runs, with `tells`. */
export type FollowEvent =
  | { readonly type: "state"; readonly state: WatcherState; readonly reason: string }
  | { readonly type: "commit-failed"; readonly error: string }
  | { readonly type: "committed"; readonly versions: number; readonly epoch: string; readonly cursor: bigint };

export interface Followed {
  /** Since the watcher was opened: from before the connection. */
  readonly ms: number;
  readonly versions: number;
  readonly cursor: bigint;
}

export type FollowRole = {
  /** Opens the history and then the watcher; resolves when the watcher runs. */
  open(options: FollowOptions): Promise<void>;
  /** Resolves when everything up to this revision is committed. */
  until(revision: bigint): Promise<Followed>;
  /** Resolves when the watcher is live, with a read of one key behind it. */
  live(key: string): Promise<{ readonly sinceOpenMs: number; readonly value: Uint8Array | undefined }>;
  /** Resolves when everything that etcd had accepted before is committed. */
  sync(): Promise<Followed>;
  fsck(): Promise<FsckReport>;
  /** Moves the wall clock of the process, which must have been started with `shiftedClockArgs`. */
  jumpClock(byMs: number): Promise<void>;
  /** Commits what was accepted and stops. */
  close(): Promise<void>;
};

/** The name of the stream in the history. */
export const followName = "etcd";
