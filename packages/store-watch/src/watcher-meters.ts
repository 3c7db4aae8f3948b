import type { Clock } from "@tidemark/clock";
import type { AppendResult } from "./history-types.ts";
import type { WatchBatch } from "./watcher-batch.ts";
import type { Commits } from "./watcher-commits.ts";
import { LagWindow, RateWindow } from "./watcher-lag.ts";
import type { WatcherLag, WatcherStatus } from "./watcher-types.ts";

type Counters = Pick<WatcherStatus, "drops" | "duplicates" | "gaps" | "quarantined" | "versions">;

/** Everything that is counted or timed. */
export class WatcherMeters {
  readonly #clock: Clock;
  readonly #lag = new LagWindow();
  readonly #rate = new RateWindow();
  #drops = 0;
  #duplicates = 0;
  #gaps = 0;
  #quarantined = 0;
  #versions = 0;
  #lastCommitMs: number | undefined;
  #lastSignMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get counters(): Counters {
    return {
      drops: this.#drops,
      duplicates: this.#duplicates,
      gaps: this.#gaps,
      quarantined: this.#quarantined,
      versions: this.#versions,
    };
  }

  /** On the monotonic clock, as are all times here that are not said to be wall times. */
  get lastCommitMs(): number | undefined {
    return this.#lastCommitMs;
  }

  get lastSignMs(): number | undefined {
    return this.#lastSignMs;
  }

  sawSign(atMs: number): void {
    this.#lastSignMs = atMs;
  }

  dropped(changes: number): void {
    this.#drops += changes;
  }

  /** Returns the lag of the oldest group. */
  committed(result: AppendResult, batch: WatchBatch): number | undefined {
    const nowMs = this.#clock.monotonic();
    this.#lastCommitMs = nowMs;
    this.#duplicates += result.duplicates;
    this.#gaps += result.gaps;
    this.#quarantined += result.quarantined;
    this.#versions += result.versions;
    this.#rate.record(nowMs, batch.changes);
    batch.times.forEach((atMs, count) => this.#lag.record(nowMs, nowMs - atMs, count));
    const { firstMs } = batch.times;
    return firstMs === undefined ? undefined : nowMs - firstMs;
  }

  changesPerSecond(): number {
    return this.#rate.perSecond(this.#clock.monotonic());
  }

  lag(commits: Commits): WatcherLag {
    const nowMs = this.#clock.monotonic();
    const { oldestMs } = commits;
    const summary = this.#lag.summary(nowMs);
    return {
      p50Ms: summary?.p50Ms,
      p99Ms: summary?.p99Ms,
      maxMs: summary?.maxMs,
      currentMs: oldestMs === undefined ? 0 : nowMs - oldestMs,
      pendingGroups: commits.pendingGroups,
      pendingChanges: commits.pendingChanges,
    };
  }

  /** What a monotonic time is on the wall clock as it stands now. */
  wallTime(monotonicMs: number | undefined): number | undefined {
    if (monotonicMs === undefined) return undefined;
    return Math.round(this.#clock.now() - (this.#clock.monotonic() - monotonicMs));
  }
}
