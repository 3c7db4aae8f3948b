import { createHash } from "node:crypto";
import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import {
  type Cycle,
  type CycleReport,
  type CycleStatus,
  type FailedItem,
  openCycle,
  type SetAsideChange,
} from "@tidemark/reconcile";
import {
  type FrameSink,
  type ResumePoint,
  type Source,
  type SourceCapabilities,
  sortableInteger,
} from "@tidemark/store-watch/contract";
import { CatalogState } from "./catalog-state.ts";
import { Emitter } from "./emitter.ts";
import { type Feed, feedsOf } from "./feeds.ts";
import { placeOf } from "./http.ts";
import { type CatalogSourceOptions, type ResolvedCatalogs, resolveCatalogs } from "./options.ts";
import { phasesOf } from "./phases.ts";

/**
 * What is published is kept in the state file, with deletions, so a follower resumes where it was. Between two looks at a
 * catalogue only the last state is seen, and there are no transactions.
 */
const capabilities: SourceCapabilities = {
  resumable: true,
  transactional: false,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: false,
};

/** An entry of a list that cannot be used. */
export interface ListingProblem {
  readonly feed: string;
  readonly error: string;
}

export interface CatalogStatus {
  /** The cycle: its phases, items and errors. Undefined while nobody follows. */
  readonly cycle: CycleStatus | undefined;
  /** Entries of the lists as they came last that cannot be used; the first 100 of each list. */
  readonly problems: readonly ListingProblem[];
}

/** A source of one or more catalogues. What needs the state waits until `run` has opened it. */
export interface CatalogSource extends Required<Source> {
  status(): CatalogStatus;
  /** Looks at everything now. Resolves with the report of the first cycle that begins after this call. */
  refresh(options?: { readonly signal?: AbortSignal }): Promise<CycleReport>;
  /**
   * Lists (phase `fetch`), entries (phase `hydrate`) and statuses (phase `status`) that could not be had when they were asked
   * for last. Entries that are quarantined are in the history's quarantine, too.
   */
  failures(): Promise<FailedItem[]>;
  /** Tries such a one again in the next cycle, whenever it would be due. */
  retry(phase: string, key: string): Promise<boolean>;
  /** Events that could not be used and were gone on without. */
  setAside(): Promise<SetAsideChange[]>;
}

const shownProblems = 100;

/**
 * Follows HTTP catalogues: looks at once and then every `everyMs`, for as long as it runs.
 *
 * @throws {CatalogError} `OPTIONS_INVALID`. `run` throws `STATE_UNUSABLE`.
 */
export function catalogSource(options: CatalogSourceOptions): CatalogSource {
  return new Catalogs(resolveCatalogs(options), options.clock ?? systemClock, options.rng ?? systemRng);
}

interface Running {
  readonly state: CatalogState;
  readonly cycle: Cycle;
}

class Catalogs implements CatalogSource {
  readonly kind = "catalog";
  readonly description: string;
  // What is followed is the state file. Changes of the configuration are changes in it.
  readonly scope = "*";
  readonly capabilities = capabilities;
  readonly #options: ResolvedCatalogs;
  readonly #feeds: readonly Feed[];
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #problems = new Map<string, readonly ListingProblem[]>();
  #running: Running | undefined;
  #opened = Promise.withResolvers<Running>();

  constructor(options: ResolvedCatalogs, clock: Clock, rng: Rng) {
    this.#options = options;
    this.#feeds = feedsOf(options);
    this.#clock = clock;
    this.#rng = rng;
    this.description = options.catalogs.map(({ url }) => placeOf(url)).join(", ");
  }

  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { stateFile } = this.#options;
    const state = new CatalogState(stateFile, this.#rng.uuid(), this.#clock.now());
    try {
      for (const { name } of this.#feeds) state.touch(name);
      await using cycle = await this.#openCycle(state, sink);
      this.#running = { state, cycle };
      this.#opened.resolve(this.#running);
      await this.#follow(this.#running, from, sink, signal);
    } finally {
      this.#opened = Promise.withResolvers();
      this.#running = undefined;
      state.close();
    }
  }

  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    const { state } = await this.#whenRunning(signal);
    await this.refresh({ signal });
    return { epoch: state.epoch, cursor: sortableInteger(state.seq) };
  }

