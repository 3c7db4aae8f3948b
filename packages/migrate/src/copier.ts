import { messageOf } from "./body-rows.ts";
import {
  type BodyRunner,
  type ChunkContext,
  type ChunkResult,
  performChunk,
  quarantineNext,
  retryQuarantined,
} from "./chunk.ts";
import { performSeries, takesSeries } from "./chunk-series.ts";
import { decodeKey, encodeKey } from "./key-codec.ts";
import { LeaseLost } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import { gapAfter, gapInTurn, lockGapMs, lockTargetMs, retryDelayMs } from "./pace.ts";
import type { MigrationTuning } from "./options.ts";
import type { Ahead } from "./plan.ts";
import type { RunHandle } from "./run-handle.ts";
import { heldTo, initialServo, nextServo, type ServoEvent, type ServoState } from "./servo.ts";
import { Stride } from "./stride.ts";

/** Chunks of the smallest size that may be cut short in a row. */
const maxCuts = 5;

/** How long all chunks of a series should take, in milliseconds, and how many they are at most. */
const seriesMs = 60;
const maxSeries = 4;

/** How far the size of a chunk may be above or below what is wanted by now, where that spares a way to the database. */
const aheadSlack = { above: 1.1, below: 1.5 } as const;

/**
 * Where everybody waits for the one writer, a chunk that is prepared without a lock needs it only for writing, and gives it
 * back before those who wait have looked a third time; they find it free then, since the next one does not come sooner.
 */
function tuningOf({ context, migration: { tuning } }: RunHandle, body: BodyRunner): Required<MigrationTuning> {
  const { dialect } = context.database;
  if (!dialect.hasOneWriter || body.prepare === undefined || context.isShared) return tuning;
  return { ...tuning, targetMs: lockTargetMs(tuning.targetMs), minGapMs: lockGapMs(tuning.minGapMs) };
}

/** Moves the cursor of a run to its bound, chunk by chunk, whatever gets in the way. */
export class Copier {
  readonly #run: RunHandle;
  readonly #body: BodyRunner;
  readonly #chunks: ChunkContext;
  #servo: ServoState;
  /** Where the next chunks end, as far as the last one saw it. */
  #ahead: readonly Ahead[] = [];
  /** What tells where chunks end; undefined: that is looked for. */
  #stride: Stride | undefined;
  /** Rests that were kept for a longer one, in milliseconds. */
  #keptMs = 0;
  /** Rows that a search for a poisonous row allows; undefined while there is none. */
  #narrowed: number | undefined;

  constructor(run: RunHandle, body: BodyRunner) {
    this.#run = run;
    this.#body = body;
    this.#servo = initialServo(this.#tuning);
    const { ledger, quarantine, worker, probe, clock } = run.context;
    const { plan, lease, signal } = run;
    const monotonic = () => clock.monotonic();
    this.#chunks = { plan, ledger, quarantine, runNo: run.row.runNo, lease, worker, signal, probe, monotonic };
  }

  get #tuning(): Required<MigrationTuning> {
    return tuningOf(this.#run, this.#body);
  }

