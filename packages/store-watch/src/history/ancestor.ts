import { type Flow, type Later, wait } from "./flow.ts";

/** A version as the search for an ancestor sees it. */
export interface AncestorNode {
  readonly position: number;
  /** 1 + the highest level of its parents. */
  readonly level: number;
  /** Greater than that of every ancestor, and the same on every site. */
  readonly stamp: string;
  readonly parents: readonly number[];
}

/**
 * The common ancestor of all heads with the highest level, and with the greatest stamp among several: the same on every
 * site, because it follows from what the heads were made from and from nothing that came later. A head that is an
 * ancestor of the others is its own. Undefined where the heads have no past in common.
 *
 * Reads no version below the level of the answer.
 */
export function* commonAncestor(
  heads: readonly number[],
  nodeOf: (position: number) => Later<AncestorNode | undefined>,
): Flow<AncestorNode | undefined> {
  const all = (1n << BigInt(heads.length)) - 1n;
  const reached = new Map<number, { readonly node: AncestorNode; heads: bigint }>();
  const byLevel = new Map<number, AncestorNode[]>();
  let level = 0;
  const reach = function* (position: number, mask: bigint): Flow<void> {
    const known = reached.get(position);
    if (known !== undefined) {
      known.heads |= mask;
      return;
    }
    const node = yield* wait(nodeOf(position));
    // Pruned: what lies behind it is unknown here.
    if (node === undefined) return;
    reached.set(position, { node, heads: mask });
    const nodes = byLevel.get(node.level) ?? [];
    nodes.push(node);
    byLevel.set(node.level, nodes);
    level = Math.max(level, node.level);
  };
  for (const [index, head] of heads.entries()) yield* reach(head, 1n << BigInt(index));
  // From the highest level down: everything that leads to a version lies above it, so it is complete when it is looked at.
  for (; level > 0; level--) {
    let best: AncestorNode | undefined;
    for (const node of byLevel.get(level) ?? []) {
      const mask = reached.get(node.position)?.heads ?? 0n;
      if (mask === all && (best === undefined || node.stamp > best.stamp)) best = node;
      for (const parent of node.parents) yield* reach(parent, mask);
    }
    if (best !== undefined) return best;
  }
  return undefined;
}
