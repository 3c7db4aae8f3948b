import type { ConflictGroup, ConflictKey, GraphEdit, GraphHead, GraphState } from "@tidemark/store-watch";

/** What is to become of a conflict. */
export type Decision =
  /** The later transaction wins as a whole; the same everywhere. */
  | "last-writer"
  /** It stays open: every head can be read, the latest is shown, and `resolve` or the next edit ends it. */
  | "keep"
  /** These values, for every key in conflict and for any other of the group. */
  | { readonly values: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[] };

/**
 * Decides about the keys of a group together. What it returns need not be the same on every site: if two sites decide
 * differently at once, that is a conflict of merges, which the later one wins.
 */
export type ResolveConflict = (group: ConflictGroup) => Decision | Promise<Decision>;

export type ConflictPolicy = "last-writer" | "keep" | ResolveConflict;

/** Whether every head that takes part was made by a resolution. Such a conflict is never asked about, so it ends. */
export function isAmongMerges(group: ConflictGroup): boolean {
  return group.keys.every(({ heads }) => heads.length < 2 || heads.every(({ isMerge }) => isMerge));
}

/** What a decision was made about: when it is the same, the decision is. */
export function signatureOf(group: ConflictGroup): string {
  const heads = group.keys.map(
    ({ key, heads }) => `${textOf(key)}=${heads.map(({ id }) => `${id.origin}:${id.generation}`).join()}`,
  );
  return heads.sort().join("\n");
}

/** The edits that a decision comes down to, to be written as one batch; none where it stays open. Pure. */
export function planResolution(group: ConflictGroup, decision: Decision): GraphEdit[] {
  if (decision === "keep") return [];
  return decision === "last-writer" ? planLastWriter(group) : planValues(group, decision.values);
}

/**
 * The latest transaction wins, and with it all it wrote. One that shares a key in conflict with a winner loses, and loses
 * everything that it still shows: no transaction is left half.
 */
function planLastWriter({ keys }: ConflictGroup): GraphEdit[] {
  const winnerOf = new Map<ConflictKey, GraphHead>();
  const losers = new Set<string>();
  for (const { id, heads } of transactionsOf(keys)) {
    const contested = heads.filter(({ key }) => isContested(key));
    if (contested.some(({ key }) => winnerOf.has(key))) losers.add(id);
    else for (const { key, head } of contested) winnerOf.set(key, head);
  }
  return keys.flatMap((key) => {
    const { heads } = key;
    const [shown] = heads as [GraphHead];
    if (heads.length === 1) {
      // Only tied to the conflict: a loser's other keys go back to what they were.
      return losers.has(transactionOf(shown, key)) ? revert(key, key.before[0]) : [];
    }
    const isUndecided = isContested(key) && !winnerOf.has(key);
    const reverted = isUndecided ? revert(key, key.ancestor) : [];
    if (reverted.length > 0) return reverted;
    // Nobody knows any more what it was: the latest stays.
    const winner = isUndecided ? shown : (winnerOf.get(key) ?? shown);
    // A link goes from the greater stamp to the smaller one, or links could close a circle.
    if (winner !== shown) return [merge(key, winner.value, winner.attributes)];
    return heads.slice(1).map(({ id }): GraphEdit => ({ type: "link", key: key.key, child: winner.id, parent: id }));
  });
}

/** Back to what it was; nothing where that was pruned: a transaction that every site had long ago is not undone in part. */
function revert(key: ConflictKey, to: GraphState | undefined): GraphEdit[] {
  return to === undefined && key.isPastPruned ? [] : [merge(key, to?.value)];
}

/** Whoever wrote the same has nothing to lose. */
function isContested({ heads }: ConflictKey): boolean {
  const [first, ...others] = heads;
  return others.some(
    ({ value, attributes }) =>
      attributes !== first?.attributes ||
      (value === undefined || first?.value === undefined
        ? value !== first?.value
        : Buffer.compare(value, first.value) !== 0),
  );
}

function planValues({ keys }: ConflictGroup, values: (Decision & object)["values"]): GraphEdit[] {
  const given = new Map(values.map(({ key, value }) => [textOf(key), value]));
  return keys.flatMap((key) => {
    const name = textOf(key.key);
    return given.has(name) ? [merge(key, given.get(name))] : [];
  });
}

function merge({ key, heads }: ConflictKey, value: Uint8Array | undefined, attributes?: string): GraphEdit {
  return { type: "version", key, value, attributes, parents: heads.map(({ id }) => id), isMerge: true };
}

interface Transaction {
  readonly id: string;
  readonly stamp: string;
  readonly heads: { readonly key: ConflictKey; readonly head: GraphHead }[];
}

/** All transactions with a head in the group, the latest first. Everything in one has the same stamp. */
function transactionsOf(keys: readonly ConflictKey[]): Transaction[] {
  const found = new Map<string, Transaction>();
  for (const key of keys) {
    for (const head of key.heads) {
      const id = transactionOf(head, key);
      const transaction = found.get(id) ?? { id, stamp: head.stamp, heads: [] };
      transaction.heads.push({ key, head });
      found.set(id, transaction);
    }
  }
  return [...found.values()].sort((one, other) =>
    one.stamp === other.stamp ? (one.id < other.id ? -1 : 1) : one.stamp < other.stamp ? 1 : -1,
  );
}

/** What a resolution wrote for one key stands for itself. */
function transactionOf(head: GraphHead, { key }: ConflictKey): string {
  return head.isMerge ? `${head.stamp}/${textOf(key)}` : head.stamp;
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
