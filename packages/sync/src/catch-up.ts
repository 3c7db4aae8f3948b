import type { GraphApplied, GraphRestored, HistoryGraph } from "@tidemark/store-watch";
import type { Clock } from "@tidemark/clock";
import type { Level } from "./level.ts";
import type { Peer } from "./peer.ts";
import type { SiteEvent } from "./site-status.ts";
import { codeOf, SyncError } from "./sync-error.ts";

export interface CatchUpParts {
  readonly graph: HistoryGraph;
  readonly peers: readonly Peer[];
  readonly catchUpAfterMs: number;
  readonly clock: Clock;
  /** Something was applied. */
  readonly applied: Level;
  readonly apply: (messages: readonly Uint8Array[]) => Promise<Pick<GraphApplied, "applied">>;
  readonly restore: (part: Uint8Array) => Promise<GraphRestored>;
  readonly emit: (event: SiteEvent) => void;
}

/**
 * Gets from the peers what the channel may not have any more: at the start, after a loss, and when something waits for
 * long. A peer that cannot be reached is asked again until it was, because it may be the only one that has it.
 */
export class CatchUp {
  readonly #parts: CatchUpParts;
  /** Peers that may have what this site has not. */
  readonly #behind = new Set<Peer>();

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
  }

  get behind(): string[] {
    return [...this.#behind].map(({ name }) => name);
  }

  /** The channel has lost something. @throws {SyncError} `TOO_OLD` without a peer */
  noticeLoss(): void {
    const { applied, emit } = this.#parts;
    if (this.#parts.peers.length === 0) {
      throw new SyncError(
        "TOO_OLD",
        "the channel no longer has messages that this site has not seen; name another site as a peer, to have them from there",
      );
    }
    this.#askAll();
    emit({ type: "too-old" });
    applied.raise();
  }

  async run(signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { graph, clock, catchUpAfterMs, applied } = this.#parts;
    this.#askAll();
    for (let before = new Map<string, number>(); ; ) {
      const seen = applied.count;
      for (const peer of this.#behind) {
        if (await this.#ask(peer, signal)) this.#behind.delete(peer);
      }
      onProgress();
      const { waiting } = await graph.status();
      const now = new Map(waiting.map(({ origin, next }) => [origin, next]));
      if ([...now].some(([origin, next]) => before.get(origin) === next)) this.#askAll();
      before = now;
      if (this.#behind.size === 0 && now.size === 0) await applied.after(seen, signal);
      else await clock.sleep(catchUpAfterMs, { signal });
    }
  }

  #askAll(): void {
    for (const peer of this.#parts.peers) this.#behind.add(peer);
  }

  /** Whether the peer gave all it had. */
  async #ask(peer: Peer, signal: AbortSignal): Promise<boolean> {
    const { graph, apply, emit } = this.#parts;
    const total = { batches: 0, bootstraps: 0 };
    for (;;) {
      const { vector } = await graph.status();
      const messages = await this.#attempt(peer, signal, () => peer.missing(vector, signal));
      if (messages === undefined) return false;
      if (messages === "too-late") {
        // Twice: it prunes faster than it is read. It is asked again later.
        if (total.bootstraps++ > 0 || !(await this.#bootstrap(peer, signal))) return false;
        continue;
      }
      const { applied } = messages.length === 0 ? { applied: 0 } : await apply(messages);
      total.batches += applied;
      // Nothing more, or something was faster.
      if (applied > 0) continue;
      if (total.batches > 0) emit({ type: "caught-up", peer: peer.name, batches: total.batches });
      return true;
    }
  }

  /** Whether the peer's snapshot was taken over. */
  async #bootstrap(peer: Peer, signal: AbortSignal): Promise<boolean> {
    const { restore, emit } = this.#parts;
    for (let after: string | undefined; ; ) {
      const from = after;
      const part = await this.#attempt(peer, signal, async () => peer.snapshot?.(from, signal));
      if (part === undefined || part === "too-late") return false;
      const restored = await restore(part.data).catch((error: unknown) => {
        if (codeOf(error) !== "NOT_REACHED") throw error;
        emit({ type: "peer-failed", peer: peer.name, error });
        return undefined;
      });
      if (restored === undefined) return false;
      const { isComplete, versions } = restored;
      if (isComplete) emit({ type: "bootstrapped", peer: peer.name, versions });
      if (isComplete || part.next === undefined) return isComplete;
      after = part.next;
    }
  }

  /** What it answers; undefined where it does not. */
  async #attempt<T>(peer: Peer, signal: AbortSignal, call: () => Promise<T>): Promise<T | "too-late" | undefined> {
    const { emit } = this.#parts;
    try {
      return await call();
    } catch (error) {
      if (signal.aborted) throw error;
      const isTooLate = codeOf(error) === "TOO_OLD" && peer.snapshot !== undefined;
      emit({ type: isTooLate ? "too-late" : "peer-failed", peer: peer.name, error });
      return isTooLate ? "too-late" : undefined;
    }
  }
}
