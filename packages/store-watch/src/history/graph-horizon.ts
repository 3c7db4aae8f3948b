/**
 * A set of batches that has with each everything it builds on, as the last generation of each origin. The least and the
 * greatest of two such sets, origin by origin, are such sets again.
 */
export type Cut = ReadonlyMap<number, number>;

/** Another site as the graph knows it. */
export interface KnownSite {
  readonly origin: number;
  /** What it said that it has, itself included; empty: it has said nothing yet. */
  readonly announced: Cut;
}

/** What every site has, and whatever is too old to be kept for those that do not. */
export function commonCut(origins: Iterable<number>, sites: readonly KnownSite[], old: Cut): Map<number, number> {
  const cut = new Map<number, number>();
  for (const origin of origins) {
    const least = Math.min(...sites.map(({ announced }) => announced.get(origin) ?? 0));
    cut.set(origin, Math.max(least, old.get(origin) ?? 0));
  }
  return cut;
}

/** The sites for which something is kept that could go otherwise. */
export function holdersOf(sites: readonly KnownSite[], cut: Cut, wanted: Cut): readonly KnownSite[] {
  return sites.filter(({ announced }) =>
    [...wanted].some(([origin, end]) => {
      const kept = cut.get(origin) ?? 0;
      return kept < end && (announced.get(origin) ?? 0) <= kept;
    }),
  );
}

/** Where it gets further: the greater of both, for origins in which the step is beyond the present one. */
export function advances(present: Cut, step: Cut, limit: Cut): { origin: number; from: number; to: number }[] {
  return [...step].flatMap(([origin, reached]) => {
    const from = present.get(origin) ?? 0;
    const to = Math.min(reached, limit.get(origin) ?? 0);
    return to > from ? [{ origin, from, to }] : [];
  });
}
