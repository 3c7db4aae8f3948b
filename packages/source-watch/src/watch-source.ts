import type { FrameSink, ResumePoint, Source, SourceCapabilities } from "@tidemark/store-watch/contract";
import { WatchRun } from "./watch-run.ts";
import { type ResolvedWatchSource, resolveWatchSource, type WatchSourceOptions } from "./watch-source-options.ts";

/** All there are: the Watch API was made for the contract. */
const capabilities: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

/**
 * Watches a Tidemark store, this process's own or another site's: every transaction once, whole and in commit order,
 * across restarts of either side and broken connections. What the store itself no longer has is told as a gap and
 * followed by a snapshot.
 *
 * @throws SourceWatchError `OPTIONS_INVALID`
 */
export function watchSource(options: WatchSourceOptions): Source & Required<Pick<Source, "barrier">> {
  return new WatchSource(resolveWatchSource(options));
}

class WatchSource implements Source {
  readonly kind = "tidemark";
  readonly description: string;
  readonly scope: string;
  readonly capabilities = capabilities;
  readonly #options: ResolvedWatchSource;
  #run: WatchRun | undefined;
  /** Barriers that wait for a run. */
  #started: PromiseWithResolvers<void> | undefined;

  constructor(options: ResolvedWatchSource) {
    this.#options = options;
    this.description = options.description;
    this.scope = options.scope;
  }

  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    const run = new WatchRun(this.#options, from, sink);
    this.#run = run;
    this.#started?.resolve();
    this.#started = undefined;
    try {
      await run.follow(signal);
    } finally {
      if (this.#run === run) this.#run = undefined;
    }
  }

  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    for (;;) {
      signal.throwIfAborted();
      const run = this.#run;
      if (run === undefined) {
        this.#started ??= Promise.withResolvers();
        await orAborted(this.#started.promise, signal);
        continue;
      }
      try {
        return await run.barrier(signal);
      } catch (error) {
        if (!run.isOver) throw error;
        // Another will follow.
        if (this.#run === run) this.#run = undefined;
      }
    }
  }
}

function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    void promise.then(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
  });
}
