import type { Clock } from "@tidemark/clock";
import {
  addStreamMetrics,
  type CheckOutcome,
  type Metrics,
  type StreamMetrics,
  type StreamSample,
} from "@tidemark/status";
import {
  type History,
  openWatcher,
  type Source,
  StoreWatchError,
  type Watcher,
  type WatcherEvent,
  type WatcherStatus,
} from "@tidemark/store-watch";
import { DaemonError } from "../daemon-error.ts";
import { redact } from "../redact.ts";
import type { Logger } from "./log.ts";
import { problemOf } from "./status-report.ts";

export interface FollowersOptions {
  readonly history: History;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly read: () => Promise<readonly StreamSample[]>;
}

/** The watchers of a daemon: opened, waited for, logged, measured and closed together. */
export class Followers {
  readonly #options: FollowersOptions;
  readonly #metrics: StreamMetrics;
  readonly #watchers: Watcher[] = [];
  readonly #sources = new WeakMap<Watcher, Source>();

  constructor(options: FollowersOptions) {
    this.#options = options;
    this.#metrics = addStreamMetrics(options.metrics, { read: options.read });
  }

  get watchers(): readonly Watcher[] {
    return this.#watchers;
  }

  async add(name: string, source: Source): Promise<void> {
    const { history, clock } = this.#options;
    const watcher = await openWatcher({ history, source, name, clock });
    this.#watchers.push(watcher);
    this.#sources.set(watcher, source);
    void this.#observe(watcher);
  }

  /**
   * Commits what was received of a stream and follows it no more; its history stays.
   *
   * @throws {StoreWatchError} when not everything could be committed in time; it is read again when it is followed again.
   */
  async remove(name: string, closeTimeoutMs: number): Promise<void> {
    const at = this.#watchers.findIndex((watcher) => watcher.name === name);
    const [watcher] = at === -1 ? [] : this.#watchers.splice(at, 1);
    await watcher?.close({ closeTimeoutMs });
  }

  /** What a watcher of these follows. */
  sourceOf(watcher: Watcher): Source | undefined {
    return this.#sources.get(watcher);
  }

