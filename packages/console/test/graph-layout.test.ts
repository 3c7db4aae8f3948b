import fc from "fast-check";
import { expect, test } from "vitest";
import { layoutGraph } from "../src/page/state/graph-layout.ts";
import { version } from "./support/versions.ts";

/** A version at a position, made from those at others. */
const made = (position: number, ...parents: number[]) =>
  Object.assign(version(position, "k"), { parents: parents.map(BigInt) });

const short = (versions: ReturnType<typeof made>[]) => {
  const { nodes, edges, lanes } = layoutGraph(versions);
  return {
    lanes,
    nodes: nodes.map(({ version: { position }, lane }) => `${position}@${lane}`),
    edges: edges.map(
      ({ child, parent, lane }) => `${child.version.position}>${parent?.version.position ?? "?"}@${lane}`,
    ),
  };
};

test("a history without forks is one straight line, that goes on below what was read", () => {
  expect(short([made(3, 2), made(2, 1)])).toEqual({ lanes: 1, nodes: ["3@0", "2@0"], edges: ["3>2@0", "2>?@0"] });
});

test("two versions of one parent are side by side until something brings them together", () => {
  expect(short([made(4, 2, 3), made(3, 1), made(2, 1), made(1)])).toEqual({
    lanes: 2,
    nodes: ["4@0", "3@1", "2@0", "1@1"],
    edges: ["4>2@0", "4>3@1", "3>1@1", "2>1@1"],
  });
});

/** Any graph of versions, the newest first: parents are among the older ones. */
const graphs = fc
  .array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 1, maxLength: 30 })
  .map((rows) =>
    rows
      .map((parents, index) =>
        made(index + 1, ...new Set(index === 0 ? [] : parents.map((each) => 1 + (each % index)))),
      )
      .reverse(),
  );

test("no edge passes over a version that is not its end, and no two versions are in one place", () => {
  fc.assert(
    fc.property(graphs, (versions) => {
      const { nodes, edges, lanes } = layoutGraph(versions);
      expect(nodes).toHaveLength(versions.length);
      expect(edges).toHaveLength(versions.flatMap(({ parents }) => parents).length);
      expect(nodes.map(({ row }) => row)).toEqual(versions.map((_, row) => row));
      for (const { child, parent, lane } of edges) {
        expect(lane).toBeLessThan(lanes);
        const last = parent?.row ?? versions.length;
        expect(nodes.filter((node) => node.lane === lane && node.row > child.row && node.row < last)).toEqual([]);
      }
      for (const { lane } of nodes) expect(lane).toBeLessThan(lanes);
    }),
  );
});

test("edges that share a lane at the same height lead to the same version", () => {
  fc.assert(
    fc.property(graphs, (versions) => {
      const { edges } = layoutGraph(versions);
      for (const [index, one] of edges.entries()) {
        for (const other of edges.slice(index + 1)) {
          if (one.lane !== other.lane || one.parent === other.parent) continue;
          const [upper, lower] = one.child.row < other.child.row ? [one, other] : [other, one];
          expect(upper.parent?.row ?? versions.length).toBeLessThanOrEqual(lower.child.row);
        }
      }
    }),
  );
});
