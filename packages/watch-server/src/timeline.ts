import { parseSortableInteger, sortableInteger } from "@tidemark/store-watch/contract";
import { StoreError } from "./store-error.ts";

/** From this revision on, until the next entry, the store was written by the run of this name. */
export interface TimelineEntry {
  readonly firstRevision: number;
  readonly incarnation: string;
}

/**
 * Which run of the store wrote which revision. Every run has a random name, so a revision and the name of the run that
 * wrote it identify everything up to that revision: two histories that agree on such a pair agree on all before it. A
 * marker is that pair. A store that was wiped, or restored from a backup and written to again, does not have the pairs
 * that its watchers saw in the life before.
 */
export class Timeline {
  readonly #entries: readonly TimelineEntry[];

  /** @param entries Ascending, the first at revision 0. */
  constructor(entries: readonly TimelineEntry[]) {
    this.#entries = entries;
  }

  /** Opaque to everybody else; compares as text in the order of revisions, within one store. */
  marker(revision: number): string {
    return `${sortableInteger(revision)}.${this.#incarnationOf(revision)}`;
  }

  /**
   * The revision that a marker stands for.
   *
   * @throws StoreError `ARGUMENT_INVALID` for what is no marker, `STORE_REPLACED` for one that this store, with `head` as
   * its newest revision, did not make.
   */
  resume(marker: string, head: number, storeId: string): number {
    const dot = marker.indexOf(".");
    let revision: bigint;
    try {
      revision = parseSortableInteger(marker.slice(0, Math.max(0, dot)));
    } catch (cause) {
      const shown = JSON.stringify(marker.slice(0, 80));
      throw new StoreError("ARGUMENT_INVALID", `a resume marker must be one that a watch returned, got ${shown}`, {
        cause,
      });
    }
    if (revision > BigInt(head)) {
      throw new StoreError(
        "STORE_REPLACED",
        `the marker is at revision ${revision} but the store is at ${head}: it was wiped or restored from a backup. Take a new snapshot`,
        { storeId },
      );
    }
    if (this.#incarnationOf(Number(revision)) !== marker.slice(dot + 1)) {
      throw new StoreError(
        "STORE_REPLACED",
        `another store or another life of this one made the marker at revision ${revision}: it was wiped or restored from a backup. Take a new snapshot`,
        { storeId },
      );
    }
    return Number(revision);
  }

  #incarnationOf(revision: number): string {
    let low = 0;
    let high = this.#entries.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#entries[middle] as TimelineEntry).firstRevision <= revision) low = middle;
      else high = middle - 1;
    }
    return (this.#entries[low] as TimelineEntry).incarnation;
  }
}
