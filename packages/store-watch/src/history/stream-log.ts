import type { Cursor, GapReason, ResumePoint, SourceCapabilities } from "../contract.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import type { AppendStats, StreamColumns, StreamState } from "./stream-state.ts";

/** A row of `streams` with the name of its epoch. */
export interface StreamRow {
  readonly id: number;
  readonly name: string;
  readonly capabilities: string;
  readonly kind: string;
  readonly scope: string;
  readonly epoch: number | null;
  readonly identity: string | null;
  readonly cursor: string | null;
  readonly keys: number;
  readonly versions: number;
  readonly gaps: number;
  readonly quarantined: number;
  readonly last_commit_at: number | null;
}

export interface GapRow {
  readonly stream: number;
  readonly epoch: number | null;
  readonly reason: GapReason;
  readonly detail: string;
  readonly from: Cursor | null;
  readonly to: Cursor | null;
  readonly position: number;
}

export interface NewGap {
  readonly reason: GapReason;
  readonly detail: string;
  readonly from: Cursor | undefined;
  readonly to: Cursor | undefined;
}

/** The statements about streams, their epochs and their gaps. Run within the writer's transaction. */
export interface StreamRows {
  byName(name: string): Later<StreamRow | undefined>;
  byId(id: number): Later<StreamRow>;
  /** Returns the new row's id. */
  add(options: OpenStreamOptions): Later<number>;
  describe(id: number, options: OpenStreamOptions): Later<void>;
  save(stream: StreamState): Later<void>;
  addEpoch(stream: number, identity: string, now: number, reason: "first" | "changed"): Later<number>;
  /** Whether the same gap is on record: at any position where both its ends are known. */
  hasGap(gap: GapRow, isExact: boolean): Later<boolean>;
  addGap(gap: GapRow, now: number): Later<number>;
  /** Says more about a gap that was recorded without knowing. */
  explainGap(id: number, gap: NewGap): Later<void>;
}

/** Streams as the writer opens them and moves them from epoch to epoch. */
export class StreamLog {
  readonly #rows: StreamRows;

  constructor(rows: StreamRows) {
    this.#rows = rows;
  }

  /** Finds or makes the row, and tells what it was about before. */
  *open(options: OpenStreamOptions): Flow<{ readonly id: number; readonly previous: StreamRow | undefined }> {
    const previous = yield* wait(this.#rows.byName(options.name));
    if (previous === undefined) return { id: yield* wait(this.#rows.add(options)), previous };
    yield* wait(this.#rows.describe(previous.id, options));
    return { id: previous.id, previous };
  }

  /** A cursor is of no use in another scope: gives it up, and says that what lies between is unknown. */
  *enterScope(
    stream: StreamState,
    previous: StreamRow | undefined,
    options: OpenStreamOptions,
    position: number,
    beginCommit: () => number,
  ): Flow<void> {
    if (previous === undefined || (previous.kind === options.kind && previous.scope === options.scope)) return;
    if (stream.cursor !== undefined) {
      const detail = `now it watches ${options.kind} ${options.description}, scope ${options.scope}; before: ${previous.kind}, scope ${previous.scope}`;
      const gap = { reason: "scope-changed", detail, from: undefined, to: undefined } as const;
      const stats = { versions: 0, duplicates: 0, quarantined: 0, gaps: 0 };
      yield* this.addGap(stream, gap, position, beginCommit(), stats);
      stream.cursor = undefined;
    }
    yield* this.save(stream);
  }

  *load(id: number): Flow<StreamColumns> {
    const row = yield* wait(this.#rows.byId(id));
    return {
      name: row.name,
      capabilities: JSON.parse(row.capabilities) as SourceCapabilities,
      epoch: row.epoch === null ? undefined : { id: row.epoch, identity: row.identity as string },
      cursor: row.cursor ?? undefined,
      keys: row.keys,
      versions: row.versions,
      gaps: row.gaps,
      quarantined: row.quarantined,
      lastCommitAt: row.last_commit_at ?? undefined,
    };
  }

  save(stream: StreamState): Flow<void> {
    return wait(this.#rows.save(stream));
  }

  /**
   * Goes over to another epoch: cursors from before mean nothing in it. If nothing said so before, a gap does now,
   * because what happened in between is unknown.
   */
  *enterEpoch(stream: StreamState, identity: string, position: number, now: number, stats: AppendStats): Flow<void> {
    const { epoch } = stream;
    if (epoch?.identity === identity) return;
    // Without a cursor the loss is on record since that was given up.
    if (epoch !== undefined && !stream.isAfterGap && stream.cursor !== undefined) {
      const detail = `the source's history is now ${identity}, it was ${epoch.identity}`;
      const gap = { reason: "epoch-changed", detail, from: stream.cursor, to: undefined } as const;
      stream.ownGap = yield* this.addGap(stream, gap, position, now, stats);
    }
    const reason = epoch === undefined ? "first" : "changed";
    stream.epoch = { id: yield* wait(this.#rows.addEpoch(stream.id, identity, now, reason)), identity };
    stream.cursor = undefined;
  }

  /** Records that changes were lost; the same gap is recorded once. Returns the row's id, undefined if it was known. */
  *addGap(
    stream: StreamState,
    gap: NewGap,
    position: number,
    now: number,
    stats: AppendStats,
  ): Flow<number | undefined> {
    const { reason, detail, from, to } = gap;
    stream.isAfterGap = true;
    stream.isRepair ||= reason === "replica-differed";
    if (reason === "epoch-changed" && stream.ownGap !== undefined) {
      yield* wait(this.#rows.explainGap(stream.ownGap, gap));
      stream.ownGap = undefined;
      return undefined;
    }
    const row: GapRow = {
      stream: stream.id,
      epoch: stream.epoch?.id ?? null,
      reason,
      detail,
      from: from ?? stream.cursor ?? null,
      to: to ?? null,
      position,
    };
    const isExact = from !== undefined && to !== undefined;
    if (yield* wait(this.#rows.hasGap(row, isExact))) return undefined;
    const id = yield* wait(this.#rows.addGap(row, now));
    stream.gaps++;
    stats.gaps++;
    return id;
  }
}

export function resumeOf(stream: Pick<StreamState, "epoch" | "cursor">): ResumePoint | undefined {
  const { epoch, cursor } = stream;
  return epoch === undefined || cursor === undefined ? undefined : { epoch: epoch.identity, cursor };
}

/** Whether a boundary with this cursor repeats what was committed: only then, and only where cursors can say so (V1). */
export function isReplay(stream: Pick<StreamState, "cursor" | "capabilities">, cursor: Cursor): boolean {
  return stream.capabilities.resumable && stream.cursor !== undefined && cursor < stream.cursor;
}
