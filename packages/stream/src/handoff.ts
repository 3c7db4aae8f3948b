import type { Timer } from "@tidemark/clock";
import { backoffDelayMs } from "./backoff.ts";
import { channels } from "./diagnostics.ts";
import { EventHub } from "./event-hub.ts";
import type { HandoffBuffer } from "./handoff-buffer.ts";
import {
  type HandoffCloseOptions,
  type HandoffEvent,
  type HandoffOptions,
  type HandoffState,
  type HandoffStats,
  handoffDefaults,
  type ResolvedHandoff,
  resolveHandoff,
} from "./handoff-options.ts";
import { type HandoffEffect, type HandoffPhase, type HandoffPhaseEvent, nextHandoffPhase } from "./handoff-state.ts";
import { requireAtLeast } from "./options.ts";
import { StreamError } from "./stream-error.ts";
import { Waiters } from "./waiters.ts";

type Finish = HandoffEffect & { readonly type: "finish" };
type HubEvent = Exclude<HandoffEvent, { readonly type: "skipped" }>;

/**
 * Stands between a producer that must never wait for a commit and a committer that is slow: collects in one buffer while
 * the other is committed, then exchanges them. Nothing is copied, reordered or dropped; what fails is tried again, and
 * what does not fit in `maxBytes` makes the producer wait. One producer, one committer.
 */
export class Handoff<B extends HandoffBuffer> {
  readonly #hooks: Pick<HandoffOptions<B>, "createBuffer" | "commit" | "recover" | "classify">;
  readonly #options: ResolvedHandoff;
  readonly #maxBytes: number;
  readonly #maxGroupBytes: number;
  readonly #canStage: boolean;
  readonly #hub = new EventHub<HubEvent>();
  readonly #producers = new Waiters();
  /** Each with the number of sealed groups that must be committed. */
  readonly #flushers = new Waiters<void, number>();
  readonly #controller = new AbortController();
  #phase: HandoffPhase = { type: "idle", isDue: false, closing: undefined };
  readonly #pending: HandoffPhaseEvent[] = [];
  #isDispatching = false;

  /** What the producer writes into. */
  #buffer: B;
  /** What it will write into after the next exchange; undefined while that one is at the head. */
  #spare: B | undefined;
  /** What a producer that does not know of the end writes into. */
  #void: B | undefined;
  /** What the committer has, or will have again. */
  #head: B | undefined;
  #headBytes = 0;
  #headGroups = 0;
  #isHeadOpen = false;
  #headSinceMs = 0;

  /** The producer is inside a group. */
  #isOpen = false;
  #sealedGroups = 0;
  #cutGroups = 0;
  #committedGroups = 0;
  /** Takes nothing any more. */
  #isOver = false;
  /** An exchange is on its way, so that `sealed` need not arrange for one. */
  #isArmed = false;
  /** It comes in the next turn and not after `flushIntervalMs`. */
  #isUrgent = false;
  #trigger: Timer | undefined;
  /** Set while the producer is on the stack: it must not wait for the committer's synchronous part (H1). */
  #isPushing = false;

  #retryTimer: Timer | undefined;
  #closing:
    | { readonly result: PromiseWithResolvers<void>; readonly isFlushing: boolean; readonly timer: Timer }
    | undefined;
  #bufferError: unknown;
  #lastError: unknown;
  #peakBytes = 0;
  #commits = 0;
  #failures = 0;

  /** @throws {StreamError} `OPTIONS_INVALID`; whatever `createBuffer` throws. */
  constructor(options: HandoffOptions<B>) {
    this.#hooks = options;
    this.#options = resolveHandoff(options);
    this.#maxBytes = this.#options.maxBytes;
    this.#maxGroupBytes = this.#options.maxGroupBytes;
    this.#canStage = this.#maxGroupBytes !== Number.POSITIVE_INFINITY;
    this.#buffer = options.createBuffer();
    this.#spare = options.createBuffer();
  }

