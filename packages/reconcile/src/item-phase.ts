import { backoffDelayMs, resolveBackoff } from "@tidemark/stream";
import type { AttemptRow } from "./books.ts";
import { type Candidate, ItemPlan } from "./item-plan.ts";
import { requireAtLeast } from "./options.ts";
import { type ItemCounts, limited, type Phase, type PhaseContext, type PhaseHost, type PhaseOptions } from "./phase.ts";
import { errorText } from "./reconcile-error.ts";

export interface ItemRetryOptions {
  /**
   * Bound of the wait after an item's first failure, in milliseconds. Doubles with each failure, with full jitter.
   * @default 1_000
   */
  readonly initialDelayMs?: number;
  /**
   * Highest bound, in milliseconds.
   * @default 300_000
   */
  readonly maxDelayMs?: number;
  /**
   * After how many failures in a row an item is set aside until somebody calls `retry` or its version changes.
   * @default Infinity
   */
  readonly quarantineAfter?: number;
}

export const itemDefaults = {
  concurrency: 5,
  timeoutMs: 30_000,
  initialDelayMs: 1_000,
  maxDelayMs: 300_000,
  quarantineAfter: Number.POSITIVE_INFINITY,
} as const;

export interface ItemPhaseOptions<I> extends PhaseOptions {
  /**
   * Derives what is to be done by comparing what is wanted with what is there: all of it, in every cycle. Order, limits and
   * waiting after failures are the engine's business. What is no longer returned is forgotten, failures too.
   */
  readonly select: (context: PhaseContext) => Promise<readonly I[]>;
  /** Names an item, uniquely among the selected. */
  readonly key: (item: I) => string;
  /** What the item is made of. An item of another version than the one that failed starts anew. @default one version */
  readonly version?: (item: I) => string;
  /** Whose it is: tenants take turns. @default one tenant */
  readonly tenant?: (item: I) => string;
  /** Since when it is to be done, in milliseconds since the Unix epoch: older first. @default by key */
  readonly sinceMs?: (item: I) => number;
  /** The key that the finalizers have to look at when this item runs; marked before it starts. @default none */
  readonly affects?: (item: I) => string;
  /** Asked right before an item runs and after it failed: whether its owner still wants it (R8). @default true */
  readonly isWanted?: (item: I) => boolean | Promise<boolean>;
  readonly run: (item: I, context: PhaseContext) => Promise<void>;
  /**
   * How many items run at a time.
   * @default 5
   */
  readonly concurrency?: number;
  /**
   * How many items of one tenant run at a time.
   * @default `concurrency`
   */
  readonly concurrencyPerTenant?: number;
  /**
   * How many items run in one cycle.
   * @default Infinity
   */
  readonly limit?: number;
  /**
   * How many items of one tenant run in one cycle.
   * @default Infinity
   */
  readonly limitPerTenant?: number;
  /**
   * How long one item may take, in milliseconds.
   * @default 30_000
   */
  readonly itemTimeoutMs?: number;
  readonly retry?: ItemRetryOptions;
}

/**
 * A phase that works through items: bounded, fair among tenants, what failed least first, and each failure waits longer
 * (R6). An item is pending, running, done or failed, and never two of these (R7): pending is what `select` returns and the
 * books have no failure of, failed is what they have one of, running is what this process has begun.
 */
export function itemPhase<I>(options: ItemPhaseOptions<I>): Phase<unknown> {
  const settings = resolveItems(options);
  return {
    name: options.name,
    gate: options.gate,
    requires: options.requires ?? [],
    execute: async (host) => {
      const selected = await limited(host, "", settings.timeoutMs, (signal) =>
        options.select({ ...host.context, signal }),
      );
      return new ItemRun(host, options, settings, selected).run();
    },
  };
}

type Settings = ReturnType<typeof resolveItems>;

function resolveItems<I>(options: ItemPhaseOptions<I>) {
  const concurrency = options.concurrency ?? itemDefaults.concurrency;
  const infinity = Number.POSITIVE_INFINITY;
  const settings = {
    concurrency,
    concurrencyPerTenant: options.concurrencyPerTenant ?? concurrency,
    limit: options.limit ?? infinity,
    limitPerTenant: options.limitPerTenant ?? infinity,
    itemTimeoutMs: options.itemTimeoutMs ?? itemDefaults.timeoutMs,
    timeoutMs: options.timeoutMs ?? infinity,
    quarantineAfter: options.retry?.quarantineAfter ?? itemDefaults.quarantineAfter,
  };
  for (const [name, value] of Object.entries(settings)) requireAtLeast(`${options.name}: ${name}`, value, 1);
  const backoff = resolveBackoff({
    initialDelayMs: options.retry?.initialDelayMs ?? itemDefaults.initialDelayMs,
    maxDelayMs: options.retry?.maxDelayMs ?? itemDefaults.maxDelayMs,
  });
  return { ...settings, backoff };
}

/** One phase's work in one cycle. */
class ItemRun<I> {
  readonly #host: PhaseHost<unknown>;
  readonly #options: ItemPhaseOptions<I>;
  readonly #settings: Settings;
  readonly #selected: readonly I[];
  readonly #attempts = new Map<string, AttemptRow>();
  readonly #counts = { done: 0, failed: 0, skipped: 0, waiting: 0, quarantined: 0, deferred: 0, overdue: 0 };

