import type { Clock } from "@tidemark/clock";
import type { Cursor, Epoch, Source } from "../contract.ts";
import type { History } from "../history-types.ts";
import type { Watcher } from "../watcher-types.ts";

/** What `auditStream` compares, and what it does about a difference. */
export interface AuditOptions {
  /** The stream to audit. */
  readonly watcher: Pick<Watcher, "name" | "status" | "waitFor" | "repair">;
  readonly history: Pick<History, "list" | "quarantine">;
  /**
   * What the watcher follows: its own source where that has `snapshot()`, otherwise another one of the same options, which
   * is run for as long as its snapshot takes.
   */
  readonly source: Source;
  /**
   * Whether a difference is corrected, through `watcher.repair()`.
   * @default true
   */
  readonly isRepaired?: boolean;
  readonly signal?: AbortSignal;
  /** @default the machine's clock */
  readonly clock?: Clock;
}

/** One key that the replica has otherwise than the source. */
export interface AuditDifference {
  readonly key: Uint8Array;
  /** `missing`: only the source has it. `extra`: only the replica has it. `changed`: value, version or attributes differ. */
  readonly kind: "missing" | "extra" | "changed";
}

/** How an audit ended. */
export type AuditVerdict =
  | "equal"
  /** It differed; the source's state was read again, and now it is equal. */
  | "repaired"
  /** It differs, and was not repaired or could not be: `reason` says which. */
  | "different"
  /** The two could not be compared at one position: `reason` says why. */
  | "inconclusive";

/** What an audit found. Plain data. */
export interface AuditReport {
  readonly stream: string;
  readonly verdict: AuditVerdict;
  readonly reason: string | undefined;
  /** The position of the source that was compared, by its own cursor. */
  readonly epoch: Epoch | undefined;
  readonly cursor: Cursor | undefined;
  /** Keys of the source at that position. */
  readonly keys: number;
  /** Over the source's keys, values, versions and attributes. */
  readonly checksum: string;
  /** How many keys differed, by kind. */
  readonly missing: number;
  readonly extra: number;
  readonly changed: number;
  /** There were too many to look at all: the counts are at least these. */
  readonly isTruncated: boolean;
  /** Keys that differ because a change of theirs is in quarantine, or was skipped there. That is known, and no repair helps. */
  readonly quarantined: number;
  /** The first 100 that differed. */
  readonly differences: readonly AuditDifference[];
  readonly durationMs: number;
}
