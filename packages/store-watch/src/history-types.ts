import type { Cursor, Epoch, GapReason, ResumePoint, SourceCapabilities } from "./contract.ts";
import type { FrameBuffer } from "./frame-buffer.ts";
import type { GraphOptions, HistoryGraph } from "./history/graph-types.ts";

/**
 * A place in the local log: dense, total, growing with every version that this database took in, whatever its source.
 * All bigints of this file are positions unless they say otherwise.
 */
export type Position = bigint;

/** Which moment a read shows. At most one field; none means now. */
export interface AsOf {
  /** The last state committed at or before this time, in milliseconds since the Unix epoch (our clock, not the source's). */
  readonly timeMs?: number;
  /** The state after this position. */
  readonly position?: Position;
  /** The state of one stream after this cursor of its current epoch. Needs `stream`. */
  readonly cursor?: Cursor;
}

export type VersionKind = "put" | "delete";

/**
 * How a version came to be known. `sweep`: a snapshot no longer had the key. `peer`: another site made it. `merge`: a
 * resolution of a conflict did, here or there.
 */
export type VersionVia = "stream" | "snapshot" | "sweep" | "retry" | "peer" | "merge";

export interface VersionRecord {
  readonly position: Position;
  readonly stream: string;
  readonly key: Uint8Array;
  readonly kind: VersionKind;
  /** Undefined for a deletion. */
  readonly value: Uint8Array | undefined;
  /** The source's version text; for a source without versions, our position. */
  readonly version: string;
  readonly epoch: Epoch;
  /** Position of the version before it: undefined for the first; it may have been pruned. */
  readonly parents: readonly Position[];
  readonly level: number;
  readonly via: VersionVia;
  readonly attributes: string | undefined;
  /** The batch (one transaction of the source) it came with. */
  readonly batch: bigint;
  readonly cursor: Cursor;
  /** When it was committed here, in milliseconds since the Unix epoch; never goes backwards within a database. */
  readonly committedAtMs: number;
  readonly sourceTimeMs: number | undefined;
}

export interface GapRecord {
  readonly id: number;
  readonly stream: string;
  readonly epoch: Epoch | undefined;
  readonly reason: GapReason;
  readonly detail: string;
  readonly from: Cursor | undefined;
  readonly to: Cursor | undefined;
  /** The last position before the gap. */
  readonly position: Position;
  readonly atMs: number;
}

export interface QuarantineRecord {
  readonly id: number;
  readonly stream: string;
  readonly key: Uint8Array;
  readonly kind: VersionKind;
  readonly value: Uint8Array | undefined;
  readonly version: string | undefined;
  readonly epoch: Epoch;
  readonly cursor: Cursor;
  readonly error: string;
  readonly atMs: number;
  readonly state: "open" | "retried" | "skipped";
  /** Why it was skipped, or the position that the retry made. */
  readonly resolution: string | undefined;
}

export interface StreamRecord {
  readonly name: string;
  readonly kind: string;
  readonly description: string;
  readonly scope: string;
  readonly capabilities: SourceCapabilities;
  readonly epoch: Epoch | undefined;
  readonly cursor: Cursor | undefined;
  readonly keys: number;
  readonly versions: number;
  readonly gaps: number;
  readonly quarantined: number;
  readonly lastCommitAtMs: number | undefined;
}

export interface KeyRange {
  readonly stream?: string;
  readonly prefix?: Uint8Array;
  /** Inclusive. */
  readonly start?: Uint8Array;
  /** Exclusive. */
  readonly end?: Uint8Array;
}

export interface PageOptions {
  /** @default 1000 @maximum 10_000 */
  readonly limit?: number;
  /** `next` of the page before. */
  readonly after?: string;
  readonly signal?: AbortSignal;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Undefined at the end. */
  readonly next: string | undefined;
}

/** One key that differs between two moments. */
export interface DiffRecord {
  readonly stream: string;
  readonly key: Uint8Array;
  readonly change: "added" | "changed" | "removed";
  readonly before: VersionRecord | undefined;
  readonly after: VersionRecord | undefined;
}

export interface OpenStreamOptions {
  /** Stable name of this stream in the database. */
  readonly name: string;
  readonly kind: string;
  readonly description: string;
  readonly scope: string;
  readonly capabilities: SourceCapabilities;
}

/** One open stream; one writer at a time. */
export interface HistoryStream {
  readonly name: string;
  /** Undefined: nothing committed yet, or the scope changed (then a gap was recorded). */
  readonly resume: ResumePoint | undefined;
  /**
   * Commits every complete group of the buffer, in order, in one SQL transaction together with the cursor (V6); keeps a
   * trailing open group aside (staged) until its boundary comes. Takes the buffer; gives it back in the result or, on
   * failure, in the error's `buffer`, untouched (H9). Applying the same frames twice is a no-op (V1).
   */
  append(buffer: FrameBuffer): Promise<AppendResult>;
}

export interface AppendResult {
  readonly buffer: FrameBuffer;
  readonly resume: ResumePoint | undefined;
  readonly position: Position;
  /** New versions made. */
  readonly versions: number;
  /** Changes that were known already. */
  readonly duplicates: number;
  readonly quarantined: number;
  readonly gaps: number;
  /** SQL time, in milliseconds. */
  readonly commitMs: number;
}

