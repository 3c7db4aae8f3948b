import type { HistoryGraph } from "../history/graph-types.ts";

/** What runs the calls of a graph. */
export interface GraphGuards {
  /** Runs what changes it, or fails before or after. */
  readonly change: <T>(call: () => Promise<T>) => Promise<T>;
  /** Runs what only reads it. */
  readonly read: <T>(call: () => Promise<T>) => Promise<T>;
}

/** A graph whose every call goes through somebody who may let it fail or never end: a process that dies, a busy disk. */
export function guardedGraph(graph: HistoryGraph, { change, read }: GraphGuards): HistoryGraph {
  return {
    name: graph.name,
    origin: graph.origin,
    write: (edits) => change(() => graph.write(edits)),
    apply: (messages) => change(() => graph.apply(messages)),
    batches: (after, options) => read(() => graph.batches(after, options)),
    missing: (vector, options) => read(() => graph.missing(vector, options)),
    heads: (key) => read(() => graph.heads(key)),
    conflictGroup: (after) => read(() => graph.conflictGroup(after)),
    status: () => read(() => graph.status()),
    announce: () => change(() => graph.announce()),
    prune: (options) => change(() => graph.prune(options)),
    snapshot: (after) => read(() => graph.snapshot(after)),
    restore: (part, options) => change(() => graph.restore(part, options)),
    mirror: (source) => change(() => graph.mirror(source)),
    ingest: () => change(() => graph.ingest()),
    storeWrites: (options) => change(() => graph.storeWrites(options)),
    settle: (results) => change(() => graph.settle(results)),
    unsettled: () => read(() => graph.unsettled()),
    lose: (position) => change(() => graph.lose(position)),
  };
}
