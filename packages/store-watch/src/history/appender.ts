import { systemClock } from "@tidemark/clock";
import type { GapReason } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import { FrameReader } from "../frame-layout.ts";
import type { CommitTable } from "./commit-table.ts";
import { Bits, type GroupContext, type GroupWriter } from "./group-writer.ts";
import { type GroupStep, planGroups } from "./groups.ts";
import { classifySqliteError } from "./sqlite-errors.ts";
import type { AppendStats, StreamState } from "./stream-state.ts";
import { isReplay, type StreamTable } from "./stream-table.ts";
import type { Transactions } from "./transactions.ts";
import type { VersionStore } from "./version-store.ts";

/** How a batch came to be, as stored. */
export const batchKinds = { stream: 1, snapshot: 2, retry: 3 } as const;

export interface Appended extends AppendStats {
  readonly position: number;
  readonly commitMs: number;
}

/** Applies buffers of frames: all complete groups of one, and the cursor behind them, in one SQL transaction (V6). */
export class Appender {
  readonly #store: VersionStore;
  readonly #groups: GroupWriter;
  readonly #streams: StreamTable;
  readonly #commits: CommitTable;
  readonly #transactions: Transactions;

  constructor(parts: {
    readonly store: VersionStore;
    readonly groups: GroupWriter;
    readonly streams: StreamTable;
    readonly commits: CommitTable;
    readonly transactions: Transactions;
  }) {
    this.#store = parts.store;
    this.#groups = parts.groups;
    this.#streams = parts.streams;
    this.#commits = parts.commits;
    this.#transactions = parts.transactions;
  }

