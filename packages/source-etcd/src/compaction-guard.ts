/**
 * Notices what etcd before 3.4.31 and 3.5.13 keeps to itself (pull request 17612): a watch that is behind while its
 * outgoing queue is full skips everything up to now, without a word, if a compaction passes it by.
 *
 * The first thing such a watch says after the hole is always something live: an event whose response bears its own
 * revision, or a progress notice. So while the watch may be behind, whatever is live has to wait for the question whether
 * our cursor is compacted away. If it is not, no compaction has passed it by, and nothing can be missing. A batch of the
 * past needs no question; one that is not full ends the past.
 */
export class CompactionGuard {
  #isSuspect = false;

  /** Whether the watch may be behind. */
  get isSuspect(): boolean {
    return this.#isSuspect;
  }

  /** Reading was held back, so etcd's queue may have filled up. */
  held(): void {
    this.#isSuspect = true;
  }

  /** Whether to ask before a message is taken. `isLive`: its last event is as new as its header. */
  mustAskBefore(isLive: boolean): boolean {
    return isLive && this.#isSuspect;
  }

  /** Whether to ask after a message was taken. `isFull`: it may have been cut off at etcd's limit, or goes on. */
  mustAskAfter(isLive: boolean, isFull: boolean): boolean {
    if (isLive) return false;
    this.#isSuspect = true;
    return !isFull;
  }

  /** The cursor is not compacted away, and the watch has caught up: with its past, with the store, or it is idle. */
  cleared(): void {
    this.#isSuspect = false;
  }
}
