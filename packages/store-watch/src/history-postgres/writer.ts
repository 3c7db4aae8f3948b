import { type Clock, systemClock } from "@tidemark/clock";
import type { GapReason, ResumePoint } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import { type FrameBufferParts, FrameReader } from "../frame-layout.ts";
import { batchKinds } from "../history/appender.ts";
import { type GroupStep, planGroups } from "../history/groups.ts";
import { Bits } from "../history/group-writer.ts";
import type { AppendStats } from "../history/stream-state.ts";
import { isReplay, isSameScope, resumeOf } from "../history/stream-table.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import { CommitRows } from "./commit-rows.ts";
import type { PostgresClient, PostgresPool } from "./driver.ts";
import { GroupApplier, type GroupContext } from "./group-applier.ts";
import { WriterLease } from "./lease.ts";
import { cacheOf } from "./object-lookup.ts";
import { classifyPostgresError, commitFailed } from "./postgres-errors.ts";
import { addStage, clearStage, stagedPieces } from "./stage-rows.ts";
import { addGap, enterEpoch, loadStream, openStreamRow, type PostgresStreamState, saveStream } from "./stream-rows.ts";
import { FencedTransactions } from "./transactions.ts";
import { VersionRows } from "./version-rows.ts";

/** For the objects that each stream remembers: some 60,000 are certain to be found again. */
const defaultCacheBytes = 24 * 1024 * 1024;
/** So many are read at the start, so that every other key is known to be new. */
const fewObjects = 4096;

export interface Appended extends AppendStats {
  readonly resume: ResumePoint | undefined;
  readonly position: number;
  readonly commitMs: number;
}

const noStats = (): AppendStats => ({ versions: 0, duplicates: 0, quarantined: 0, gaps: 0 });

/** Everything that is written: the counterpart of SQLite's writer, on one connection of its own. */
export class PostgresWriter {
  readonly #states = new Map<number, PostgresStreamState>();
  readonly #cacheBytes: number;
  /** The newest position that is certain. */
  #committed = 0;
  readonly rows = new VersionRows();
  readonly commits = new CommitRows();
  readonly transactions: FencedTransactions;

