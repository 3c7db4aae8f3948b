import type { AuditReport, Source, Watcher } from "@tidemark/store-watch";

/** A stream that is followed, and how to see its source a second time. */
export interface UpkeptStream {
  readonly watcher: Watcher;
  /**
   * The watched source itself where it can tell all it has beside its run, otherwise another one like it. Undefined: it
   * cannot be audited.
   */
  readonly openSource: (() => Promise<Source>) | undefined;
}

/** An audit that ended, in whatever way. */
export interface RecordedAudit extends Omit<AuditReport, "verdict"> {
  /** `failed`: the source could not be read, or time ran out. */
  readonly verdict: AuditReport["verdict"] | "failed";
  /** When it ended, in milliseconds since the Unix epoch. */
  readonly atMs: number;
}
