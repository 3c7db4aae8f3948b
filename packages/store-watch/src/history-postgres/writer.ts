import { type Clock, systemClock } from "@tidemark/clock";
import type { ResumePoint } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import { type FrameBufferParts, FrameReader } from "../frame-layout.ts";
import { CommitLog } from "../history/commit-log.ts";
import { type Flow, runLater } from "../history/flow.ts";
import { GraphCore } from "../history/graph-core.ts";
import { graphStream } from "../history/graph-stream.ts";
import type { GraphOptions } from "../history/graph-types.ts";
import { GroupApplier } from "../history/group-applier.ts";
import { GroupSteps, isIdle } from "../history/group-steps.ts";
import { planGroups } from "../history/groups.ts";
import type { AsOfInput } from "../history/methods.ts";
import { Pruner } from "../history/pruner.ts";
import { QuarantineLog } from "../history/quarantine-log.ts";
import { QuarantineResolver } from "../history/quarantine-resolver.ts";
import { resumeOf, StreamLog } from "../history/stream-log.ts";
import { type AppendStats, noStats } from "../history/stream-state.ts";
import { Wakeup } from "../history/wakeup.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import { PostgresCommitRows } from "./commit-rows.ts";
import type { PostgresPool } from "./driver.ts";
import { PostgresGraphTables } from "./graph-tables.ts";
import { DigestedValues, postgresSavepoints } from "./held-values.ts";
import { WriterLease } from "./lease.ts";
import { PostgresMirrorTables } from "./mirror-tables.ts";
import { PostgresMomentRows } from "./moments.ts";
import { PostgresPrunedRows } from "./pruned-rows.ts";
import { PostgresRetentionTables } from "./retention-tables.ts";
import { PostgresObjectRows } from "./object-lookup.ts";
import { classifyPostgresError, commitFailed, messageOf } from "./postgres-errors.ts";
import { PostgresQuarantineRows } from "./quarantine-rows.ts";
import { addStage, clearStage, stagedPieces } from "./stage-rows.ts";
import { PostgresStreamRows, type PostgresStreamState } from "./stream-rows.ts";
import { FencedTransactions } from "./transactions.ts";
import { VersionRows } from "./version-rows.ts";
import { WriterSession } from "./writer-session.ts";

/** For the objects that each stream remembers: some 60,000 are certain to be found again. */
const defaultCacheBytes = 24 * 1024 * 1024;
/** So many are read at the start, so that every other key is known to be new. */
const fewObjects = 4096;
/** Frames whose keys are resolved together. */
const windowFrames = 4096;

export interface Appended extends AppendStats {
  readonly resume: ResumePoint | undefined;
  readonly position: number;
  readonly commitMs: number;
}

/** Names one opening of a stream. */
export interface OpenedStream {
  readonly id: number;
  readonly token: number;
  readonly resume: ResumePoint | undefined;
}

/** Everything that is written: the counterpart of SQLite's writer, on one connection of its own. */
export class PostgresWriter {
  readonly #states = new Map<number, PostgresStreamState>();
  readonly #graphs = new Map<number, GraphCore>();
  readonly #cacheBytes: number;
  readonly #session = new WriterSession();
  readonly #commits = new CommitLog(new PostgresCommitRows(this.#session));
  readonly #streams = new StreamLog(new PostgresStreamRows(this.#session));
  readonly #objects = new PostgresObjectRows(this.#session);
  readonly #steps: GroupSteps<PostgresStreamState>;
  readonly #resolver: QuarantineResolver;
  readonly #pruner: Pruner;
  /** The newest position that is certain. */
  #committed = 0;
  readonly #rows = new VersionRows(this.#session);
  readonly transactions: FencedTransactions;
  /** Raised whenever nobody who has opened a stream so far may go on. */
  readonly losses: Wakeup = new Wakeup();

