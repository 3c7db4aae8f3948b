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
import { CatalogError } from "./catalog-error.ts";
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
  /** The cycle: its phases, items and errors. */
  readonly cycle: CycleStatus;
  /** Entries of the lists as they came last that cannot be used; the first 100 of each list. */
  readonly problems: readonly ListingProblem[];
}

export interface CatalogSource extends Required<Source>, AsyncDisposable {
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
  close(): Promise<void>;
}

const shownProblems = 100;

/**
 * Opens the state file and begins to look at the catalogues, at once and then every `everyMs`. It goes on whether or not
 * anybody follows it.
 *
 * @throws {CatalogError} `OPTIONS_INVALID`, `STATE_UNUSABLE`.
 */
export async function openCatalogSource(options: CatalogSourceOptions): Promise<CatalogSource> {
  const resolved = resolveCatalogs(options);
  const { clock = systemClock, rng = systemRng } = options;
  const state = new CatalogState(resolved.stateFile, rng.uuid(), clock.now());
  try {
    const source = new Catalogs(resolved, state, clock, rng);
    await source.open();
    return source;
  } catch (error) {
    state.close();
    throw error;
  }
}

class Catalogs implements CatalogSource {
  readonly kind = "catalog";
  readonly description: string;
  // What is followed is the state file. Changes of the configuration are changes in it.
  readonly scope = "*";
  readonly capabilities = capabilities;
  readonly #options: ResolvedCatalogs;
  readonly #feeds: readonly Feed[];
  readonly #state: CatalogState;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #sinks = new Set<FrameSink>();
  readonly #problems = new Map<string, readonly ListingProblem[]>();
  #cycle: Cycle | undefined;

  constructor(options: ResolvedCatalogs, state: CatalogState, clock: Clock, rng: Rng) {
    this.#options = options;
    this.#feeds = feedsOf(options);
    this.#state = state;
    this.#clock = clock;
    this.#rng = rng;
    this.description = options.catalogs.map(({ url }) => placeOf(url)).join(", ");
    for (const { name } of this.#feeds) state.touch(name);
  }

  async open(): Promise<void> {
    const phases = phasesOf({
      feeds: this.#feeds,
      options: this.#options,
      state: this.#state,
      clock: this.#clock,
      alive: () => {
        for (const sink of this.#sinks) sink.alive();
      },
      onListing: ({ name }, { problems }) => {
        const shown = problems.slice(0, shownProblems).map(({ error }) => ({ feed: name, error }));
        this.#problems.set(name, shown);
      },
    });
    this.#cycle = await openCycle(
      {
        name: "catalogs",
        everyMs: this.#options.everyMs,
        phases,
        finalizers: [{ name: "digest", run: async (tenant) => this.#digest(tenant) }],
      },
      { state: this.#state.store, clock: this.#clock, rng: this.#rng },
    );
  }

  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const cycle = this.#open();
    const emitter = new Emitter(this.#state, sink, signal);
    this.#sinks.add(sink);
    try {
      sink.status({ state: "connecting", attempt: 1 });
      // An empty state says nothing: the first snapshot is what the first cycle found.
      if (cycle.status().last === undefined && this.#isEmpty()) await cycle.next({ signal, includeCurrent: true });
      await emitter.begin(from);
      for (;;) {
        const { last } = cycle.status();
        await emitter.catchUp();
        await this.#report(sink, cycle);
        // A cycle may have ended while the follower took its time.
        if (cycle.status().last === last) await cycle.next({ signal, includeCurrent: true });
      }
    } finally {
      this.#sinks.delete(sink);
    }
  }

  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    await this.refresh({ signal });
    return { epoch: this.#state.epoch, cursor: sortableInteger(this.#state.seq) };
  }

  status(): CatalogStatus {
    return { cycle: this.#open().status(), problems: [...this.#problems.values()].flat() };
  }

  async refresh({ signal }: { readonly signal?: AbortSignal } = {}): Promise<CycleReport> {
    const cycle = this.#open();
    const next = cycle.next(signal === undefined ? {} : { signal });
    cycle.trigger();
    return await next;
  }

  failures(): Promise<FailedItem[]> {
    return this.#open().failures();
  }

  retry(phase: string, key: string): Promise<boolean> {
    return this.#open().retry(phase, key);
  }

  setAside(): Promise<SetAsideChange[]> {
    return this.#open().setAside();
  }

  async close(): Promise<void> {
    const cycle = this.#cycle;
    this.#cycle = undefined;
    if (cycle === undefined) return;
    await cycle.close();
    this.#state.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): Cycle {
    if (this.#cycle === undefined) throw new CatalogError("CLOSED", "The catalogue source was closed");
    return this.#cycle;
  }

  #isEmpty(): boolean {
    return this.#state.publishedAfter(0n, 1).length === 0;
  }

  /** One digest for each tenant, over everything that it is shown: two sites that agree on it agree on all. */
  #digest(tenant: string): void {
    if (!this.#options.tenants.includes(tenant)) return;
    const hash = createHash("sha256");
    let entries = 0;
    for (const each of this.#state.digests(tenant)) {
      hash.update(each);
      entries++;
    }
    this.#state.publishOwn(tenant, "@digest", JSON.stringify({ digest: hash.digest("base64url"), entries }));
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