  describe() {
    return this.#watchers.map((watcher) => {
      const status = watcher.status();
      const problem = problemOf(status);
      return {
        name: status.name,
        description: redact(`${status.kind} ${status.description}`),
        problem: problem === undefined ? undefined : redact(problem),
      };
    });
  }

  /** Whether everything is followed, and what is not. */
  readiness(): CheckOutcome {
    const late = this.#watchers.map((watcher) => watcher.status()).filter(({ state }) => state !== "live");
    if (this.#watchers.length === 0) return { state: "failing", detail: "Nothing is followed yet." };
    if (late.length === 0) return { state: "ok" };
    return {
      state: "failing",
      detail: redact(
        late.map((status) => `${status.name} is ${status.state}: ${problemOf(status) ?? status.reason}`).join(" "),
      ),
    };
  }

  /** Settles once the history has everything the named sources had accepted before the call. */
  async sync(names: readonly string[], signal: AbortSignal): Promise<void> {
    const wanted = this.#watchers.filter(({ name }) => names.includes(name));
    await Promise.all(wanted.map((watcher) => watcher.waitFor("now", { signal })));
  }

  /** The same for one stream with a limit, where failing only means that the rest comes later. */
  async settle(name: string, withinMs: number): Promise<void> {
    if (this.#watchers.find((watcher) => watcher.name === name)?.status().state !== "live") return;
    try {
      await this.sync([name], AbortSignal.timeout(withinMs));
    } catch (error) {
      this.#options.log.warn(
        { stream: name, reason: textOf(error) },
        "the replica is behind its store; it catches up at the next start",
      );
    }
  }

  /** @throws {DaemonError} `REFUSED` when the stream does not get live in time. */
  async untilLive(name: string, withinMs: number, signal: AbortSignal): Promise<void> {
    const watcher = this.#watchers.find((each) => each.name === name);
    if (
      watcher === undefined ||
      (await this.#until(watcher, ({ state }) => state === "live", withinMs, signal)) ||
      signal.aborted
    )
      return;
    const { state, reason } = watcher.status();
    throw new DaemonError(
      "REFUSED",
      `The embedded store is not followed after ${withinMs / 1000} s; it is ${state}: ${redact(reason)}`,
    );
  }

  /** Gives every source the time to connect or to say why it cannot. */
  async untilContact(withinMs: number, signal: AbortSignal): Promise<void> {
    await Promise.all(
      this.#watchers.map((watcher) => this.#until(watcher, ({ state }) => state !== "starting", withinMs, signal)),
    );
  }

  /** @throws {DaemonError} `STOPPED_LATE`. */
  async close(closeTimeoutMs: number): Promise<void> {
    const results = await Promise.allSettled(this.#watchers.map((watcher) => watcher.close({ closeTimeoutMs })));
    const late = results.filter((result) => result.status === "rejected");
    if (late.length === 0) return;
    throw new DaemonError(
      "STOPPED_LATE",
      `Not everything that was received could be committed: ${late.map(({ reason }) => textOf(reason)).join(" ")}`,
      {
        cause: late[0]?.reason,
        fix: "Nothing is lost: the next start reads it again from its source.",
      },
    );
  }

  /** Whether the watcher came to what is wanted in time. */
  async #until(
    watcher: Watcher,
    isReached: (status: WatcherStatus) => boolean,
    withinMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const events = watcher.events()[Symbol.asyncIterator]();
    const given = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
    const aborted = new Promise<"aborted">((resolve) =>
      given.addEventListener("abort", () => resolve("aborted"), { once: true }),
    );
    try {
      for (;;) {
        // Asked for before looking, so that nothing happens unseen in between.
        const next = events.next();
        if (isReached(watcher.status())) return true;
        const result = given.aborted ? "aborted" : await Promise.race([next, aborted]);
        if (result === "aborted" || result.done === true) return isReached(watcher.status());
      }
    } finally {
      void events.return?.();
    }
  }

  async #observe(watcher: Watcher): Promise<void> {
    const log = this.#options.log.child({ stream: watcher.name });
    try {
      for await (const event of watcher.events()) this.#note(watcher, event, log);
    } catch (error) {
      log.error({ reason: textOf(error) }, "the events of a stream broke off");
    }
  }

  #note(watcher: Watcher, event: WatcherEvent, log: Logger): void {
    switch (event.type) {
      case "committed": {
        const { commitMs, lagMs, versions, gaps, quarantined } = event;
        // What completed no group is a heartbeat, or a part of a large snapshot that is only staged.
        if (lagMs !== undefined || versions > 0) {
          this.#metrics.observeCommit(watcher.name, { lagMs: lagMs ?? commitMs, commitMs, versions });
        }
        if (gaps > 0) log.warn({ gaps }, "history was lost at the source; see `tidemark gaps`");
        if (quarantined > 0) log.warn({ quarantined }, "changes were set aside; see `tidemark quarantine list`");
        log.trace({ versions, commitMs }, "committed");
        return;
      }
      case "state-changed": {
        const { from, to, reason } = event;
        const level = to === "failed" || to === "quarantined" ? "error" : to === "reconnecting" ? "warn" : "info";
        log[level]({ from, to, reason }, to === "reconnecting" ? "reconnecting; it is tried again until it works" : to);
        return;
      }
      case "dropped":
        log.error(
          { changes: event.changes, reason: event.error },
          "changes left memory uncommitted; they are read again",
        );
        return;
      case "commit-failed":
        log.error(
          { reason: event.error, attempt: event.attempt, delayMs: event.delayMs },
          "a commit failed; it is tried again",
        );
        return;
      case "commit-stalled":
        log.warn({ forMs: event.forMs }, "a commit takes long");
        return;
      case "gap-accepted":
        log.warn({ reason: event.reason, detail: event.detail }, "gap");
        return;
      case "change-refused":
        log.warn({ reason: event.error }, "a change was refused");
        return;
      case "source-silent":
        log.warn({ silentMs: event.silentMs }, "the source is silent");
        return;
      case "held-back":
        log.info(
          { isHeldBack: event.isHeldBack },
          event.isHeldBack ? "the source is held back: the buffer is full" : "the source runs freely again",
        );
        return;
      case "skipped":
        log.debug({ count: event.count }, "events were skipped");
        return;
      default:
        event satisfies never;
    }
  }
}

function textOf(error: unknown): string {
  if (StoreWatchError.is(error)) return redact(error.message.replace(/^\[[A-Z_]+\] /, ""));
  return redact(error instanceof Error ? error.message : String(error));
}
