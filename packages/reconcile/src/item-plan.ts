export interface Candidate<I> {
  readonly item: I;
  readonly key: string;
  readonly tenant: string;
  /** When it became work, in milliseconds since the Unix epoch; older first. */
  readonly sinceMs: number;
  readonly failures: number;
}

export interface PlanLimits {
  readonly limit: number;
  readonly limitPerTenant: number;
  readonly concurrencyPerTenant: number;
}

interface Queue<I> {
  readonly candidates: readonly Candidate<I>[];
  next: number;
  active: number;
}

/**
 * In which order a cycle's items run (R6): tenants take turns, and within one what failed least and waits longest comes
 * first, so that neither a big tenant nor an item that always fails can starve the others.
 */
export class ItemPlan<I> {
  /** How many are to run. What is beyond the limits waits for the next cycle. */
  readonly size: number;
  readonly #queues: Queue<I>[] = [];
  readonly #byTenant = new Map<string, Queue<I>>();
  readonly #concurrencyPerTenant: number;
  #left: number;
  #turn = 0;

  constructor(candidates: readonly Candidate<I>[], limits: PlanLimits) {
    const sorted = candidates.toSorted(
      (a, b) => a.failures - b.failures || a.sinceMs - b.sinceMs || (a.key < b.key ? -1 : 1),
    );
    let planned = 0;
    for (const [tenant, all] of Map.groupBy(sorted, (each) => each.tenant)) {
      const queue = { candidates: all.slice(0, limits.limitPerTenant), next: 0, active: 0 };
      planned += queue.candidates.length;
      this.#queues.push(queue);
      this.#byTenant.set(tenant, queue);
    }
    this.size = Math.min(planned, limits.limit);
    this.#left = this.size;
    this.#concurrencyPerTenant = limits.concurrencyPerTenant;
  }

  /** The next one to start, or undefined: there is none left, or every tenant that has one is at its limit. */
  take(): Candidate<I> | undefined {
    if (this.#left === 0) return undefined;
    for (let step = 0; step < this.#queues.length; step++) {
      const at = (this.#turn + step) % this.#queues.length;
      const queue = this.#queues[at];
      const candidate = queue?.candidates[queue.next];
      if (queue === undefined || candidate === undefined || queue.active >= this.#concurrencyPerTenant) continue;
      queue.next++;
      queue.active++;
      this.#left--;
      this.#turn = at + 1;
      return candidate;
    }
    return undefined;
  }

  /** One of this tenant's items has ended. */
  release(tenant: string): void {
    const queue = this.#byTenant.get(tenant);
    if (queue !== undefined) queue.active--;
  }
}