  async copy(): Promise<void> {
    if (!this.#run.row.isExhausted) {
      this.#stride = await this.#openStride();
      await this.retryHeld();
    }
    for (let failures = 0; !this.#run.row.isExhausted; ) {
      await this.#run.waitForSignals();
      const limit = Math.min(this.#servo.rows, this.#narrowed ?? Number.POSITIVE_INFINITY);
      let results: readonly ChunkResult[];
      try {
        results = await this.#perform(limit);
      } catch (error) {
        this.#ahead = [];
        this.#run.signal.throwIfAborted();
        failures++;
        await this.#recover(error, limit, failures);
        continue;
      }
      failures = 0;
      this.#ahead = results.at(-1)?.ahead ?? [];
      for (const result of results) this.#account(result);
      if (results.length > 1) this.#servo = heldTo(this.#servo, limit, this.#tuning);
      this.#run.spentAnew(results.reduce((sum, { tookMs }) => sum + tookMs, 0));
      this.#requireFewQuarantined();
      const [last] = results.slice(-1);
      if (last === undefined || this.#run.row.isExhausted) continue;
      await this.#run.tidyUp();
      await this.#run.rest(this.#gapAfter(last));
    }
    this.#run.context.probe("exhausted");
  }

  /** Rows that an earlier run set aside get another chance before anything is judged. */
  async retryHeld(): Promise<void> {
    const { quarantine, ledger, worker, database } = this.#run.context;
    const held = (await quarantine.list(this.#run.migration.name)).filter(
      ({ state, runNo }) => state === "held" && runNo < this.#run.row.runNo,
    );
    for (const { key } of held) {
      await this.#run.waitForSignals();
      try {
        await retryQuarantined(this.#chunks, this.#body, decodeKey(key));
      } catch (error) {
        this.#run.signal.throwIfAborted();
        if (error instanceof LeaseLost || database.dialect.classify(error) !== "poison") throw error;
        await database.transaction("write", async (executor) => {
          await ledger.hold(this.#run.lease, executor);
          await quarantine.hold(
            this.#run.migration.name,
            this.#run.row.runNo,
            key,
            messageOf(error),
            ledger.now,
            executor,
          );
          await ledger.update(this.#run.lease, worker, {}, executor);
        });
      }
      await this.#run.rest(this.#run.migration.tuning.minGapMs);
    }
    await this.#run.reload();
  }

  /** A chunk has to tell how many rows it had, so it must not leave any out. */
  async #openStride(): Promise<Stride | undefined> {
    const { plan, row } = this.#run;
    if (!plan.isOfAllRows || row.totalKind !== "exact" || row.total === undefined) return undefined;
    return Stride.of(plan, this.#run.bound(), row.total);
  }

  /** The next chunk of at most so many rows; where nobody is rested for, several at once. */
  async #perform(limit: number): Promise<readonly ChunkResult[]> {
    const run = this.#run;
    const ends = this.#inSeries();
    const ranges = this.#aheadFor(limit);
    // While chunks grow, each tells how large the next one may be.
    const isSteady = ranges[0] !== undefined && limit <= ranges[0].rows * aheadSlack.above;
    if (ends > 1 && ranges.length > 1 && isSteady) {
      const { targetMs } = this.#tuning;
      const series = { ranges, bound: run.bound(), rows: limit, ends, spent: run.spent, targetMs };
      return performSeries(this.#chunks, this.#body, series);
    }
    const [ahead] = ranges;
    return [await performChunk(this.#chunks, this.#body, run.cursor(), run.bound(), limit, run.spent, ahead, ends)];
  }

  /** How many chunks go to the server at once: none waits behind another for longer than a person notices. */
  #inSeries(): number {
    const { nice, minGapMs, targetMs } = this.#tuning;
    if (nice > 0 || minGapMs > 0 || this.#narrowed !== undefined || !takesSeries(this.#run.plan, this.#body)) return 1;
    return Math.max(Math.min(Math.floor(seriesMs / targetMs), maxSeries), 1);
  }

  /** Where the next chunks of so many rows end, as far as that is known: from the stride, or because the last chunk saw it. */
  #aheadFor(limit: number): readonly Ahead[] {
    const after = this.#run.cursor();
    // A chunk of one row has to have it.
    if (this.#stride !== undefined && after !== undefined && limit > 1) {
      return [{ ...this.#stride.next(after, limit), after, rows: limit }];
    }
    const [ahead] = this.#ahead;
    if (ahead === undefined || this.#run.row.cursor !== encodeKey(ahead.after)) return [];
    const most = Math.min(limit * aheadSlack.above, this.#tuning.maxRows);
    return ahead.rows <= most && limit <= ahead.rows * aheadSlack.below ? this.#ahead : [];
  }

  #account(result: ChunkResult): void {
    const tuning = this.#tuning;
    this.#run.advanced(result.row);
    if (this.#narrowed !== undefined) {
      this.#narrowed = this.#narrowed * 2 >= this.#servo.rows ? undefined : this.#narrowed * 2;
    }
    // Work without locks has a budget of its own, scaled to that of the locks.
    const sampleMs = this.#run.context.isShared
      ? result.tookMs
      : Math.max(result.lockMs, result.tookMs * (tuning.targetMs / tuning.maxChunkMs));
    const rows = this.#stride === undefined ? result.rows : result.done + result.poison.length;
    if (!result.isLast) this.#steer({ type: "measured", rows, tookMs: sampleMs });
    if (result.poison.length > 0) {
      this.#run.trouble("quarantine", `${result.poison.length} rows; the first: ${result.poison[0]?.error}`);
    }
    if (result.done + result.poison.length > 0) this.#run.tell(result.lockMs, this.#servo.rows);
  }

  #gapAfter({ tookMs, lockMs }: ChunkResult): number {
    const gapMs = this.#gapFor(lockMs);
    // While a chunk is prepared the locks are free: that is a rest for others already, unless they share the thread.
    const restedMs = tookMs - lockMs;
    return this.#run.context.isShared
      ? Math.max(gapMs - restedMs, this.#tuning.minGapMs)
      : Math.max(gapMs - restedMs, 0);
  }

  #gapFor(lockMs: number): number {
    if (!this.#run.context.database.dialect.hasOneWriter) return gapAfter(lockMs, this.#tuning);
    const [gapMs, keptMs] = gapInTurn(lockMs, this.#tuning, this.#keptMs);
    this.#keptMs = keptMs;
    return gapMs;
  }

  /** Finds out what an error of a chunk asks for; throws it when nothing can be done. */
  async #recover(error: unknown, limit: number, failures: number): Promise<void> {
    if (error instanceof LeaseLost) throw error;
    const { rng, database } = this.#run.context;
    const failure = MigrateError.is(error) ? "fatal" : database.dialect.classify(error);
    switch (failure) {
      case "fatal":
        throw error;
      case "retry":
        this.#run.trouble("retry", messageOf(error));
        await this.#run.rest(retryDelayMs(failures, rng.float()));
        break;
      case "split":
        if (limit <= this.#run.migration.tuning.minRows && failures >= maxCuts) throw error;
        this.#steer({ type: "cut" });
        break;
      case "poison":
        if (limit > 1) {
          this.#narrowed = Math.floor(limit / 2);
          this.#run.trouble("split", `a row of ${limit} is refused: ${messageOf(error)}`);
        } else await this.#setAside(error);
        break;
    }
    // Whether the chunk was committed is for the database to say.
    await this.#run.reload();
  }

  async #setAside(error: unknown): Promise<void> {
    const after = this.#run.cursor();
    const { upTo } = await this.#run.plan.nextRange(after, this.#run.bound(), 1);
    const row = { key: upTo, error: messageOf(error) };
    await quarantineNext(this.#chunks, after, row, this.#run.spent);
    this.#run.spentAnew(0);
    this.#run.trouble("quarantine", `${encodeKey(upTo)}: ${row.error}`);
    await this.#run.reload();
    this.#run.tell(0, this.#servo.rows);
    this.#requireFewQuarantined();
  }

  #steer(event: ServoEvent): void {
    const [next, note] = nextServo(this.#servo, event, this.#tuning);
    this.#servo = next;
    if (note !== undefined) this.#run.trouble(note, `${next.rows} rows from now on`);
  }

  #requireFewQuarantined(): void {
    const { maxQuarantined } = this.#run.migration.tuning;
    if (this.#run.row.rowsQuarantined <= maxQuarantined) return;
    throw new MigrateError(
      "QUARANTINE_FULL",
      `${this.#run.row.rowsQuarantined} rows are in quarantine, and maxQuarantined is ${maxQuarantined}; ` +
        "correct the definition or the rows and retry",
    );
  }
}