  constructor(
    pool: PostgresPool,
    options: {
      readonly session: string;
      readonly ttlMs: number;
      readonly where: string;
      readonly clock: Clock;
      readonly cacheBytes?: number | undefined;
      readonly leader?: FencedTransactions | undefined;
      readonly isDurable: boolean;
    },
  ) {
    this.#cacheBytes = options.cacheBytes ?? defaultCacheBytes;
    const session = this.#session;
    this.transactions = new FencedTransactions(pool, {
      lease: new WriterLease(options),
      where: options.where,
      clock: options.clock,
      leader: options.leader,
      isDurable: options.isDurable,
      session,
      memory: {
        reload: () => this.#reload(),
        invalidate: (error) => {
          for (const state of this.#states.values()) state.isVoid = error;
          this.losses.notify();
        },
      },
    });
    this.#pruner = new Pruner({
      rows: new PostgresPrunedRows(session),
      moments: new PostgresMomentRows(session),
      position: () => this.#rows.position,
      onRemoved: (stream, removed) => {
        const state = this.#states.get(stream);
        if (state !== undefined) state.versions -= removed;
      },
      inTransaction: (work) => this.transactions.run(() => runLater(work())),
    });
    const [store, commits, streams, objects] = [this.#rows, this.#commits, this.#streams, this.#objects];
    const [quarantine, savepoints] = [new PostgresQuarantineRows(session), postgresSavepoints(session)];
    const groups = new GroupApplier({
      store,
      objects,
      values: new DigestedValues(session, store),
      savepoints,
      quarantine: new QuarantineLog(quarantine, savepoints),
      windowFrames,
    });
    const pieces = (stream: PostgresStreamState) => stagedPieces(session, stream);
    this.#steps = new GroupSteps({ store, groups, streams, commits, pieces });
    const stateOf = async (id: number) => this.#states.get(id) ?? (await this.#newState(id, undefined));
    this.#resolver = new QuarantineResolver({ store, streams, commits, objects, quarantine, stateOf });
  }

  async openStream(options: OpenStreamOptions, nowMs: number): Promise<OpenedStream> {
    return this.#open(options, nowMs, async () => undefined);
  }

  /** `origin` is the identity of the history. */
  async openGraph(options: GraphOptions, origin: string, nowMs: number): Promise<OpenedStream> {
    const { name, description } = options;
    return this.#open({ ...graphStream, name, description }, nowMs, async (state) => {
      const core = new GraphCore({
        tables: new PostgresGraphTables(this.#session),
        mirrors: new PostgresMirrorTables(this.#session),
        retained: new PostgresRetentionTables(this.#session),
        moments: new PostgresMomentRows(this.#session),
        store: this.#rows,
        commits: this.#commits,
        streams: this.#streams,
        state,
        origin,
      });
      await runLater(core.open(nowMs));
      this.#graphs.set(state.id, core);
    });
  }

  /** Runs what changes a graph in a transaction. @throws {StoreWatchError} like {@link append} */
  async changeGraph<T>(opened: OpenedStream, flow: (core: GraphCore) => Flow<T>): Promise<T> {
    let core: GraphCore | undefined;
    try {
      return await this.#run(this.#states.get(opened.id), async () => {
        this.checkOpening(opened);
        core = this.#graphs.get(opened.id) as GraphCore;
        return runLater(flow(core));
      });
    } catch (error) {
      core?.forget();
      throw commitFailed(error);
    }
  }

  /** @throws {StoreWatchError} `STREAM_BUSY` when it was opened again, or why nobody may go on. */
  checkOpening(opened: Pick<OpenedStream, "id" | "token">): PostgresStreamState {
    const stream = this.checkNewest(opened);
    if (stream.isVoid !== undefined) throw stream.isVoid;
    return stream;
  }

  /** Whether it may go on or not. @throws {StoreWatchError} `STREAM_BUSY` when it was opened again. */
  checkNewest({ id, token }: Pick<OpenedStream, "id" | "token">): PostgresStreamState {
    const stream = this.#states.get(id);
    if (stream === undefined || stream.token !== token) {
      throw new StoreWatchError(
        "STREAM_BUSY",
        `the stream ${JSON.stringify(stream?.name ?? id)} was opened again; only its newest writer may go on`,
      );
    }
    return stream;
  }

  /** Whether nobody may go on, although nobody has opened the stream again. */
  isVoid({ id, token }: Pick<OpenedStream, "id" | "token">): boolean {
    const stream = this.#states.get(id);
    return stream?.token === token && stream.isVoid !== undefined;
  }