  async snapshot(sink: FrameSink, signal: AbortSignal): Promise<void> {
    const { state } = await this.#whenRunning(signal);
    await new Emitter(state, sink, signal).snapshotAtOnce();
  }

  status(): CatalogStatus {
    return { cycle: this.#running?.cycle.status(), problems: [...this.#problems.values()].flat() };
  }

  async refresh({ signal }: { readonly signal?: AbortSignal } = {}): Promise<CycleReport> {
    const { cycle } = await this.#whenRunning(signal);
    const next = cycle.next(signal === undefined ? {} : { signal });
    cycle.trigger();
    return await next;
  }

  async failures(): Promise<FailedItem[]> {
    return (await this.#whenRunning()).cycle.failures();
  }

  async retry(phase: string, key: string): Promise<boolean> {
    return (await this.#whenRunning()).cycle.retry(phase, key);
  }

  async setAside(): Promise<SetAsideChange[]> {
    return (await this.#whenRunning()).cycle.setAside();
  }

  async #whenRunning(signal?: AbortSignal): Promise<Running> {
    if (this.#running !== undefined) return this.#running;
    signal?.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([this.#opened.promise, promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #openCycle(state: CatalogState, sink: FrameSink): Promise<Cycle> {
    const phases = phasesOf({
      feeds: this.#feeds,
      options: this.#options,
      state,
      clock: this.#clock,
      alive: () => sink.alive(),
      onListing: ({ name }, { problems }) => {
        const shown = problems.slice(0, shownProblems).map(({ error }) => ({ feed: name, error }));
        this.#problems.set(name, shown);
      },
    });
    const digest = { name: "digest", run: async (tenant: string) => this.#digest(state, tenant) };
    return openCycle(
      { name: "catalogs", everyMs: this.#options.everyMs, phases, finalizers: [digest] },
      { state: state.store, clock: this.#clock, rng: this.#rng },
    );
  }

  async #follow({ state, cycle }: Running, from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal) {
    const emitter = new Emitter(state, sink, signal);
    sink.status({ state: "connecting", attempt: 1 });
    // An empty state says nothing: the first snapshot is what the first cycle found.
    if (state.publishedAfter(0n, 1).length === 0 && cycle.status().last === undefined) {
      await cycle.next({ signal, includeCurrent: true });
    }
    await emitter.begin(from, () => this.#rng.uuid());
    for (;;) {
      const { last } = cycle.status();
      await emitter.catchUp();
      await this.#report(sink, cycle);
      // A cycle may have ended while the follower took its time.
      if (cycle.status().last === last) await cycle.next({ signal, includeCurrent: true });
    }
  }

  /** One digest for each tenant, over everything that it is shown: two sites that agree on it agree on all. */
  #digest(state: CatalogState, tenant: string): void {
    if (!this.#options.tenants.includes(tenant)) return;
    const hash = createHash("sha256");
    let entries = 0;
    for (const each of state.digests(tenant)) {
      hash.update(each);
      entries++;
    }
    state.publishOwn(tenant, "@digest", JSON.stringify({ digest: hash.digest("base64url"), entries }));
  }

  /** Live as long as any list can be had; what is wrong with single ones is in `failures()`. */
  async #report(sink: FrameSink, cycle: Cycle): Promise<void> {
    const { last } = cycle.status();
    const { failed = 0, waiting = 0, selected = 0 } = last?.phases.find((each) => each.phase === "fetch")?.items ?? {};
    if (selected === 0 || failed + waiting < selected) {
      sink.status({ state: "live" });
      return;
    }
    const lists = (await cycle.failures()).filter((each) => each.phase === "fetch");
    const attempt = Math.max(1, ...lists.map((each) => each.failures));
    const error = lists[0]?.error ?? "no list can be had";
    sink.status({ state: "waiting", attempt, delayMs: this.#options.everyMs, error });
  }
}
