import type { Mutant } from "./catalogue.ts";

const history = "packages/store-watch/src/history";

/** What goes wrong where superseded versions are removed, and where a snapshot stands for them. */
export const pruningMutants: readonly Mutant[] = [
  {
    name: "floor-forgets-a-slow-site",
    had: "Cassandra drops tombstones after gc_grace_seconds, whether or not a replica that is down has them",
    file: `${history}/graph-horizon.ts`,
    find: "Math.min(...sites.map(",
    replace: "Math.max(...sites.map(",
    foundBy: /^V9/,
  },
  {
    name: "floor-forgets-a-consumer",
    had: "stores that are compacted by time alone, below those who read slowly",
    file: `${history}/graph-retention.ts`,
    find: "Math.min(atTime, (yield* wait(retained.lowestConsumer())) ?? Number.POSITIVE_INFINITY)",
    replace: "atTime",
    foundBy: /^V9/,
  },
  {
    name: "prunes-what-is-young",
    had: "collectors that look at what a version is, and not at how long it is no longer shown",
    file: `${history}/graph-retention.ts`,
    find: "(yield* wait(this.#moments.byTime(Math.floor(beforeMs)))) ?? 0",
    replace: "Math.floor(beforeMs) && this.#edits.position",
    foundBy: /^V9/,
  },
  {
    name: "prunes-what-is-not-published",
    had: "logs that are cut by age although nobody has taken over the end",
    file: `${history}/graph-retention.ts`,
    find: "const ends = [after, beyond]",
    replace: "const ends = [after, beyond && undefined]",
    foundBy: /^O[126]/,
    seed: 43,
  },
  {
    name: "never-says-what-it-has",
    had: "replicas that report their place with the next change only, which never comes",
    file: `${history}/graph-retention.ts`,
    find: "if (!(yield* hasNews(this.#retained, this.#state.id, own))) {",
    replace: "if (!(yield* hasNews(this.#retained, this.#state.id, own)) || own > 0) {",
    foundBy: /^O6/,
    seed: 11,
  },
  {
    name: "tells-nobody-that-it-pruned",
    had: "brokers that begin at what is left, without a word to who asked for more",
    file: `${history}/graph-retention.ts`,
    find: "if (has >= generation) continue;",
    replace: "if (has >= generation || has >= 0) continue;",
    foundBy: /^O[126]/,
    seed: 21,
  },
  {
    name: "sweeps-what-a-store-still-shows",
    had: "git gc --prune=now, which removes what another process is about to use",
    file: `${history}/sqlite-retention-tables.ts`,
    find: "           OR EXISTS (SELECT 1 FROM mirrors m WHERE m.object = :object AND m.shown = :pos)\n",
    replace: "",
    foundBy: /^O[1236]|^V/,
  },
  {
    name: "snapshot-drops-a-key",
    had: "pagers that leave out a key where a page begins",
    file: `${history}/graph-snapshots.ts`,
    find: "let last = from.object;",
    replace: "let last = from.object + 1;",
    foundBy: /^O[12]/,
    seed: 23,
  },
  {
    name: "snapshot-without-deletions",
    had: "gNMI collectors and k8s-js, once more: a snapshot of what is live says nothing to who has what is gone",
    file: `${history}/graph-snapshots.ts`,
    find: "    for (const [at, row] of rows.entries()) {\n",
    replace: `    for (const [at, row] of rows.entries()) {
      if (row.value === null) continue;
`,
    foundBy: /^O[12]/,
    seed: 23,
  },
  {
    name: "snapshot-taken-for-the-whole-past",
    had: "replicas that are seeded from a copy, and then seed others with less than they say",
    file: `${history}/graph-snapshots.ts`,
    find: "for (const [origin, end] of cut) yield* wait(",
    replace: "for (const [origin, end] of []) yield* wait(",
    foundBy: /^O[1236]/,
    seed: 23,
  },
];