  constructor(host: PhaseHost<unknown>, options: ItemPhaseOptions<I>, settings: Settings, selected: readonly I[]) {
    this.#host = host;
    this.#options = options;
    this.#settings = settings;
    this.#selected = selected;
  }

  async run(): Promise<{ outcome: "done" | "partial"; items: ItemCounts; error?: string }> {
    const candidates = await this.#candidates();
    const plan = new ItemPlan(candidates, this.#settings);
    this.#counts.deferred = candidates.length - plan.size;
    this.#show();
    await this.#work(plan);
    this.#host.context.signal.throwIfAborted();
    const { failed, deferred, waiting, quarantined, overdue } = this.#counts;
    const left = failed + deferred + waiting + quarantined + overdue;
    return { outcome: left === 0 ? "done" : "partial", items: this.#items() };
  }

  /** What is due now. Forgets the failures of what is no longer selected. */
  async #candidates(): Promise<Candidate<I>[]> {
    const { books, clock, overdue } = this.#host;
    const { key, tenant, sinceMs, version, name } = this.#options;
    const known = new Map((await books.attempts(name)).map((row) => [row.item, row]));
    const nowMs = clock.now();
    const candidates: Candidate<I>[] = [];
    for (const item of this.#selected) {
      const itemKey = key(item);
      const row = known.get(itemKey);
      known.delete(itemKey);
      const isSame = row !== undefined && row.version === (version?.(item) ?? "");
      if (row !== undefined) this.#attempts.set(itemKey, row);
      if (overdue.has(itemKey)) this.#counts.overdue++;
      else if (isSame && row.isQuarantined) this.#counts.quarantined++;
      else if (isSame && this.#isWaiting(row, nowMs)) this.#counts.waiting++;
      else {
        const failures = isSame ? row.failures : 0;
        candidates.push({
          item,
          key: itemKey,
          tenant: tenant?.(item) ?? "",
          sinceMs: sinceMs?.(item) ?? 0,
          failures,
        });
      }
    }
    await books.forgetAttempts(name, [...known.keys()]);
    return candidates;
  }

  /** A clock that was set back must not make an item wait for longer than it ever would. */
  #isWaiting(row: AttemptRow, nowMs: number): boolean {
    const leftMs = row.nextMs - nowMs;
    return leftMs > 0 && leftMs <= this.#settings.backoff.maxDelayMs;
  }

  /** Keeps as many running as may be, and resolves when none is left. No item waits for a batch. */
  #work(plan: ItemPlan<I>): Promise<void> {
    const { signal } = this.#host.context;
    return new Promise((resolve, reject) => {
      let active = 0;
      let failure: unknown;
      const pump = () => {
        while (active < this.#settings.concurrency && failure === undefined && !signal.aborted) {
          const candidate = plan.take();
          if (candidate === undefined) break;
          active++;
          this.#runOne(candidate)
            // Only the state database or a callback of the definition throws here: the phase cannot go on.
            .catch((error: unknown) => {
              failure ??= error;
            })
            .finally(() => {
              active--;
              plan.release(candidate.tenant);
              this.#show();
              pump();
            });
        }
        if (active === 0) {
          if (failure === undefined) resolve();
          else reject(failure);
        }
      };
      pump();
    });
  }

  async #runOne({ item, key }: Candidate<I>): Promise<void> {
    const { books, context } = this.#host;
    const { affects, isWanted, run, name } = this.#options;
    if (isWanted !== undefined && !(await isWanted(item))) {
      this.#counts.skipped++;
      return;
    }
    if (affects !== undefined) await this.#markAhead(affects(item));
    try {
      await limited(this.#host, key, this.#settings.itemTimeoutMs, (signal) => run(item, { ...context, signal }));
    } catch (error) {
      if (context.signal.aborted) return;
      if (isWanted !== undefined && !(await isWanted(item))) this.#counts.skipped++;
      else await this.#fail(item, key, error);
      return;
    }
    if (this.#attempts.has(key)) await books.forgetAttempts(name, [key]);
    this.#counts.done++;
  }

  readonly #marks = new Map<string, Promise<unknown>>();

  /** Once for each key and cycle: it is finalised after all of the phases. */
  async #markAhead(key: string): Promise<void> {
    let mark = this.#marks.get(key);
    if (mark === undefined) {
      mark = this.#host.books.markDirty([key]);
      this.#marks.set(key, mark);
    }
    await mark;
  }

  async #fail(item: I, key: string, error: unknown): Promise<void> {
    const { books, clock, rng } = this.#host;
    const version = this.#options.version?.(item) ?? "";
    const before = this.#attempts.get(key);
    const failures = (before?.version === version ? before.failures : 0) + 1;
    const nowMs = clock.now();
    const isQuarantined = failures >= this.#settings.quarantineAfter;
    const delayMs = backoffDelayMs(this.#settings.backoff, "fast", failures, rng);
    this.#counts[isQuarantined ? "quarantined" : "failed"]++;
    await books.saveAttempt(this.#options.name, {
      item: key,
      version,
      failures,
      nextMs: nowMs + Math.ceil(delayMs),
      isQuarantined,
      error: errorText(error),
      updatedMs: nowMs,
    });
  }

  #items(): ItemCounts {
    return { selected: this.#selected.length, ...this.#counts };
  }

  #show(): void {
    this.#host.progress(this.#items());
  }
}
