import { pruningMutants } from "./pruning-mutants.ts";

/** A bug that somebody had, put into our code while it is loaded. */
export interface Mutant {
  readonly name: string;
  /** Who had it. */
  readonly had: string;
  /** In the repository; `find` must be there exactly once. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** What must find it: an oracle of the simulation. */
  readonly foundBy: RegExp;
  /** The first world that it is looked for in: what it takes is rare, and the worlds before do not have it. @default 1 */
  readonly seed?: number;
}

/** A suite that has bugs inside: its tests are named `kills the mutant "…"`. */
export interface MutantSuite {
  /** A folder in the repository, and a test file in it. */
  readonly folder: string;
  readonly file: string;
}

const storeWatch = "packages/store-watch/src";

export const mutants: readonly Mutant[] = [
  {
    name: "acknowledges-what-is-received",
    had: "pg-logical-replication acknowledges by a timer what is not committed yet",
    file: "packages/sync/src/site.ts",
    find: "      await this.#apply(batch.messages);\n      await batch.ack();",
    replace: "      await batch.ack();\n      await this.#apply(batch.messages);",
    foundBy: /^O4/,
  },
  {
    name: "no-prune-on-reconnect",
    had: "gNMI collectors and k8s-js keep what was deleted while they were away",
    file: `${storeWatch}/history/group-steps.ts`,
    find: "    if (isSnapshot) yield* groups.sweep(context);",
    replace: "",
    foundBy: /^O[12]/,
  },
  {
    name: "marker-in-a-transaction-of-its-own",
    had: "an early syncbase flushed its resume marker after its data",
    file: `${storeWatch}/history/group-steps.ts`,
    find: "    reach(stream, cursor);\n  }\n",
    replace: "    queueMicrotask(() => reach(stream, cursor));\n  }\n",
    foundBy: /^O4/,
  },
  {
    name: "no-epoch-check",
    had: "watchers that take a restored store for the one that they knew",
    file: `${storeWatch}/testing/simulated-source.ts`,
    find: '    if (place.epoch !== this.#store.epoch) return loss("epoch-changed");',
    replace: "",
    foundBy: /^O[1-6]/,
  },
  {
    name: "header-revision-cursor",
    had: "etcd3 for npm resumes after the revision of the header, not of the event",
    file: `${storeWatch}/testing/simulated-source.ts`,
    find: '{ type: "commit", cursor: simulatedCursor(revision), sourceTimeMs',
    replace: '{ type: "commit", cursor: simulatedCursor(this.#store.revision), sourceTimeMs',
    foundBy: /^O[1-6]/,
  },
  {
    name: "cursor-is-reset",
    had: "market's watcher begins at 0 after a failure",
    file: `${storeWatch}/watcher-run.ts`,
    find: "repair === undefined ? from : undefined",
    replace: "undefined",
    foundBy: /^O2/,
  },
  {
    name: "cursor-skips-what-failed",
    had: "market's pipeline moves on over an item that it could not process",
    file: `${storeWatch}/history/group-applier.ts`,
    find: "if (kind === frameKinds.poison) yield* this.#setAside(context, reader, frame);",
    replace: "if (kind === frameKinds.poison) continue;",
    foundBy: /^O5/,
  },
  {
    name: "swallows-the-handlers-exception",
    had: "k8s-js catches what the handler throws and says nothing",
    file: `${storeWatch}/watcher-sink.ts`,
    find: "        return this.#refused(frame, error);",
    replace: "        void error;",
    foundBy: /^O[25]/,
  },
  {
    name: "stops-without-a-state",
    had: "gnmic, sdcio and k8s-js: the stream ends and nobody is told",
    file: `${storeWatch}/watcher-run.ts`,
    find: "    if (!signal.aborted) observer.ended(error);",
    replace: "    void error;\n    void observer;",
    foundBy: /^O6/,
  },
  {
    name: "drops-what-nobody-takes",
    had: "sdcio drops a notification that is not taken within five seconds (#440)",
    file: `${storeWatch}/testing/simulated-source.ts`,
    find: "    if (!this.sink.write(frame)) await this.sink.ready(signal);",
    replace: `    if (this.isFull && frame.type === "change") return;
    this.isFull = !this.sink.write(frame);
    signal.throwIfAborted();`,
    foundBy: /^O[127]/,
  },
  {
    name: "discards-a-commit-that-failed",
    had: "sdcio logs a failed commit and drops its snapshot (after #441)",
    file: "packages/stream/src/handoff-state.ts",
    find: "  if (!isGivenUp) {\n    return [",
    replace: "  if (!isGivenUp) {\n    return onCommitted(phase, false);\n    return [",
    foundBy: /^O[1-6]/,
  },
  {
    name: "brings-back-what-was-deleted",
    had: "sdcio applies deletions first, then the values of the same window",
    file: `${storeWatch}/testing/simulated-source.ts`,
    find: "{ epoch, revision, changes }: StoreTransaction, done: number, signal: AbortSignal) {",
    replace: `{ epoch, revision, changes: given }: StoreTransaction, done: number, signal: AbortSignal) {
    const changes = [...given.filter((one) => one.value === undefined), ...given.filter((one) => one.value !== undefined)];`,
    foundBy: /^O[1245]|^V7/,
  },
  {
    name: "commits-a-part-of-a-group",
    had: "watchers without transaction boundaries take what came before the break",
    file: `${storeWatch}/testing/simulated-source.ts`,
    find: '          sink.write({ type: "discard" });',
    replace: `          const { place } = run;
          if (place === undefined) sink.write({ type: "discard" });
          else sink.write({ type: "commit", cursor: simulatedCursor(place.revision + 1n) });`,
    foundBy: /^O[1-6]|^V7/,
  },
  {
    name: "publishes-from-memory",
    had: "sites that send what they wrote since they started, and not what is in the log",
    file: "packages/sync/src/site.ts",
    find: "      this.#reach(Math.max(publisher.lastSeqNo, horizon[graph.origin] ?? 0));",
    replace: "      this.#reach(own);",
    foundBy: /^O[126]/,
  },
  {
    name: "no-deduplication-at-the-partition",
    had: "producers that send again after a lost answer, to a log that takes everything",
    file: "packages/topic-server/src/storage/partition.ts",
    find: "const skip = producer === undefined ? 0 : duplicates(columns, producer.lastSeqNo);",
    replace: "const skip = 0 * duplicates(columns, producer?.lastSeqNo ?? 0);",
    foundBy: /^O5/,
  },
  {
    name: "takes-an-echo-for-an-edit",
    had: "two-way mirrors that send back what they have just written",
    file: `${storeWatch}/history/graph-mirror.ts`,
    find: "if (shown?.isEcho === true) {",
    replace: "if (shown?.isEcho === true && counts.echoes < 0) {",
    foundBy: /^O[26]/,
  },
  {
    name: "drops-what-comes-early",
    had: "appliers that skip what they cannot apply yet, and acknowledge it",
    file: `${storeWatch}/history/graph-edits.ts`,
    find: "        yield* wait(tables.addInbox(stream, { origin: batch.origin, first: batch.first, last, data }, now));",
    replace: "        void data;",
    foundBy: /^O[246]/,
  },
  {
    name: "reconnects-at-once",
    had: "openobserve: 587 consumers after a storm without waits between attempts",
    file: "packages/stream/src/backoff.ts",
    find: "  return rng.float() * backoffBoundMs(options, retryClass, attempt);",
    replace: "  return 0 * rng.float() * backoffBoundMs(options, retryClass, attempt);",
    foundBy: /^O[68]|LIMIT/,
  },
  ...pruningMutants,
];

/** The same bugs in another layer, and those that only a narrower test can see. */
export const mutantSuites: readonly MutantSuite[] = [
  { folder: "packages/stream", file: "test/handoff.suite.test.ts" },
  { folder: "packages/store-watch", file: "test/watcher.model.test.ts" },
];
