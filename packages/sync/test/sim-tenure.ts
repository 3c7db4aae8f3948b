import type { GraphTenure, HistoryGraph, StoreWatchError } from "@tidemark/store-watch";
import { guardedGraph } from "@tidemark/store-watch/testing";
import { Level } from "../src/level.ts";

/** A graph in a database that several processes reach: its writing is taken over, and comes back. */
export class SimTenure implements GraphTenure {
  readonly #open: () => HistoryGraph;
  readonly #error: (message: string) => Error;
  readonly #taken = new Level();
  #opened: HistoryGraph;
  #isTaken = false;
  isLost = false;

  /** `error` makes one that says that it may pass. */
  constructor(open: () => HistoryGraph, error: (message: string) => Error) {
    this.#open = open;
    this.#error = error;
    this.#opened = open();
  }

  /** For one site. What it changes is refused from the moment on at which the writing was taken over. */
  graph(): HistoryGraph {
    const { name, origin } = this.#opened;
    // Every call goes to the opening of its time.
    const newest = new Proxy(this.#opened, {
      get: (_, property) => this.#opened[property as keyof HistoryGraph],
    });
    const guarded = guardedGraph(newest, {
      change: async (call) => {
        if (this.isLost) throw this.#error("another process has taken over the writing");
        return call();
      },
      read: (call) => call(),
    });
    return { ...guarded, name, origin, tenure: this };
  }

  /** Another process has the writing, with an opening of its own. */
  take(): HistoryGraph {
    this.#isTaken = true;
    this.isLost = true;
    this.#taken.raise();
    return this.#open();
  }

  /** It has ended. */
  giveBack(): void {
    this.#isTaken = false;
  }

  async lost(signal: AbortSignal): Promise<StoreWatchError> {
    while (!this.isLost) await this.#taken.after(this.#taken.count, signal);
    return this.#error("another process has taken over the writing") as StoreWatchError;
  }

  async resume(): Promise<void> {
    if (this.#isTaken) throw this.#error("another process has the writing still");
    this.#opened = this.#open();
    this.isLost = false;
  }
}
