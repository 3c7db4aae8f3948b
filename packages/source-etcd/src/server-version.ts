/** What depends on the version of the server, such as `3.4.23`. An unknown version gets the careful answer. */
export interface ServerTraits {
  /**
   * Whether a watch that is behind may skip what is compacted away without a word (etcd pull request 17612, fixed in
   * 3.4.31 and 3.5.13).
   */
  readonly mayLoseOnCompaction: boolean;
  /**
   * Whether the answer to a progress request comes in order with the events. Before 3.4.25 and 3.5.8 it overtakes them
   * (etcd issue 15220), so it says that etcd lives and nothing about how far the watch is.
   */
  readonly hasOrderedProgress: boolean;
  /**
   * Whether a progress request may go unanswered for ever on a watch that had no event yet (etcd pull request 17566).
   */
  readonly mayIgnoreProgress: boolean;
}

/** The first patch release with each fix, per minor release; later minor releases have it from the start. */
const orderedProgress: ReadonlyMap<string, number> = new Map([
  ["3.4", 25],
  ["3.5", 8],
]);
const watchFixes: ReadonlyMap<string, number> = new Map([
  ["3.4", 31],
  ["3.5", 13],
]);

export function serverTraits(version: string | undefined): ServerTraits {
  const [, major = "", minor = "", patch = ""] = /^(\d+)\.(\d+)\.(\d+)/.exec(version ?? "") ?? [];
  const isFixed = (fixes: ReadonlyMap<string, number>): boolean => {
    const first = fixes.get(`${major}.${minor}`);
    if (first !== undefined) return Number(patch) >= first;
    return Number(major) > 3 || (major === "3" && Number(minor) > 5);
  };
  const hasOrderedProgress = major !== "" && isFixed(orderedProgress);
  const hasWatchFixes = major !== "" && isFixed(watchFixes);
  return {
    hasOrderedProgress,
    mayIgnoreProgress: hasOrderedProgress && !hasWatchFixes,
    mayLoseOnCompaction: !hasWatchFixes,
  };
}
