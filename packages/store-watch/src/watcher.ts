import { type Clock, deadline, type Rng, systemClock, systemRng, type Timer } from "@tidemark/clock";
import { backoffDelayMs, type BackoffOptions, resolveBackoff } from "@tidemark/stream";
import type { ResumePoint } from "./contract.ts";
import { StoreWatchError } from "./errors.ts";
import type { AppendResult, HistoryStream } from "./history-types.ts";
import type { WatchBatch } from "./watcher-batch.ts";
import { Commits } from "./watcher-commits.ts";
import { WatcherEvents } from "./watcher-events.ts";
import { WatcherRun } from "./watcher-run.ts";
import {
  initialWatcher,
  nextWatcher,
  type WatcherEffect,
  type WatcherInput,
  type WatcherMachine,
} from "./watcher-state.ts";
import { WatcherMeters } from "./watcher-meters.ts";
import { problemOf, stateOf } from "./watcher-status.ts";
import {
  resolveLimits,
  type Watcher,
  type WatcherCloseOptions,
  type WatcherEvent,
  type WatcherLimits,
  type WatcherOptions,
  type WatcherStatus,
} from "./watcher-types.ts";
import { Waiters } from "./watcher-waiters.ts";

/**
 * Follows a source into a stream of a history until it is closed: whatever the source or the database does meanwhile is
 * a state of the watcher, never silence, and what is committed is always whole groups together with their cursor.
 *
 * @throws {StoreWatchError} `OPTIONS_INVALID`; what `history.openStream` throws.
 */
export async function openWatcher(options: WatcherOptions): Promise<Watcher> {
  const limits = resolveLimits(options);
  const restart = resolveBackoff({ initialDelayMs: 100, ...options.restart });
  const stream = await openStream(options);
  return new SourceWatcher(options, limits, restart, stream);
}

function openStream({ history, name, source }: WatcherOptions): Promise<HistoryStream> {
  const { kind, description, scope, capabilities } = source;
  return history.openStream({ name, kind, description, scope, capabilities });
}

/** Carries out what the state machine decides; it decides nothing itself. */
class SourceWatcher implements Watcher {
  readonly name: string;
  readonly #options: WatcherOptions;
  readonly #limits: WatcherLimits;
  readonly #restart: Required<BackoffOptions>;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #events: WatcherEvents;
  readonly #waiters: Waiters;
  readonly #meters: WatcherMeters;
  /** Aborts when the watcher is over. */
  readonly #life = new AbortController();
  readonly #inputs: WatcherInput[] = [];
  #isApplying = false;
  #machine: WatcherMachine;
  #sinceMs: number;
  #resume: ResumePoint | undefined;
  #commits: Commits;
  #run: WatcherRun | undefined;
  /** The next run is to correct the history, or one that does is under way. */
  #repair: { readonly reason: string; readonly done: PromiseWithResolvers<void> } | undefined;
  #delay: Timer | undefined;
  #delayDueMs: number | undefined;
  #closing: Promise<void> | undefined;
  #closeOptions: WatcherCloseOptions = {};
  #onShutDown: ((error?: Error) => void) | undefined;
  /** Ends the wait for a last commit that will not come. */
  #giveUpFlush: (() => void) | undefined;

  constructor(
    options: WatcherOptions,
    limits: WatcherLimits,
    restart: Required<BackoffOptions>,
    stream: HistoryStream,
  ) {
    this.name = options.name;
    this.#options = options;
    this.#limits = limits;
    this.#restart = restart;
    this.#clock = options.clock ?? systemClock;
    this.#rng = options.rng ?? systemRng;
    this.#events = new WatcherEvents(options.name);
    this.#resume = stream.resume;
    this.#waiters = new Waiters(stream.resume);
    this.#meters = new WatcherMeters(this.#clock);
    this.#machine = initialWatcher(limits.stableAfterMs);
    this.#sinceMs = this.#clock.now();
    this.#commits = this.#newCommits(stream);
    this.#startRun();
  }