  /** @throws {StoreWatchError} `COMMIT_FAILED`, `PROTOCOL`; then nothing of the buffer is in the database or staged. */
  append(stream: StreamState, reader: FrameReader, nowMs: number): Appended {
    const startedMs = systemClock.monotonic();
    const plan = planGroups(reader, stream.open);
    const stats: AppendStats = { versions: 0, duplicates: 0, quarantined: 0, gaps: 0 };
    // The rest of an open group first, and apart from what the groups before it may still need: then the transaction
    // is the last thing that can fail.
    const target = plan.clearsStage ? stream.spare : stream.stage;
    const undo = target.length;
    if (plan.open !== undefined) target.append(reader, plan.openFrom, reader.frames);
    try {
      if (!plan.steps.every((step) => isIdle(stream, reader, step))) {
        this.#commit(stream, reader, plan.steps, nowMs, stats);
      }
    } catch (error) {
      target.truncate(undo);
      throw error;
    }
    stream.open = plan.open;
    if (plan.clearsStage) {
      stream.spare = stream.stage;
      stream.stage = target;
      stream.spare.truncate(0);
    }
    return { ...stats, position: this.#store.position, commitMs: systemClock.monotonic() - startedMs };
  }

  #commit(
    stream: StreamState,
    reader: FrameReader,
    steps: readonly GroupStep[],
    nowMs: number,
    stats: AppendStats,
  ): void {
    const run = (isCareful: boolean) =>
      this.#transactions.run(stream, () => {
        Object.assign(stats, { versions: 0, duplicates: 0, quarantined: 0, gaps: 0 } satisfies AppendStats);
        const now = this.#commits.begin(nowMs);
        this.#groups.restart();
        for (const step of steps) this.#step(stream, reader, step, now, isCareful, stats);
        this.#commits.end(stream);
        this.#store.flushAll(stream.id);
        stream.versions += stats.versions;
        if (stats.versions > 0) stream.lastCommitAt = now;
        this.#streams.save(stream);
      });
    try {
      run(false);
    } catch (error) {
      // One change is poison: find it, set it aside, and let the others pass.
      if (classifySqliteError(error) !== "data") throw error;
      run(true);
    }
  }

  #step(
    stream: StreamState,
    reader: FrameReader,
    step: GroupStep,
    now: number,
    isCareful: boolean,
    stats: AppendStats,
  ): void {
    const { position } = this.#store;
    switch (step.type) {
      case "apply":
        this.#apply(stream, reader, step, now, isCareful, stats);
        break;
      case "progress": {
        const cursor = reader.text(step.frame, 0) as string;
        if (!isReplay(stream, stream.capabilities, cursor)) this.#reach(stream, cursor);
        break;
      }
      case "gap":
        this.#streams.addGap(
          stream,
          reader.text(step.frame, 0) as GapReason,
          reader.text(step.frame, 1) as string,
          reader.text(step.frame, 2),
          reader.text(step.frame, 3),
          position,
          now,
          stats,
        );
        break;
      case "reset":
        this.#commits.end(stream);
        this.#streams.enterEpoch(stream, reader.text(step.frame, 0) as string, position, now, stats);
        break;
    }
  }

  #apply(
    stream: StreamState,
    reader: FrameReader,
    step: GroupStep & { readonly type: "apply" },
    now: number,
    isCareful: boolean,
    stats: AppendStats,
  ): void {
    const cursor = reader.text(step.boundary, 0) as string;
    const isSnapshot = step.snapshotEpoch !== undefined;
    if (isSnapshot && step.snapshotEpoch !== stream.epoch?.identity) {
      this.#commits.end(stream);
      this.#streams.enterEpoch(stream, step.snapshotEpoch, this.#store.position, now, stats);
    }
    if (isReplay(stream, stream.capabilities, cursor)) {
      stats.duplicates += step.to - step.from;
      if (step.withStage) for (const piece of stream.stage.pieces()) stats.duplicates += piece.frames;
      return;
    }
    if (stream.epoch === undefined) {
      throw new StoreWatchError(
        "PROTOCOL",
        `expected begin-snapshot or reset to name the epoch before the first commit, got a commit at cursor ${JSON.stringify(cursor)}; the source is defective`,
      );
    }
    const before = stats.versions;
    const firstPosition = this.#store.position + 1;
    const context: GroupContext = {
      stream,
      epoch: stream.epoch.id,
      batch: this.#store.nextBatch,
      cursor,
      now,
      isSnapshot,
      isCareful,
      stats,
      contained: isSnapshot ? new Bits(this.#store.lastObject + 1) : undefined,
      poisoned: new Set(),
    };
    if (step.withStage) {
      for (const piece of stream.stage.pieces()) {
        this.#groups.apply(context, piece, 0, piece.frames);
        // New keys are views into the piece.
        this.#store.flush(stream.id);
      }
    }
    this.#groups.apply(context, reader, step.from, step.to);
    if (isSnapshot) this.#groups.sweep(context);
    const count = stats.versions - before;
    if (count > 0) {
      const sourceTime = reader.sourceTimeMs(step.boundary);
      this.#store.addBatch({
        stream: stream.id,
        epoch: stream.epoch.id,
        committedAt: now,
        kind: isSnapshot ? batchKinds.snapshot : batchKinds.stream,
        cursor,
        firstPosition,
        count,
        sourceTime: sourceTime === undefined ? null : Math.floor(sourceTime),
      });
      this.#commits.extend(cursor, this.#store.position, context.batch);
    }
    this.#reach(stream, cursor);
  }

  #reach(stream: StreamState, cursor: string): void {
    stream.cursor = cursor;
    stream.isAfterGap = false;
    stream.ownGap = undefined;
  }
}

/** Whether a step tells nothing that is not committed already: an idle stream makes no transaction (H10). */
function isIdle(stream: StreamState, reader: FrameReader, step: GroupStep): boolean {
  if (step.type === "progress") return reader.text(step.frame, 0) === stream.cursor;
  if (step.type !== "apply" || step.withStage || step.from !== step.to || step.snapshotEpoch !== undefined)
    return false;
  return reader.text(step.boundary, 0) === stream.cursor;
}