  /** @throws {StoreWatchError} `STREAM_BUSY`, `PROTOCOL`, `COMMIT_FAILED`, `DATABASE_LOCKED`, `DATABASE_UNREADABLE` */
  async append(opened: OpenedStream, parts: FrameBufferParts, nowMs: number): Promise<Appended> {
    const startedMs = systemClock.monotonic();
    const stream = this.checkOpening(opened);
    const reader = new FrameReader(parts);
    const plan = planGroups(reader, stream.open);
    let stats = noStats();
    const isQuiet = plan.steps.every((step) => isIdle(stream, reader, step));
    if (!isQuiet || plan.clearsStage || plan.open !== undefined) {
      const apply = (isCareful: boolean) =>
        this.#run(stream, async (session) => {
          this.checkOpening(opened);
          stats = isQuiet ? noStats() : await runLater(this.#steps.apply(stream, reader, plan.steps, nowMs, isCareful));
          let staged = stream.staged;
          if (plan.clearsStage) {
            await clearStage(session, stream.id);
            staged = 0;
          }
          if (plan.open !== undefined && plan.openFrom < reader.frames) {
            await addStage(session, stream.id, staged++, reader, plan.openFrom);
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

  /** @throws {StoreWatchError} `COMMIT_FAILED` when it fails again, and the record shows the new error. */
  async retryQuarantined(id: number, nowMs: number): Promise<void> {
    try {
      await this.transactions.run(() => runLater(this.#resolver.retry(id, nowMs)));
    } catch (error) {
      if (classifyPostgresError(error) === "data") {
        await this.transactions.run(() => runLater(this.#resolver.blame(id, messageOf(error))));
      }
      throw commitFailed(error);
    }
  }

  async skipQuarantined(id: number, reason: string): Promise<void> {
    await this.transactions.run(() => runLater(this.#resolver.skip(id, reason)));
  }

  async setConsumer(name: string, position: number | undefined, nowMs: number): Promise<void> {
    await this.transactions.run(() => runLater(this.#pruner.setConsumer(name, position, nowMs)));
  }

  prune(
    before: AsOfInput,
    stream: string | undefined,
    clock: Clock,
  ): Promise<{ readonly removed: number; readonly floor: number }> {
    return this.#pruner.prune(before, stream, clock);
  }

  async #open(
    options: OpenStreamOptions,
    nowMs: number,
    then: (state: PostgresStreamState) => Promise<void>,
  ): Promise<OpenedStream> {
    await this.transactions.acquire(0);
    let before: { readonly id: number; readonly state: PostgresStreamState | undefined } | undefined;
    try {
      return await this.#run(undefined, async (session) => {
        const { id, previous } = await runLater(this.#streams.open(options));
        const old = this.#states.get(id);
        before = { id, state: old };
        const opened = await this.#newState(id, old);
        // What an earlier writer left open comes again.
        await clearStage(session, id);
        const begin = () => this.#commits.begin(nowMs);
        await runLater(this.#streams.enterScope(opened, previous, options, this.#rows.position, begin));
        // Here, so that whatever waits for its turn finds that it came too late.
        this.#states.set(id, opened);
        await then(opened);
        return { id, token: opened.token, resume: resumeOf(opened) };
      });
    } catch (error) {
      if (before?.state !== undefined) this.#states.set(before.id, before.state);
      else if (before !== undefined) this.#states.delete(before.id);
      throw error;
    }
  }

  /**
   * A transaction about one stream: when it fails, what has no column in the database is as it was before, too, and where
   * the stream stands, which is asked before the next transaction takes everything from there again.
   */
  async #run<T>(stream: PostgresStreamState | undefined, work: (session: WriterSession) => Promise<T>): Promise<T> {
    const before = stream && {
      epoch: stream.epoch,
      cursor: stream.cursor,
      isAfterGap: stream.isAfterGap,
      isRepair: stream.isRepair,
      ownGap: stream.ownGap,
    };
    let position = 0;
    try {
      const result = await this.transactions.run(async (session) => {
        const done = await work(session);
        position = this.#rows.position;
        return done;
      });
      this.#committed = Math.max(this.#committed, position);
      return result;
    } catch (error) {
      if (stream !== undefined) Object.assign(stream, before);
      throw error;
    }
  }

  async #reload(): Promise<void> {
    await this.#rows.load();
    await runLater(this.#commits.load());
    for (const state of this.#states.values()) {
      state.cache.clear();
      Object.assign(state, await runLater(this.#streams.load(state.id)));
    }
  }

  async #newState(id: number, old: PostgresStreamState | undefined): Promise<PostgresStreamState> {
    const cache = old?.cache ?? (await this.#objects.cacheOf(id, fewObjects, this.#cacheBytes));
    return {
      id,
      ...(await runLater(this.#streams.load(id))),
      cache,
      token: (old?.token ?? 0) + 1,
      open: undefined,
      staged: 0,
      isVoid: undefined,
      isAfterGap: false,
      isRepair: false,
      ownGap: undefined,
    };
  }
}