  status(): WatcherStatus {
    const machine = this.#machine;
    const commits = this.#commits;
    const state = stateOf(machine);
    const isHeldBack = this.#run?.sink.isHeldBack === true && state !== "stopped" && state !== "failed";
    const counters = this.#meters.counters;
    return {
      name: this.name,
      kind: this.#options.source.kind,
      description: this.#options.source.description,
      state,
      reason: state === "quarantined" ? (machine.commitProblem ?? machine.reason) : machine.reason,
      sinceMs: this.#sinceMs,
      problem: problemOf(machine, isHeldBack, counters.drops),
      isHeldBack,
      isStalled: machine.health === "stalled",
      nextAttemptAtMs: this.#nextAttemptAtMs(),
      lag: this.#meters.lag(commits),
      lastFrameAtMs: this.#meters.wallTime(this.#lastSignMs()),
      lastCommitAtMs: this.#meters.wallTime(this.#meters.lastCommitMs),
      inflightBytes: commits.inflightBytes,
      bufferedBytes: commits.bufferedBytes,
      changesPerSecond: this.#meters.changesPerSecond(),
      resume: this.#resume,
      reconnects: machine.reconnects,
      ...counters,
    };
  }

  events(): AsyncIterable<WatcherEvent> {
    return this.#events.read();
  }

  async waitFor(target: "now" | ResumePoint, options: { readonly signal?: AbortSignal } = {}): Promise<ResumePoint> {
    options.signal?.throwIfAborted();
    const point = target === "now" ? await this.#barrier(options.signal) : target;
    return this.#waiters.wait(point, options.signal);
  }

  retry(): void {
    this.#apply({ type: "retry" });
  }

  async repair(reason: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#life.signal.throwIfAborted();
    if (this.#repair === undefined) {
      const done = Promise.withResolvers<void>();
      done.promise.catch(() => {});
      this.#repair = { reason, done };
      this.#apply({ type: "repair", reason });
    }
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#repair.done.promise, promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  close(options: WatcherCloseOptions = {}): Promise<void> {
    if (this.#closing === undefined) {
      this.#closeOptions = options;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#closing = promise;
      const isOver = this.#machine.phase === "stopped" || this.#machine.phase === "failed";
      if (isOver) resolve();
      else {
        this.#onShutDown = (error) => (error === undefined ? resolve() : reject(error));
        this.#apply({ type: "close" });
      }
    }
    return this.#closing;
  }