  constructor(
    pool: PostgresPool,
    options: {
      readonly session: string;
      readonly ttlMs: number;
      readonly where: string;
      readonly clock: Clock;
      readonly cacheBytes?: number | undefined;
    },
  ) {
    this.#cacheBytes = options.cacheBytes ?? defaultCacheBytes;
    this.transactions = new FencedTransactions(pool, {
      lease: new WriterLease(options),
      where: options.where,
      clock: options.clock,
      memory: {
        reload: (client) => this.#reload(client),
        invalidate: (error) => {
          for (const state of this.#states.values()) state.isVoid = error;
        },
      },
    });
  }

  async openStream(
    options: OpenStreamOptions,
    nowMs: number,
  ): Promise<{ readonly id: number; readonly token: number; readonly resume: ResumePoint | undefined }> {
    await this.transactions.acquire(0);
    const stream = await this.#run(undefined, async (client) => {
      const { id, previous } = await openStreamRow(client, options);
      const old = this.#states.get(id);
      const opened = await this.#newState(client, id, old);
      // What an earlier writer left open comes again.
      await clearStage(client, id);
      if (previous !== undefined && !isSameScope(previous, options)) {
        if (opened.cursor !== undefined) {
          const detail = `now it watches ${options.kind} ${options.description}, scope ${options.scope}; before: ${previous.kind}, scope ${previous.scope}`;
          const gap = { reason: "scope-changed", detail, from: undefined, to: undefined } as const;
          await addGap(client, opened, gap, this.rows.position, this.commits.begin(nowMs), noStats());
          opened.cursor = undefined;
        }
        await saveStream(client, opened);
      }
      return opened;
    });
    this.#states.set(stream.id, stream);
    return { id: stream.id, token: stream.token, resume: resumeOf(stream) };
  }

  /** The stream as its writer knows it; one that nobody opened here is read. Within a transaction. */
  async stateOf(client: PostgresClient, id: number): Promise<PostgresStreamState> {
    return this.#states.get(id) ?? this.#newState(client, id, undefined);
  }

  /** How many versions of a stream were pruned. */
  subtract(stream: number, removed: number): void {
    const state = this.#states.get(stream);
    if (state !== undefined) state.versions -= removed;
  }

  /** @throws {StoreWatchError} `STREAM_BUSY`, `PROTOCOL`, `COMMIT_FAILED`, `DATABASE_LOCKED`, `DATABASE_UNREADABLE` */
  async append(id: number, token: number, parts: FrameBufferParts, nowMs: number): Promise<Appended> {
    const startedMs = systemClock.monotonic();
    const stream = this.#states.get(id);
    if (stream === undefined || stream.token !== token) {
      throw new StoreWatchError(
        "STREAM_BUSY",
        `the stream ${JSON.stringify(stream?.name ?? id)} was opened again; only its newest writer may append`,
      );
    }
    if (stream.isVoid !== undefined) throw stream.isVoid;
    const reader = new FrameReader(parts);
    const plan = planGroups(reader, stream.open);
    const stats = noStats();
    const isIdle = plan.steps.every((step) => tellsNothing(stream, reader, step));
    if (!isIdle || plan.clearsStage || plan.open !== undefined) {
      const apply = (isCareful: boolean) =>
        this.#run(stream, async (client) => {
          Object.assign(stats, noStats());
          if (!isIdle) await this.#apply(client, stream, reader, plan.steps, nowMs, isCareful, stats);
          let staged = stream.staged;
          if (plan.clearsStage) {
            await clearStage(client, id);
            staged = 0;
          }
          if (plan.open !== undefined && plan.openFrom < reader.frames) {
            await addStage(client, id, staged++, reader, plan.openFrom);
          }
          return staged;
        });
      try {
        stream.staged = await apply(false).catch((error: unknown) => {
          // One change is poison: find it, set it aside, and let the others pass.
          if (classifyPostgresError(error) !== "data") throw error;
          return apply(true);
        });
      } catch (error) {
        throw commitFailed(error);
      }
    }
    stream.open = plan.open;
    return {
      ...stats,
      resume: resumeOf(stream),
      position: this.#committed,
      commitMs: systemClock.monotonic() - startedMs,
    };
  }

  async #apply(
    client: PostgresClient,
    stream: PostgresStreamState,
    reader: FrameReader,
    steps: readonly GroupStep[],
    nowMs: number,
    isCareful: boolean,
    stats: AppendStats,
  ): Promise<void> {
    const now = this.commits.begin(nowMs);
    const groups = new GroupApplier(client, this.rows);
    for (const step of steps) {
      const { position } = this.rows;
      switch (step.type) {
        case "apply":
          await this.#applyGroup(client, groups, stream, reader, step, now, isCareful, stats);
          break;
        case "progress": {
          const cursor = reader.text(step.frame, 0) as string;
          if (!isReplayed(stream, cursor)) reach(stream, cursor);
          break;
        }
        case "gap": {
          const gap = {
            reason: reader.text(step.frame, 0) as GapReason,
            detail: reader.text(step.frame, 1) as string,
            from: reader.text(step.frame, 2),
            to: reader.text(step.frame, 3),
          };
          await addGap(client, stream, gap, position, now, stats);
          break;
        }
        case "reset":
          await this.commits.end(client, stream);
          await enterEpoch(client, stream, reader.text(step.frame, 0) as string, position, now, stats);
          break;
      }
    }
    await this.commits.end(client, stream);
    await this.rows.flushAll(client, stream.id);
    stream.versions += stats.versions;
    if (stats.versions > 0) stream.lastCommitAt = now;
    await saveStream(client, stream);
  }

  async #applyGroup(
    client: PostgresClient,
    groups: GroupApplier,
    stream: PostgresStreamState,
    reader: FrameReader,
    step: GroupStep & { readonly type: "apply" },
    now: number,
    isCareful: boolean,
    stats: AppendStats,
  ): Promise<void> {
    const { rows } = this;
    const cursor = reader.text(step.boundary, 0) as string;
    const isSnapshot = step.snapshotEpoch !== undefined;
    if (isSnapshot && step.snapshotEpoch !== stream.epoch?.identity) {
      await this.commits.end(client, stream);
      await enterEpoch(client, stream, step.snapshotEpoch, rows.position, now, stats);
    }
    if (isReplayed(stream, cursor)) {
      stats.duplicates += step.to - step.from;
      if (step.withStage) for await (const piece of stagedPieces(client, stream)) stats.duplicates += piece.frames;
      return;
    }
    if (stream.epoch === undefined) {
      throw new StoreWatchError(
        "PROTOCOL",
        `expected begin-snapshot or reset to name the epoch before the first commit, got a commit at cursor ${JSON.stringify(cursor)}; the source is defective`,
      );
    }
    const before = stats.versions;
    const firstPosition = rows.position + 1;
    const context: GroupContext = {
      stream,
      epoch: stream.epoch.id,
      batch: rows.nextBatch,
      cursor,
      now,
      isSnapshot,
      isCareful,
      stats,
      contained: isSnapshot ? new Bits(rows.lastObject + 1) : undefined,
      poisoned: new Set(),
    };
    if (step.withStage) {
      for await (const piece of stagedPieces(client, stream)) {
        await groups.apply(context, piece, 0, piece.frames);
        // New keys are views into the piece.
        await rows.flush(client, stream.id);
      }
    }
    await groups.apply(context, reader, step.from, step.to);
    if (isSnapshot) await groups.sweep(context);
    const count = stats.versions - before;
    if (count > 0) {
      const sourceTime = reader.sourceTimeMs(step.boundary);
      rows.addBatch({
        stream: stream.id,
        epoch: stream.epoch.id,
        committedAt: now,
        kind: isSnapshot ? batchKinds.snapshot : batchKinds.stream,
        cursor,
        firstPosition,
        count,
        sourceTime: sourceTime === undefined ? null : Math.floor(sourceTime),
      });
      this.commits.extend(cursor, rows.position, context.batch);
    }
    reach(stream, cursor);
  }

  /** A transaction about one stream: when it fails, what has no column in the database is as it was before, too. */
  async #run<T>(stream: PostgresStreamState | undefined, work: (client: PostgresClient) => Promise<T>): Promise<T> {
    const before = stream && { isAfterGap: stream.isAfterGap, ownGap: stream.ownGap };
    let position = 0;
    try {
      const result = await this.transactions.run(async (client) => {
        const done = await work(client);
        position = this.rows.position;
        return done;
      });
      this.#committed = Math.max(this.#committed, position);
      return result;
    } catch (error) {
      if (stream !== undefined) Object.assign(stream, before);
      throw error;
    }
  }

  async #reload(client: PostgresClient): Promise<void> {
    await this.rows.load(client);
    await this.commits.load(client);
    for (const state of this.#states.values()) {
      state.cache.clear();
      Object.assign(state, await loadStream(client, state.id));
    }
  }

  async #newState(
    client: PostgresClient,
    id: number,
    old: PostgresStreamState | undefined,
  ): Promise<PostgresStreamState> {
    const cache = old?.cache ?? (await cacheOf(client, id, fewObjects, this.#cacheBytes));
    return {
      id,
      ...(await loadStream(client, id)),
      cache,
      token: (old?.token ?? 0) + 1,
      open: undefined,
      staged: 0,
      isVoid: undefined,
      isAfterGap: false,
      ownGap: undefined,
    };
  }
}

function isReplayed(stream: PostgresStreamState, cursor: string): boolean {
  return isReplay(stream, stream.capabilities, cursor);
}

function reach(stream: PostgresStreamState, cursor: string): void {
  stream.cursor = cursor;
  stream.isAfterGap = false;
  stream.ownGap = undefined;
}

/** Whether a step tells nothing that is not committed already: an idle stream makes no transaction (H10). */
function tellsNothing(stream: PostgresStreamState, reader: FrameReader, step: GroupStep): boolean {
  if (step.type === "progress") return reader.text(step.frame, 0) === stream.cursor;
  if (step.type !== "apply" || step.withStage || step.from !== step.to || step.snapshotEpoch !== undefined)
    return false;
  return reader.text(step.boundary, 0) === stream.cursor;
}
