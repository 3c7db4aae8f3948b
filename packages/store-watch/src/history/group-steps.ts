import type { GapReason } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import type { FrameReader } from "../frame-layout.ts";
import { batchKinds } from "./batch-kinds.ts";
import { Bits } from "./bits.ts";
import type { CommitLog } from "./commit-log.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import type { GroupApplier, GroupContext } from "./group-applier.ts";
import type { GroupStep } from "./groups.ts";
import { isReplay, type StreamLog } from "./stream-log.ts";
import { type AppendStats, noStats, type StreamState } from "./stream-state.ts";
import type { VersionSink } from "./version-sink.ts";

export interface StepParts<State extends StreamState> {
  readonly store: VersionSink;
  readonly groups: GroupApplier;
  readonly streams: StreamLog;
  readonly commits: CommitLog;
  /** What was staged of the open group, piece by piece. A piece is valid until the next one. */
  readonly pieces: (stream: State) => Iterable<Later<FrameReader>>;
}

/** What an append shares. */
interface Append<State> {
  readonly stream: State;
  readonly reader: FrameReader;
  readonly now: number;
  readonly isCareful: boolean;
  readonly stats: AppendStats;
}

/** Applies the steps of a buffer, with the cursor behind them, within one SQL transaction (V6). */
export class GroupSteps<State extends StreamState> {
  readonly #parts: StepParts<State>;

  constructor(parts: StepParts<State>) {
    this.#parts = parts;
  }

  /** @throws {StoreWatchError} `PROTOCOL` */
  *apply(
    stream: State,
    reader: FrameReader,
    steps: readonly GroupStep[],
    nowMs: number,
    isCareful: boolean,
  ): Flow<AppendStats> {
    const { commits, groups, store, streams } = this.#parts;
    const stats = noStats();
    const now = commits.begin(nowMs);
    const append = { stream, reader, now, isCareful, stats };
    groups.restart();
    for (const step of steps) yield* this.#step(append, step);
    yield* commits.end(stream);
    yield* wait(store.flushAll(stream.id));
    stream.versions += stats.versions;
    if (stats.versions > 0) stream.lastCommitAt = now;
    yield* streams.save(stream);
    return stats;
  }

  *#step(append: Append<State>, step: GroupStep): Flow<void> {
    const { stream, reader, now, stats } = append;
    const { commits, streams, store } = this.#parts;
    switch (step.type) {
      case "apply":
        yield* this.#applyGroup(append, step);
        break;
      case "progress": {
        const cursor = reader.text(step.frame, 0) as string;
        if (!isReplay(stream, cursor)) reach(stream, cursor);
        break;
      }
      case "gap": {
        const gap = {
          reason: reader.text(step.frame, 0) as GapReason,
          detail: reader.text(step.frame, 1) as string,
          from: reader.text(step.frame, 2),
          to: reader.text(step.frame, 3),
        };
        yield* streams.addGap(stream, gap, store.position, now, stats);
        break;
      }
      case "reset":
        yield* commits.end(stream);
        yield* streams.enterEpoch(stream, reader.text(step.frame, 0) as string, store.position, now, stats);
        break;
    }
  }

  *#applyGroup(append: Append<State>, step: GroupStep & { readonly type: "apply" }): Flow<void> {
    const { stream, reader, now, isCareful, stats } = append;
    const { store, groups, commits, streams, pieces } = this.#parts;
    const cursor = reader.text(step.boundary, 0) as string;
    const isSnapshot = step.snapshotEpoch !== undefined;
    if (isSnapshot && step.snapshotEpoch !== stream.epoch?.identity) {
      yield* commits.end(stream);
      yield* streams.enterEpoch(stream, step.snapshotEpoch, store.position, now, stats);
    }
    if (isReplay(stream, cursor)) {
      stats.duplicates += step.to - step.from;
      if (step.withStage) for (const piece of pieces(stream)) stats.duplicates += (yield* wait(piece)).frames;
      return;
    }
    if (stream.epoch === undefined) {
      throw new StoreWatchError(
        "PROTOCOL",
        `expected begin-snapshot or reset to name the epoch before the first commit, got a commit at cursor ${JSON.stringify(cursor)}; the source is defective`,
      );
    }
    if (isSnapshot && stream.isRepair) {
      // What is remembered may be what somebody changed.
      yield* wait(store.flush(stream.id));
      stream.cache.clear();
      groups.restart();
    }
    const before = stats.versions;
    const firstPosition = store.position + 1;
    const context: GroupContext = {
      stream,
      epoch: stream.epoch.id,
      batch: store.nextBatch,
      cursor,
      now,
      isSnapshot,
      isCareful,
      stats,
      contained: isSnapshot ? new Bits(store.lastObject + 1) : undefined,
      poisoned: new Set(),
    };
    if (step.withStage) {
      for (const each of pieces(stream)) {
        const piece = yield* wait(each);
        yield* groups.apply(context, piece, 0, piece.frames);
        // New keys are views into the piece.
        yield* wait(store.flush(stream.id));
      }
    }
    yield* groups.apply(context, reader, step.from, step.to);
    if (isSnapshot) yield* groups.sweep(context);
    const count = stats.versions - before;
    if (count > 0) {
      const sourceTime = reader.sourceTimeMs(step.boundary);
      store.addBatch({
        stream: stream.id,
        epoch: stream.epoch.id,
        committedAt: now,
        kind: isSnapshot ? batchKinds.snapshot : batchKinds.stream,
        cursor,
        firstPosition,
        count,
        sourceTime: sourceTime === undefined ? null : Math.floor(sourceTime),
      });
      commits.extend(cursor, store.position, context.batch);
    }
    reach(stream, cursor);
  }
}

function reach(stream: StreamState, cursor: string): void {
  stream.cursor = cursor;
  stream.isAfterGap = false;
  stream.isRepair = false;
  stream.ownGap = undefined;
}

/** Whether a step tells nothing that is not committed already: an idle stream makes no transaction (H10). */
export function isIdle(stream: StreamState, reader: FrameReader, step: GroupStep): boolean {
  if (step.type === "progress") return reader.text(step.frame, 0) === stream.cursor;
  if (step.type !== "apply" || step.withStage || step.from !== step.to || step.snapshotEpoch !== undefined)
    return false;
  return reader.text(step.boundary, 0) === stream.cursor;
}