  destroy(reason?: unknown): void {
    const why = reason === undefined ? "Destroyed by its owner." : `Destroyed by its owner: ${textOf(reason)}`;
    this.#apply({ type: "destroy", reason: why });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #apply(input: WatcherInput): void {
    this.#inputs.push(input);
    // An effect may lead to the next input while it is carried out.
    if (this.#isApplying) return;
    this.#isApplying = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        const before = this.#machine;
        const [after, ...effects] = nextWatcher(before, next);
        this.#machine = after;
        this.#tell(before, after);
        for (const effect of effects) this.#do(effect);
      }
    } finally {
      this.#isApplying = false;
    }
  }

  #tell(before: WatcherMachine, after: WatcherMachine): void {
    const [from, to] = [stateOf(before), stateOf(after)];
    if (from === to) return;
    this.#sinceMs = this.#clock.now();
    const reason = to === "quarantined" ? (after.commitProblem ?? after.reason) : after.reason;
    this.#events.emit({ type: "state-changed", from, to, reason });
  }

  #do(effect: WatcherEffect): void {
    switch (effect.type) {
      case "start-run":
        this.#startRun();
        break;
      case "abort-run":
        this.#run?.abort(new Error(effect.reason));
        break;
      case "drain":
        this.#watchOver(this.#drain(this.#commits));
        break;
      case "back-off":
        this.#backOff(effect.attempt);
        break;
      case "cancel-delay":
        this.#delay?.cancel();
        break;
      case "resync":
        this.#watchOver(this.#resync());
        break;
      case "retry-commit":
        this.#commits.retry();
        break;
      case "shut-down":
        this.#watchOver(this.#shutDown(this.#commits));
        break;
      case "cut":
        this.#end(effect.reason);
        break;
      default:
        effect satisfies never;
    }
  }

  /** No defect of ours may end in silence (H12). */
  #watchOver(work: Promise<void>): void {
    work.catch((error: unknown) => this.#apply({ type: "fatal", error: `A defect of the watcher: ${textOf(error)}` }));
  }

  #startRun(): void {
    const run = new WatcherRun({
      source: this.#options.source,
      target: this.#commits,
      from: this.#resume,
      repair: this.#repair?.reason,
      clock: this.#clock,
      check: this.#options.check,
      silenceTimeoutMs: this.#limits.silenceTimeoutMs,
      observer: {
        status: (status) => {
          if (status.state === "waiting") this.#delayDueMs = this.#clock.now() + status.delayMs;
          this.#apply({ type: "source-status", atMs: this.#clock.monotonic(), status });
        },
        snapshotBegan: () => this.#apply({ type: "snapshot-began" }),
        snapshotEnded: () => this.#watchOver(this.#awaitSnapshot(this.#commits)),
        gapAccepted: (reason, detail) => this.#events.emit({ type: "gap-accepted", reason, detail }),
        changeRefused: (key, error) => this.#events.emit({ type: "change-refused", key: key.slice(), error }),
        heldBack: (isHeldBack) => this.#events.emit({ type: "held-back", isHeldBack }),
        ended: (error) => {
          if (this.#run === run) this.#apply({ type: "run-ended", atMs: this.#clock.monotonic(), error });
        },
        silent: (silentMs) => {
          if (this.#run !== run) return;
          this.#events.emit({ type: "source-silent", silentMs });
          this.#apply({ type: "went-silent", atMs: this.#clock.monotonic(), silentMs });
        },
      },
    });
    this.#run = run;
    run.start();
  }

  /** The replica shows a snapshot only once its end is committed. */
  async #awaitSnapshot(commits: Commits): Promise<void> {
    // The group of the snapshot's end is sealed right after this call.
    const upTo = commits.sealedGroups + 1;
    const run = this.#run;
    await commits.committed(upTo);
    if (this.#run !== run || commits.committedGroups < upTo) return;
    this.#apply({ type: "snapshot-committed", atMs: this.#clock.monotonic() });
    if (run?.repair === undefined) return;
    this.#repair?.done.resolve();
    this.#repair = undefined;
  }

  async #drain(commits: Commits): Promise<void> {
    await this.#runIsGone();
    await commits.committed(commits.sealedGroups);
    if (commits === this.#commits) this.#apply({ type: "drained" });
  }

  /** Waits for the run to end, but not for ever: whatever it still delivers is not accepted. */
  async #runIsGone(): Promise<void> {
    const run = this.#run;
    if (run === undefined || run.isOver) return;
    using limit = deadline(this.#clock, this.#limits.stopTimeoutMs);
    await run.gone(limit.signal);
  }

  #backOff(attempt: number): void {
    const delayMs = backoffDelayMs(this.#restart, "fast", attempt, this.#rng);
    this.#delayDueMs = this.#clock.now() + delayMs;
    this.#apply({ type: "delay-chosen", delayMs });
    this.#delay?.cancel();
    this.#delay = this.#clock.setTimer(delayMs, () => this.#apply({ type: "delay-elapsed" }));
    this.#delay.unref();
  }

  async #resync(): Promise<void> {
    // The source's next run must start where the history stands, so nothing may be on the way to it.
    const changes = this.#commits.destroy(new Error("memory was lost"));
    if (changes > 0) {
      this.#meters.dropped(changes);
      this.#events.emit({ type: "dropped", changes, error: this.#machine.reason });
    }
    await this.#runIsGone();
    if (this.#machine.phase !== "resyncing") return;
    try {
      const stream = await openStream(this.#options);
      if (this.#machine.phase !== "resyncing") return;
      this.#commits = this.#newCommits(stream);
      this.#moveTo(stream.resume);
      this.#apply({ type: "resynced" });
    } catch (error) {
      const type = StoreWatchError.is(error) && !error.retryable ? "fatal" : "resync-failed";
      this.#apply({ type, error: textOf(error) });
    }
  }

  async #shutDown(commits: Commits): Promise<void> {
    const { flush = true, closeTimeoutMs = 30_000 } = this.#closeOptions;
    this.#delay?.cancel();
    using limit = deadline(this.#clock, closeTimeoutMs);
    this.#run?.abort(new StoreWatchError("CLOSED", "the watcher is closing"));
    const upTo = commits.sealedGroups;
    const { promise: gaveUp, resolve: giveUp } = Promise.withResolvers<void>();
    this.#giveUpFlush = giveUp;
    limit.signal.addEventListener("abort", () => giveUp(), { once: true });
    if (flush && this.#machine.health !== "quarantined") await Promise.race([commits.committed(upTo), gaveUp]);
    await this.#run?.gone(limit.signal);
    this.#apply({ type: "closed", reason: "Closed by its owner." });
  }

  #end(reason: string): void {
    const left = this.#commits.pendingGroups;
    const isLoss = left > 0 && this.#closeOptions.flush !== false;
    const error = isLoss ? notCommitted(left, this.#machine.commitProblem ?? "time ran out.") : undefined;
    const closed = new StoreWatchError("CLOSED", `the watcher of ${this.name} is over: ${reason}`);
    this.#delay?.cancel();
    this.#run?.abort(closed);
    this.#commits.destroy(closed);
    this.#life.abort(closed);
    this.#waiters.end(closed);
    this.#repair?.done.reject(closed);
    this.#events.end();
    this.#onShutDown?.(error);
  }

  #newCommits(stream: HistoryStream): Commits {
    const commits: Commits = new Commits({
      stream,
      limits: this.#limits,
      retry: this.#options.commitRetry,
      clock: this.#clock,
      rng: this.#rng,
      observer: {
        committed: (result, batch, groups) => this.#committed(result, batch, groups),
        failed: (error, attempt, delayMs) => {
          this.#events.emit({ type: "commit-failed", error: textOf(error), attempt, delayMs });
          this.#apply({ type: "commit-failed", error: textOf(error) });
        },
        stalled: (forMs) => {
          this.#events.emit({ type: "commit-stalled", forMs });
          this.#apply({ type: "commit-stalled", forMs });
        },
        quarantined: (error) => {
          this.#apply({ type: "commit-quarantined", error: textOf(error) });
          this.#giveUpFlush?.();
        },
        lost: (error) => {
          this.#apply({ type: "buffer-lost", error: textOf(error), changes: commits.pendingChanges });
          this.#giveUpFlush?.();
        },
        fatal: (error) => this.#apply({ type: "fatal", error: textOf(error) }),
      },
    });
    return commits;
  }

  #committed(result: AppendResult, batch: WatchBatch, groups: number): void {
    const lagMs = this.#meters.committed(result, batch);
    const { versions, duplicates, quarantined, gaps, commitMs, resume } = result;
    this.#events.emit({ type: "committed", resume, groups, versions, duplicates, quarantined, gaps, commitMs, lagMs });
    this.#moveTo(resume);
    this.#apply({ type: "commit-succeeded" });
  }

  #moveTo(resume: ResumePoint | undefined): void {
    this.#resume = resume;
    this.#waiters.reached(resume);
  }

  async #barrier(signal: AbortSignal | undefined): Promise<ResumePoint> {
    const { source } = this.#options;
    if (source.barrier === undefined) {
      throw new StoreWatchError(
        "NO_BARRIER",
        `a source of kind ${source.kind} cannot say where it is now; wait for a resume point instead`,
      );
    }
    const life = this.#life.signal;
    life.throwIfAborted();
    return await source.barrier(signal === undefined ? life : AbortSignal.any([signal, life]));
  }

  #lastSignMs(): number | undefined {
    const run = this.#run;
    if (run?.sink.hasSign) this.#meters.sawSign(run.sink.lastSignMs);
    return this.#meters.lastSignMs;
  }

  #nextAttemptAtMs(): number | undefined {
    return this.#machine.delayMs === undefined ? undefined : this.#delayDueMs;
  }
}

function notCommitted(groups: number, problem: string): StoreWatchError {
  return new StoreWatchError(
    "NOT_COMMITTED",
    `${groups} accepted groups are not committed: ${problem} The cursor stands before them, so they come again when the ` +
      "stream is opened next.",
  );
}

/** As a sentence: it stands among others in reasons and problems. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
