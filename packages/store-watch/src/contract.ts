/**
 * What every source promises and every watcher expects. This file imports nothing but `cursor.ts` and
 * `guarded-sink.ts`, so that a source depends on a contract and not on a database: `@tidemark/store-watch/contract`.
 */

export { parseSortableInteger, sortableInteger } from "./cursor.ts";
export { GuardedSink } from "./guarded-sink.ts";

/** A position in a source. Opaque to everybody but the source; compares correctly as text within one epoch. */
export type Cursor = string;

/**
 * Which history of the source a cursor and a version belong to, for example a cluster id. Cursors and versions of two
 * epochs must never be compared. A wiped or restored source has a new epoch.
 */
export type Epoch = string;

/** What a source can do. The watcher's guarantees follow from this and are stated per capability in the README. */
export interface SourceCapabilities {
  /** A cursor lets the source go on without losing anything, as long as it still has that position. */
  readonly resumable: boolean;
  /** `commit` frames are transaction boundaries of the source. Otherwise they are arbitrary cuts. */
  readonly transactional: boolean;
  /** Deletions are reported while the stream is live. Otherwise only a snapshot can show them. */
  readonly tombstones: boolean;
  /** A snapshot has a marked end, so what it does not contain has vanished. */
  readonly snapshotMarker: boolean;
  /** The source says so when a cursor is too old. Otherwise a resume may have lost something unseen. */
  readonly tooOldSignal: boolean;
  /** Changes of one key arrive in the order in which they happened. */
  readonly ordered: boolean;
  /** Every change carries the source's own version, unique per key and epoch and growing. */
  readonly versioned: boolean;
}

/** One key has a new value or is gone. Provisional until the next `commit` or `snapshot-end`. */
export interface ChangeFrame {
  readonly type: "change";
  readonly key: Uint8Array;
  /** The value, byte for byte; undefined: the key was deleted. */
  readonly value: Uint8Array | undefined;
  /**
   * The source's version of this value as sortable text (see `sortableInteger`), unique per key and epoch and growing;
   * `~` is not for sources. Leave it out only where the source has none: then an equal value is no new version.
   */
  readonly version?: string | undefined;
  /** JSON text that goes into the history unread, for example `{"lease":"7587"}`. */
  readonly attributes?: string | undefined;
  /** When the source says that it happened, in milliseconds since the Unix epoch. */
  readonly sourceTimeMs?: number | undefined;
}

/**
 * A change that the source could not decode. It is set aside visibly and the stream goes on; `commit` moves past it.
 */
export interface PoisonFrame {
  readonly type: "poison";
  readonly key: Uint8Array;
  /** The value as it came; undefined: it is a deletion that was refused. */
  readonly raw: Uint8Array | undefined;
  readonly error: string;
  readonly version?: string | undefined;
}

/**
 * The whole state follows: `change` frames (values only), then `snapshot-end`. What it does not contain has vanished.
 * A second `begin-snapshot` before `snapshot-end` discards the first.
 */
export interface BeginSnapshotFrame {
  readonly type: "begin-snapshot";
  readonly epoch: Epoch;
}

export interface SnapshotEndFrame {
  readonly type: "snapshot-end";
  /** Everything up to here is contained; the stream goes on after it. */
  readonly cursor: Cursor;
}

/** The changes since the last boundary are one transaction of the source, complete. */
export interface CommitFrame {
  readonly type: "commit";
  readonly cursor: Cursor;
  readonly sourceTimeMs?: number | undefined;
}

/**
 * Nothing happened up to here. Only between groups, where it is never ahead of a change that is still to come; within a
 * group it moves nothing.
 */
export interface ProgressFrame {
  readonly type: "progress";
  readonly cursor: Cursor;
}

/**
 * Changes between `from` and `to` were lost, for this reason. Always followed by a snapshot where there is one. A partial
 * group before it is discarded.
 */
export interface GapFrame {
  readonly type: "gap";
  readonly reason: GapReason;
  /** A sentence for a person. */
  readonly detail: string;
  readonly from?: Cursor | undefined;
  readonly to?: Cursor | undefined;
}

export type GapReason =
  /** The source no longer has the changes after our cursor. */
  | "compacted"
  /** The source cannot resume; what happened while disconnected is unknown but for the snapshot. */
  | "disconnected"
  /** The source was wiped, restored or replaced. */
  | "epoch-changed"
  /** What is watched (prefix, filter) is not what the cursor was made for. */
  | "scope-changed"
  /** The source itself said that it dropped changes. */
  | "source-lost"
  /** The replica was found to hold something else than the source: the snapshot that follows corrects it. */
  | "replica-differed";

/** Cursors and versions from here on belong to another epoch. A partial group before it is discarded. */
export interface ResetFrame {
  readonly type: "reset";
  readonly epoch: Epoch;
}

/** The changes since the last boundary are incomplete and will come again: the stream broke within a group (V7). */
export interface DiscardFrame {
  readonly type: "discard";
}

export type Frame =
  | ChangeFrame
  | PoisonFrame
  | BeginSnapshotFrame
  | SnapshotEndFrame
  | CommitFrame
  | ProgressFrame
  | GapFrame
  | ResetFrame
  | DiscardFrame;

/** Where to go on: what the history last committed for this source. */
export interface ResumePoint {
  readonly epoch: Epoch;
  readonly cursor: Cursor;
}

/** What a source says about its connection. It is shown to people and decides about readiness, nothing else. */
export type SourceStatus =
  | { readonly state: "connecting"; readonly attempt: number }
  | { readonly state: "snapshotting"; readonly received: number }
  | { readonly state: "live" }
  | {
      readonly state: "waiting";
      readonly attempt: number;
      readonly delayMs: number;
      /** What went wrong and what to do, for a person; never a secret. */
      readonly error: string;
    };

/** Takes frames from one source. Nothing here ever waits for a commit (H1). */
export interface FrameSink {
  /**
   * Accepts one frame, always. False says that the buffer is full: the source must await `ready()` before it reads on,
   * so that back-pressure reaches the wire (H11). The frame and its bytes are the source's again when this returns: who
   * keeps something keeps a copy.
   */
  write(frame: Frame): boolean;
  ready(signal?: AbortSignal): Promise<void>;
  /** Called for every sign of life of the peer (a heartbeat, a progress notification), frames included. */
  alive(): void;
  status(status: SourceStatus): void;
}

/** Something that can be watched. It reconnects by itself; it is run again only after a crash of its own. */
export interface Source {
  /** What kind it is, for example `etcd`. */
  readonly kind: string;
  /** Where it is, for people, without secrets: `http://127.0.0.1:2379 /config/`. */
  readonly description: string;
  /** Digest of everything that decides which keys are seen. A cursor is valid only for the scope it was made for. */
  readonly scope: string;
  readonly capabilities: SourceCapabilities;
  /**
   * Follows the source from `from`, or from a snapshot, until `signal` aborts (then it rejects with the signal's reason
   * or resolves). Rejects when it cannot go on; the watcher then starts it again from the last committed position.
   */
  run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void>;
  /**
   * A cursor that covers every change which the source had accepted before the call, and the promise that a frame at or
   * past it will come even if nothing changes. Leave it out where the source has no such notion.
   */
  barrier?(signal: AbortSignal): Promise<ResumePoint>;
  /**
   * Writes everything that the source has now, from `begin-snapshot` to `snapshot-end`, beside a run that is under way,
   * and resolves. For audits. Leave it out where another source of the same options can be run for that.
   */
  snapshot?(sink: FrameSink, signal: AbortSignal): Promise<void>;
}
