import type { Clock } from "@tidemark/clock";
import type { TopicServerError } from "../topic-server-error.ts";
import type { LogFiles } from "./log-files.ts";
import type { NewRecord, StoredRecord } from "./record.ts";
import type { SegmentMeta } from "./segment.ts";
import type { TailBudget } from "./tail-cache.ts";

/**
 * When a write counts. `always`: once it is on the disk. `{ intervalMs }`: once the system has it; a power failure can
 * take back what was acknowledged in the last interval, a crash of the process cannot.
 */
export type SyncPolicy = "always" | { readonly intervalMs: number };

/** Who wrote, and hears what became of it: one call a record, in order. Must not throw. */
export interface RecordOwner {
  /**
   * It is durable, as far as the sync policy goes, and visible to readers, at `baseOffset`. It waited `queueMs` milliseconds
   * for those before it, and the disk took `persistingMs` for the group that it was in.
   */
  onStored(baseOffset: number, queueMs: number, persistingMs: number): void;
  /** It is not stored, and never will be. */
  onLost(record: NewRecord, error: TopicServerError): void;
}

export interface PartitionLogOptions {
  readonly files: LogFiles;
  readonly folder: string;
  readonly clock: Clock;
  readonly sync: SyncPolicy;
  readonly segmentBytes: number;
  /**
   * From so many bytes on, what waits does not wait for the end of the turn, nor for the group that is on its way to the disk.
   * @default 131_072
   */
  readonly startBytes?: number;
  readonly tail: TailBudget;
  /** What is known about sealed segments, oldest first. */
  readonly sealed: readonly SegmentMeta[];
  /** The log starts here: whatever is before was given up, even where its file is still there. */
  readonly startOffset: number;
  /** Records from here on are told to `onRecovered`; up to here the log is known to have been on the disk. */
  readonly checkpointOffset: number;
  readonly onRecovered: (record: StoredRecord) => void;
  /** A segment takes no more records. Whoever does not remember it reads it through at the next start. */
  readonly onSealed: (meta: SegmentMeta) => void;
  /** The log is about to start at `offset`. Persist it before it resolves: files are removed afterwards. */
  readonly onTrim: (offset: number) => Promise<void>;
  /** There is more to read. */
  readonly onVisible: () => void;
}