  /**
   * The accumulator. Write into it, then call `wrote()` or `sealed()`, and ask for it again: it is exchanged (H3). After
   * `close()` and `destroy()` it is an empty buffer that goes nowhere.
   */
  get buffer(): B {
    if (this.#isOver) return (this.#void ??= this.#hooks.createBuffer());
    return this.#buffer;
  }

  /**
   * Says that a part of a group was written into `buffer`. False: at `maxBytes`, so wait for `ready()`.
   *
   * @throws {StreamError} `CLOSED`: it was not taken.
   */
  wrote(): boolean {
    if (this.#isOver) throw this.#closedError();
    this.#isOpen = true;
    const { bytes } = this.#buffer;
    if (bytes >= this.#maxGroupBytes && !this.#isUrgent) this.#hurry();
    return bytes + this.#headBytes < this.#maxBytes || this.#full();
  }

  /**
   * Says that a group was written to its end: here a batch may be cut. False: at `maxBytes`, so wait for `ready()`.
   *
   * @throws {StreamError} `CLOSED`: it was not taken.
   */
  sealed(): boolean {
    if (this.#isOver) throw this.#closedError();
    this.#isOpen = false;
    this.#sealedGroups++;
    if (!this.#isArmed) this.#arm();
    return this.#buffer.bytes + this.#headBytes < this.#maxBytes || this.#full();
  }

  /** Whether the producer may go on. */
  get isReady(): boolean {
    if (this.#buffer.bytes + this.#headBytes < this.#maxBytes) return true;
    // Nothing but the end of the open group can make room.
    return !this.#canStage && this.#isOpen && this.#head === undefined;
  }

  /**
   * Resolves when the producer may go on. Waits through retries and quarantine.
   *
   * @throws {StreamError} `CLOSED`. @throws `signal.reason`.
   */
  ready(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#isOver) return Promise.reject(this.#closedError());
    return this.isReady ? Promise.resolve() : this.#producers.wait(signal);
  }

  /**
   * Resolves when every group that was sealed before the call is committed, also while more are written.
   *
   * @throws {StreamError} `QUARANTINED` when a commit is given up, `CLOSED`. @throws `signal.reason`.
   */
  flush(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#committedGroups === this.#sealedGroups) return Promise.resolve();
    if (this.#phase.type === "quarantined") return Promise.reject(quarantined(this.#phase.error));
    if (this.#phase.type === "closed") return Promise.reject(this.#closedError());
    if (this.#cutGroups < this.#sealedGroups && !this.#isUrgent) this.#hurry();
    return this.#flushers.wait(signal, this.#sealedGroups);
  }

  /** What the committer does. */
  get state(): HandoffState {
    return this.#phase.type;
  }

  /** What is where, and how much there was. */
  get stats(): HandoffStats {
    const bufferedBytes = this.#buffer.bytes;
    this.#notePeak();
    return {
      sealedGroups: this.#sealedGroups,
      committedGroups: this.#committedGroups,
      pendingGroups: this.#sealedGroups - this.#committedGroups,
      bufferedBytes,
      inFlightBytes: this.#headBytes,
      peakBytes: this.#peakBytes,
      commits: this.#commits,
      failures: this.#failures,
      inFlightSinceMs: this.#head === undefined ? undefined : this.#headSinceMs,
      lastError: this.#lastError,
    };
  }

  /** Tries again now, from `quarantined` or before the wait of `retrying` is over. Otherwise does nothing. */
  retry(): void {
    this.#dispatch({ type: "retry" });
  }

  /**
   * Takes nothing more, commits what is sealed, and ends. Every caller gets the outcome of the first call. What is left
   * then is what `destroy()` returns.
   *
   * @throws {StreamError} `CLOSE_TIMEOUT`, `QUARANTINED`, `OPEN_GROUP`, or `CLOSED` when `destroy` cut it short: groups
   * are left that are not known to be committed.
   */
  close(options: HandoffCloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.result.promise;
    if (this.#phase.type === "closed") return Promise.resolve();
    const isFlushing = options.flush ?? true;
    const closeTimeoutMs = options.closeTimeoutMs ?? handoffDefaults.closeTimeoutMs;
    requireAtLeast("closeTimeoutMs", closeTimeoutMs, 0);
    this.#isOver = true;
    this.#producers.reject(this.#closedError());
    const result = Promise.withResolvers<void>();
    const timer = this.#options.clock.setTimer(closeTimeoutMs, () => this.#dispatch({ type: "close-timeout" }));
    this.#closing = { result, isFlushing, timer };
    this.#dispatch({ type: "close", mode: isFlushing ? "flush" : "discard", canCut: this.#canCut() });
    return result.promise;
  }

  /**
   * Ends now and aborts the signal of a commit in flight. Returns what is not known to be committed, oldest first, once;
   * a committer that ignores its signal may still be at work on the first.
   */
  destroy(reason?: unknown): B[] {
    const left: B[] = [];
    if (this.#head !== undefined) left.push(this.#head);
    if (this.#isOpen || this.#cutGroups < this.#sealedGroups) left.push(this.#buffer);
    this.#isOver = true;
    this.#controller.abort(reason ?? this.#closedError());
    this.#dispatch({ type: "destroy" });
    this.#head = undefined;
    this.#isOpen = false;
    this.#cutGroups = this.#sealedGroups;
    return left;
  }

  /** What happens from now on. Ends with `closed`; leaving the loop lets go. */
  events(): AsyncIterable<HandoffEvent> {
    return this.#hub.subscribe();
  }

  /** `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Whether a batch may be cut here and now: with its last group complete (H7), or where a part can be staged. */
  #canCut(): boolean {
    if (this.#spare === undefined) return false;
    if (this.#cutGroups < this.#sealedGroups) return this.#canStage || !this.#isOpen;
    return this.#isOpen && this.#buffer.bytes >= this.#maxGroupBytes;
  }

  #arm(): void {
    this.#isArmed = true;
    const { clock, flushIntervalMs } = this.#options;
    if (this.#phase.type === "idle" && this.#phase.isDue) {
      // The batch was due inside the group that has just ended; at its next look the producer may be in another.
      this.#isPushing = true;
      this.#dispatch({ type: "due", canCut: this.#canCut() });
      this.#isPushing = false;
    } else if (flushIntervalMs === 0) {
      this.#trigger = clock.setImmediate(this.#onDue);
    } else {
      this.#trigger = clock.setTimer(flushIntervalMs, this.#onDue);
    }
  }

  #hurry(): void {
    this.#isArmed = true;
    this.#isUrgent = true;
    this.#trigger?.cancel();
    this.#trigger = this.#options.clock.setImmediate(this.#onDue);
  }

  readonly #onDue = (): void => {
    this.#trigger = undefined;
    this.#dispatch({ type: "due", canCut: this.#canCut() });
  };

  /** The slow path of a push at `maxBytes`. */
  #full(): boolean {
    if (!this.#isUrgent) this.#hurry();
    return this.isReady;
  }

  /** One event at a time: what a hook causes happens after what caused the hook. */
  #dispatch(event: HandoffPhaseEvent): void {
    this.#pending.push(event);
    if (this.#isDispatching) return;
    this.#isDispatching = true;
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      const [phase, ...effects] = nextHandoffPhase(this.#phase, next);
      this.#phase = phase;
      for (const effect of effects) this.#run(effect);
    }
    this.#isDispatching = false;
    // Due, and not to be cut before the end of the group or `maxGroupBytes`: either must look again.
    if (this.#phase.type === "idle" && this.#phase.isDue) {
      this.#isArmed = false;
      this.#isUrgent = false;
    }
  }

  #run(effect: HandoffEffect): void {
    switch (effect.type) {
      case "exchange":
        return this.#exchange();
      case "commit":
        if (this.#isPushing) this.#options.clock.setImmediate(() => this.#commit(effect.attempt));
        else this.#commit(effect.attempt);
        return;
      case "release":
        return this.#release();
      case "wait":
        return this.#wait(effect.attempt, effect.error);
      case "cancel-wait":
        return this.#retryTimer?.cancel();
      case "quarantine":
        this.#emit({ type: "quarantined", error: effect.error, attempt: effect.attempt });
        return this.#flushers.reject(quarantined(effect.error));
      case "resume":
        return this.#resume();
      case "abort":
        return this.#controller.abort(this.#closedError());
      case "finish":
        return this.#finish(effect);
    }
  }

  #exchange(): void {
    this.#trigger?.cancel();
    this.#trigger = undefined;
    this.#isArmed = false;
    this.#isUrgent = false;
    this.#notePeak();
    this.#head = this.#buffer;
    this.#headBytes = this.#buffer.bytes;
    this.#headGroups = this.#sealedGroups - this.#cutGroups;
    this.#isHeadOpen = this.#isOpen;
    this.#headSinceMs = this.#options.clock.monotonic();
    this.#cutGroups = this.#sealedGroups;
    // `canCut` saw to it that there is one.
    this.#buffer = this.#spare as B;
    this.#spare = undefined;
  }

  #commit(attempt: number): void {
    if (this.#phase.type !== "committing") return;
    const batch = { groups: this.#headGroups, isOpen: this.#isHeadOpen, attempt };
    let committing: Promise<B | void>;
    try {
      committing = Promise.resolve(this.#hooks.commit(this.#head as B, this.#controller.signal, batch));
    } catch (error) {
      this.#onFailed(error);
      return;
    }
    committing.then(
      (returned) => this.#onCommitted(returned),
      (error: unknown) => this.#onFailed(error),
    );
  }

  #onCommitted(returned: B | void): void {
    if (this.#phase.type !== "committing") return;
    this.#notePeak();
    this.#recycle(returned ?? (this.#head as B));
    this.#dispatch({ type: "committed", canCut: this.#canCut() });
  }

  /** A buffer that cannot be emptied is not used again. */
  #recycle(buffer: B): void {
    try {
      buffer.clear();
      this.#spare = buffer;
    } catch {
      this.#makeSpare();
    }
  }

  #makeSpare(): void {
    try {
      this.#spare = this.#hooks.createBuffer();
    } catch (error) {
      this.#bufferError = error;
    }
  }

  #release(): void {
    const groups = this.#headGroups;
    const bytes = this.#headBytes;
    this.#head = undefined;
    this.#headBytes = 0;
    this.#committedGroups += groups;
    this.#commits++;
    this.#lastError = undefined;
    if (this.#hub.hasReaders || channels.batchCommitted.hasSubscribers) {
      const durationMs = this.#options.clock.monotonic() - this.#headSinceMs;
      this.#emit({ type: "committed", groups, bytes, durationMs });
      channels.batchCommitted.publish({ groups, bytes, durationMs });
    }
    if (this.#flushers.size > 0) this.#flushers.resolve(undefined, (target) => target <= this.#committedGroups);
    if (this.#producers.size > 0 && this.isReady) this.#producers.resolve();
    if (this.#spare === undefined) this.#dispatch({ type: "broken", error: this.#bufferError });
  }

  #onFailed(error: unknown): void {
    if (this.#phase.type !== "committing") return;
    this.#failures++;
    this.#lastError = error;
    if (channels.batchFailed.hasSubscribers) channels.batchFailed.publish({ attempt: this.#phase.attempt, error });
    let reason = error;
    let isGivenUp = this.#phase.attempt >= this.#options.retry.maxAttempts;
    try {
      this.#head = this.#hooks.recover?.(error) ?? this.#head;
      if (this.#hooks.classify?.(error) === "quarantine") isGivenUp = true;
    } catch (cause) {
      // Whoever cannot tell must not lose anything by it: everything is kept until somebody looked.
      isGivenUp = true;
      reason = new StreamError("HOOK_FAILED", "recover or classify of a hand-off failed", { cause });
      this.#lastError = reason;
    }
    this.#dispatch({ type: "failed", error: reason, isGivenUp });
  }

  #wait(attempt: number, error: unknown): void {
    const { clock, retry, rng } = this.#options;
    const delayMs = backoffDelayMs(retry, "fast", attempt, rng);
    this.#retryTimer = clock.setTimer(delayMs, () => this.#dispatch({ type: "retry-due" }));
    this.#emit({ type: "commit-failed", error, attempt, delayMs });
  }

  #resume(): void {
    this.#emit({ type: "resumed" });
    if (this.#head !== undefined) return;
    if (this.#spare === undefined) this.#makeSpare();
    if (this.#spare === undefined) this.#dispatch({ type: "broken", error: this.#bufferError });
    else this.#dispatch({ type: "due", canCut: this.#canCut() });
  }

  #finish({ why, error }: Finish): void {
    this.#isOver = true;
    this.#trigger?.cancel();
    const pendingGroups = this.#sealedGroups - this.#committedGroups;
    this.#emit({ type: "closed", pendingGroups });
    this.#hub.close();
    const closed = this.#closedError();
    this.#producers.reject(closed);
    this.#flushers.reject(closed);
    if (this.#closing === undefined) return;
    const { result, isFlushing, timer } = this.#closing;
    timer.cancel();
    if (why === "quarantined") result.reject(quarantined(error));
    else if (why === "timeout") result.reject(leftError("CLOSE_TIMEOUT", "closeTimeoutMs ran out", pendingGroups));
    else if (why === "destroyed")
      result.reject(leftError("CLOSED", "destroy() came before it was done", pendingGroups));
    else if (!isFlushing || pendingGroups === 0) result.resolve();
    else if (this.#spare === undefined) result.reject(quarantined(this.#bufferError));
    else result.reject(leftError("OPEN_GROUP", "the last group was not sealed, and cannot be staged", pendingGroups));
  }

  #notePeak(): void {
    const bytes = this.#buffer.bytes + this.#headBytes;
    if (bytes > this.#peakBytes) this.#peakBytes = bytes;
  }

  #emit(event: HubEvent): void {
    if (this.#hub.hasReaders) this.#hub.emit(event);
  }

  #closedError(): StreamError {
    return new StreamError("CLOSED", "The hand-off is closed and takes nothing more");
  }
}

function quarantined(cause: unknown): StreamError {
  const what = cause instanceof Error ? cause.message : String(cause);
  const message = `A batch could not be committed and is kept until retry() or destroy(): ${what}`;
  return new StreamError("QUARANTINED", message, { cause });
}

function leftError(code: "CLOSED" | "CLOSE_TIMEOUT" | "OPEN_GROUP", why: string, groups: number): StreamError {
  return new StreamError(code, `The hand-off was closed before all was committed: ${why}; ${groups} groups are left`);
}
