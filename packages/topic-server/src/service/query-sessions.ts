import type { Clock, Rng } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { Refusal } from "./refusal.ts";

/** How long a session that nobody is attached to outlives its last call, as in YDB (`SessionIdleDurationSeconds`). */
const idleMs = 600_000;
/** How many such sessions there can be: clients attach to theirs at once. */
const maxUnattached = 1_000;

/** Sessions of the query service: each lives as long as somebody is attached to it, or as it is used. */
export class QuerySessions {
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #onEnded: (transactions: Iterable<string>) => void;
  /** The transactions of each. */
  readonly #open = new Map<string, Set<string>>();
  /** When those that nobody is attached to were last used, by `monotonic()`; the longest ago first. */
  readonly #unattached = new Map<string, number>();

  /** `onEnded` is told the transactions that end with their session. */
  constructor(clock: Clock, rng: Rng, onEnded: (transactions: Iterable<string>) => void) {
    this.#clock = clock;
    this.#rng = rng;
    this.#onEnded = onEnded;
  }

  /** @throws {Refusal} `OVERLOADED` */
  open(): string {
    this.endIdle();
    if (this.#unattached.size >= maxUnattached) {
      const text = `There are ${maxUnattached} sessions that nobody is attached to: attach to them, delete them or wait`;
      throw new Refusal(StatusCode.OVERLOADED, text);
    }
    const id = `ydb://session/3?node_id=1&id=${this.#rng.uuid()}`;
    this.#open.set(id, new Set());
    this.#unattached.set(id, this.#clock.monotonic());
    return id;
  }

  /** Ends of itself no more: whoever is attached closes it. @returns whether there is such a session. */
  attach(id: string): boolean {
    this.#unattached.delete(id);
    return this.#open.has(id);
  }

  /** The transactions of a session that is used; undefined: it is unknown or over. */
  use(id: string): Set<string> | undefined {
    if (this.#unattached.delete(id)) this.#unattached.set(id, this.#clock.monotonic());
    return this.#open.get(id);
  }

  close(id: string): void {
    const transactions = this.#open.get(id);
    this.#open.delete(id);
    this.#unattached.delete(id);
    if (transactions !== undefined) this.#onEnded(transactions);
  }

  /** Closes those that nobody is attached to and nobody used for long. */
  endIdle(): void {
    const now = this.#clock.monotonic();
    for (const [id, usedAtMs] of this.#unattached) {
      if (now - usedAtMs < idleMs) return;
      this.close(id);
    }
  }
}
