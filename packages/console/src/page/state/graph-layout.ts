import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";

/** A version in the picture of a key's history: row 0 is the newest, lane 0 the leftmost. */
interface GraphNode {
  readonly version: Version;
  readonly row: number;
  readonly lane: number;
}

/** From a version down to one that it was made from: straight down `lane`, between the rows of the two. */
interface GraphEdge {
  readonly child: GraphNode;
  /** Undefined: further down than what was read. */
  readonly parent: GraphNode | undefined;
  readonly lane: number;
}

export interface GraphLayout {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
  readonly lanes: number;
}

/**
 * Lays out versions, the newest first, so that no edge passes over a version that is not its end. Every parent must be
 * behind its children, which positions of a log see to.
 */
export function layoutGraph(versions: readonly Version[]): GraphLayout {
  /** What each lane leads down to; undefined: it is free. */
  const lanes: (bigint | undefined)[] = [];
  const nodes = new Map<bigint, GraphNode>();
  const open: { readonly child: GraphNode; readonly parent: bigint; readonly lane: number }[] = [];
  let most = 1;
  const takeLane = (target: bigint): number => {
    const free = lanes.indexOf(undefined);
    const lane = free === -1 ? lanes.length : free;
    lanes[lane] = target;
    return lane;
  };
  for (const [row, version] of versions.entries()) {
    const waiting = lanes.indexOf(version.position);
    const lane = waiting === -1 ? takeLane(version.position) : waiting;
    const node = { version, row, lane };
    nodes.set(version.position, node);
    // All that lead here end here.
    for (const [index, target] of lanes.entries()) if (target === version.position) lanes[index] = undefined;
    for (const [index, parent] of version.parents.entries()) {
      const known = lanes.indexOf(parent);
      if (known !== -1) {
        open.push({ child: node, parent, lane: known });
      } else if (index === 0 || lanes[lane] === undefined) {
        lanes[lane] = parent;
        open.push({ child: node, parent, lane });
      } else {
        open.push({ child: node, parent, lane: takeLane(parent) });
      }
    }
    most = Math.max(most, lanes.length);
    while (lanes.length > 0 && lanes.at(-1) === undefined) lanes.pop();
  }
  return {
    nodes: [...nodes.values()],
    edges: open.map(({ child, parent, lane }) => ({ child, parent: nodes.get(parent), lane })),
    lanes: most,
  };
}
