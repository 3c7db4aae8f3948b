/** One key after one revision of the store; without a value it is gone. Keys and values are bytes as latin1 text. */
export interface LedgerChange {
  readonly key: string;
  readonly value: string | undefined;
}

/** What one revision did, in the order of the transaction. */
export interface LedgerEntry {
  readonly revision: bigint;
  readonly changes: readonly LedgerChange[];
}

/** The state of one key. */
export interface KeyState {
  readonly value: string;
  readonly revision: bigint;
}

/** One uninterrupted life of the store: it ends when the store is wiped or restored. */
export interface Era {
  /** What it goes on from: everything up to a revision of an earlier era; undefined: nothing. */
  readonly base: { readonly era: Era; readonly revision: bigint } | undefined;
  /** Why it began. */
  readonly reason: string;
  readonly entries: LedgerEntry[];
  /** Revisions up to which history was compacted, in order. */
  readonly compactions: bigint[];
}

/** The exact list of what was done to a store. Revisions of an era may be recorded in any order. */
export class Ledger {
  readonly eras: Era[] = [{ base: undefined, reason: "the beginning", entries: [], compactions: [] }];

  get era(): Era {
    return this.eras.at(-1) as Era;
  }

  record(revision: bigint, changes: readonly LedgerChange[]): void {
    this.era.entries.push({ revision, changes });
  }

  compacted(revision: bigint): void {
    this.era.compactions.push(revision);
  }

  /** The store was emptied. */
  wiped(): void {
    this.eras.push({ base: undefined, reason: "wiped", entries: [], compactions: [] });
  }

  /** The store is as it was at this revision of this era. */
  restored(era: Era, revision: bigint): void {
    this.eras.push({ base: { era, revision }, reason: "restored", entries: [], compactions: [] });
  }

  /** Number of changes in all eras. */
  get changes(): number {
    return this.eras.reduce(
      (sum, { entries }) => sum + entries.reduce((all, { changes }) => all + changes.length, 0),
      0,
    );
  }
}

/** Everything that led to an era's state, with what it inherited, in the order of revisions. */
export function lineageOf(era: Era): readonly LedgerEntry[] {
  const { base } = era;
  const inherited = base === undefined ? [] : lineageOf(base.era).filter(({ revision }) => revision <= base.revision);
  const own = era.entries.toSorted((a, b) => (a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0));
  return [...inherited, ...own];
}

/** All compactions that an era inherited or had. */
export function compactionsOf(era: Era): readonly bigint[] {
  return [...(era.base === undefined ? [] : compactionsOf(era.base.era)), ...era.compactions];
}

/** The state after a revision of a lineage; by default after its last. */
export function stateAt(lineage: readonly LedgerEntry[], revision?: bigint): Map<string, KeyState> {
  const state = new Map<string, KeyState>();
  for (const entry of lineage) {
    if (revision !== undefined && entry.revision > revision) break;
    for (const { key, value } of entry.changes) {
      if (value === undefined) state.delete(key);
      else state.set(key, { value, revision: entry.revision });
    }
  }
  return state;
}
