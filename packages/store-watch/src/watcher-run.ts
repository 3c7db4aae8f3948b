import type { Clock, Timer } from "@tidemark/clock";
import type { ChangeFrame, ResumePoint, Source } from "./contract.ts";
import { RunSink, type SinkObserver, type SinkTarget } from "./watcher-sink.ts";

interface RunObserver extends SinkObserver {
  /** The run is over by itself; also where it resolved, because a run ends only when it is told to. */
  ended(error: string): void;
  silent(silentMs: number): void;
}

export interface RunOptions {
  readonly source: Source;
  readonly target: SinkTarget;
  readonly from: ResumePoint | undefined;
  /** Why the whole state is to be read again and to correct what is here; undefined: it goes on from `from`. */
  readonly repair: string | undefined;
  readonly clock: Clock;
  readonly check: ((change: ChangeFrame) => void) | undefined;
  readonly silenceTimeoutMs: number;
  readonly observer: RunObserver;
}

/** One call of `source.run` and everything that belongs to it alone. */
export class WatcherRun {
  readonly sink: RunSink;
  readonly #options: RunOptions;
  readonly #controller = new AbortController();
  readonly #gone = Promise.withResolvers<void>();
  #isOver = false;
  #watchdog: Timer | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    const { target, observer, clock, source, check, from } = options;
    this.sink = new RunSink({
      target,
      observer,
      clock,
      check,
      from,
      capabilities: source.capabilities,
      signal: this.#controller.signal,
    });
  }

  /** What this run corrects. */
  get repair(): string | undefined {
    return this.#options.repair;
  }

  /** The source's call has settled. */
  get isOver(): boolean {
    return this.#isOver;
  }

  start(): void {
    if (this.#options.silenceTimeoutMs !== Number.POSITIVE_INFINITY) this.#watch(this.#options.silenceTimeoutMs);
    void this.#follow();
  }

  /** Nothing is accepted from now on, whether the source obeys or not. */
  abort(reason: Error): void {
    this.#watchdog?.cancel();
    this.sink.detach();
    this.#controller.abort(reason);
  }

  /** Resolves when the source's call has settled, or when the signal aborts. */
  gone(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = () => {
      signal.removeEventListener("abort", done);
      resolve();
    };
    signal.addEventListener("abort", done, { once: true });
    void this.#gone.promise.then(done);
    return promise;
  }

  async #follow(): Promise<void> {
    const { source, from, repair, observer } = this.#options;
    const { signal } = this.#controller;
    let error = "The source ended its run without being told to.";
    try {
      if (repair !== undefined) this.sink.write({ type: "gap", reason: "replica-differed", detail: repair });
      await source.run(repair === undefined ? from : undefined, this.sink, signal);
    } catch (cause) {
      error = `The source failed: ${cause instanceof Error ? cause.message : String(cause)}`;
    }
    this.#watchdog?.cancel();
    this.sink.detach();
    this.#isOver = true;
    this.#gone.resolve();
    if (!signal.aborted) observer.ended(error);
  }

  /** One timer, moved on only when it fires, so that signs of life cost nothing but a clock reading. */
  #watch(delayMs: number): void {
    const { clock, silenceTimeoutMs, observer } = this.#options;
    this.#watchdog = clock.setTimer(delayMs, () => {
      if (this.sink.isHeldBack) this.sink.alive();
      const silentMs = Math.round(clock.monotonic() - this.sink.lastWordMs);
      // Whole milliseconds: a wait of a billionth of one may not move a clock at all.
      if (silentMs < silenceTimeoutMs) this.#watch(Math.ceil(silenceTimeoutMs - silentMs));
      else observer.silent(silentMs);
    });
    this.#watchdog.unref();
  }
}