export interface FsckFinding {
  readonly invariant: "V1" | "V2" | "V3" | "V4" | "V5" | "V6" | "V7" | "V8" | "V9" | "SQLITE" | "POSTGRES";
  readonly message: string;
}

export interface FsckReport {
  readonly isClean: boolean;
  readonly findings: readonly FsckFinding[];
  readonly versions: number;
  readonly keys: number;
  readonly durationMs: number;
}

/**
 * A database of versions. Reads never wait for writes and the event loop never waits for SQL: on SQLite both run on
 * threads of their own, on PostgreSQL on connections of their own. What is read after a commit settled contains that commit.
 */
export interface History {
  /** Names this database as the origin of its log records. */
  readonly origin: string;
  /** Opens the stream for writing; a writer that had it before may append no more. */
  openStream(options: OpenStreamOptions): Promise<HistoryStream>;
  /**
   * Opens a stream whose versions come from several origins, for sites that converge; an earlier opening may go on no
   * more. What it has is read like any other stream.
   */
  openGraph(options: GraphOptions): Promise<HistoryGraph>;
  streams(): Promise<readonly StreamRecord[]>;
  /** The key's version at a moment; undefined when it is deleted then, or was never there. */
  get(
    stream: string,
    key: Uint8Array,
    options?: { readonly at?: AsOf; readonly signal?: AbortSignal },
  ): Promise<VersionRecord | undefined>;
  /** Live keys in key order (deleted ones only with `includeDeleted`). */
  list(
    range: KeyRange,
    options?: PageOptions & { readonly at?: AsOf; readonly includeDeleted?: boolean },
  ): Promise<Page<VersionRecord>>;
  /** One key's versions, newest first. */
  log(stream: string, key: Uint8Array, options?: PageOptions): Promise<Page<VersionRecord>>;
  /** The keys that show another value or other attributes at `to` than at `from`, in key order. */
  diff(from: AsOf, to: AsOf, range?: KeyRange, options?: PageOptions): Promise<Page<DiffRecord>>;
  /** Everything after a position, in log order. @throws {StoreWatchError} `TOO_OLD` below the retention floor. */
  changes(after: Position, options?: PageOptions & { readonly stream?: string }): Promise<Page<VersionRecord>>;
  /** The same without an end: yields non-empty pages as they are committed. Slow consumers lose nothing (level-triggered). */
  follow(
    after: Position,
    options?: { readonly stream?: string; readonly limit?: number; readonly signal?: AbortSignal },
  ): AsyncIterable<readonly VersionRecord[]>;
  position(): Promise<Position>;
  gaps(stream?: string): Promise<readonly GapRecord[]>;
  quarantine(stream?: string, options?: { readonly includeResolved?: boolean }): Promise<readonly QuarantineRecord[]>;
  /**
   * Applies the change now, unless something newer came for its key. What the source could not decode is taken as it came.
   *
   * @throws {StoreWatchError} `NOT_FOUND`; `COMMIT_FAILED` when SQLite refuses it again.
   */
  retryQuarantined(id: number): Promise<QuarantineRecord>;
  skipQuarantined(id: number, reason: string): Promise<QuarantineRecord>;
  /** A consumer's floor: pruning never passes it. Undefined removes the consumer. */
  setConsumer(name: string, position: Position | undefined): Promise<void>;
  /** Removes superseded versions from before; never what a consumer still needs; the floor is durable first (V9). */
  prune(options: {
    readonly before: AsOf;
    readonly stream?: string;
  }): Promise<{ readonly removed: number; readonly floor: Position }>;
  /** Proves V1 to V9 over the whole database, on a thread of its own. */
  fsck(options?: { readonly signal?: AbortSignal }): Promise<FsckReport>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface HistoryOptions {
  /** A file path or `file:` URL. The folder must exist. */
  readonly file: string;
  /**
   * `normal`: a power cut may take the last commits, together with their cursor, so a resumable source loses nothing.
   * `full`: every commit is on disk before it is reported.
   * @default "normal"
   */
  readonly synchronous?: "normal" | "full";
  /** Reader threads. @default 1 */
  readonly readers?: number;
}

/** A history in a schema of a PostgreSQL database. The package `pg` must be installed. */
export interface PostgresHistoryOptions {
  /** A URL that begins with `postgres://` or `postgresql://`, as `pg` takes it. The database must exist. */
  readonly database: string;
  /** Everything is in this schema, which is created. @default "tidemark" */
  readonly schema?: string;
  /**
   * How long a writer that is not heard of keeps the right to write, by the server's clock, in milliseconds.
   * @default 10000
   * @minimum 1000
   */
  readonly leaseMs?: number;
  /** How long to wait for another writer's lease to end, in milliseconds. @default 0: it is refused at once */
  readonly waitMs?: number;
  /**
   * `normal`: as durable as the server's `synchronous_commit` says. `full`: every commit is on the server's disk before it is
   * reported, also where that is off.
   * @default "normal"
   */
  readonly synchronous?: "normal" | "full";
  /**
   * Another history on PostgreSQL of this process. Who writes that one writes this one, too: the right is taken from whoever
   * has it while this process has that of the leader, and never otherwise. So both go over to another process together.
   * @default none
   */
  readonly leader?: History;
  /** Connections for reads. @default 4 */
  readonly readers?: number;
}
