import type { Clock } from "@tidemark/clock";
import Database from "better-sqlite3";
import type { Frame, ResumePoint } from "../contract.ts";
import { FrameBuffer } from "../frame-buffer.ts";
import { FrameReader } from "../frame-layout.ts";
import { Appender } from "../history/appender.ts";
import { CommitLog } from "../history/commit-log.ts";
import { CommitTable } from "../history/commit-table.ts";
import { schemaSteps, viewStatements } from "../history/ddl.ts";
import { runNow } from "../history/flow.ts";
import { checkDatabase } from "../history/fsck.ts";
import { graphStream } from "../history/graph-stream.ts";
import type { HistoryGraph } from "../history/graph-types.ts";
import { GraphWriter } from "../history/graph-writer.ts";
import { GroupApplier } from "../history/group-applier.ts";
import { sqliteSavepoints, StoredValues } from "../history/held-values.ts";
import { ObjectCache } from "../history/object-cache.ts";
import { ObjectLookup } from "../history/object-lookup.ts";
import { QuarantineLog } from "../history/quarantine-log.ts";
import { QuarantineTable } from "../history/quarantine-table.ts";
import { Stage, type StagedStreamState } from "../history/stage.ts";
import { resumeOf, StreamLog } from "../history/stream-log.ts";
import { StreamTable } from "../history/stream-table.ts";
import { Transactions } from "../history/transactions.ts";
import { VersionStore } from "../history/version-store.ts";
import type { FsckReport, OpenStreamOptions } from "../history-types.ts";

/** The database of one graph in memory: what is left when the process of a simulated site dies. */
export interface MemoryGraph {
  /** The same code as in a history, without its thread. An earlier opening must not be used any more. */
  open(): HistoryGraph;
  /** Adds frames to another stream of the database, as a watcher does, and tells where it stands. */
  append(options: OpenStreamOptions, frames: readonly Frame[]): ResumePoint | undefined;
  fsck(): FsckReport;
  /** Rows of a query, for oracles. */
  query(sql: string): readonly unknown[];
  /** Runs statements, to damage it. */
  run(sql: string): void;
  close(): void;
}

export function createMemoryGraph(options: {
  readonly name: string;
  readonly origin: string;
  readonly clock: Clock;
}): MemoryGraph {
  const { name, origin, clock } = options;
  const db = new Database(":memory:");
  // As the writer of a file does.
  db.pragma("foreign_keys = OFF");
  for (const step of schemaSteps) db.exec(step);
  db.exec(viewStatements);
  db.prepare("INSERT INTO origins (id, name) VALUES (1, ?)").run(origin);
  let appendTo: MemoryGraph["append"] | undefined;
  return {
    open() {
      const all = new Map<number, StagedStreamState>();
      const store = new VersionStore(db);
      const streams = new StreamLog(new StreamTable(db));
      const commits = new CommitLog(new CommitTable(db));
      runNow(commits.load());
      const transactions = new Transactions(db, { store, streams, commits, all });
      const { id } = runNow(streams.open({ ...graphStream, name, description: "in memory" }));
      const state: StagedStreamState = {
        id,
        ...runNow(streams.load(id)),
        cache: new ObjectCache({ maxBytes: 1024, isComplete: false }),
        token: 1,
        open: undefined,
        stage: new Stage(""),
        spare: new Stage(""),
        isAfterGap: false,
        isRepair: false,
        ownGap: undefined,
      };
      all.set(id, state);
      const [objects, savepoints] = [new ObjectLookup(db), sqliteSavepoints(db)];
      const quarantine = new QuarantineLog(new QuarantineTable(db), savepoints);
      const values = new StoredValues(store);
      const groups = new GroupApplier({ store, objects, values, savepoints, quarantine, windowFrames: 64 });
      const appender = new Appender({ store, groups, streams, commits, transactions });
      appendTo = (streamOptions, frames) => {
        const { id: source } = runNow(streams.open(streamOptions));
        const stream: StagedStreamState = all.get(source) ?? {
          ...state,
          id: source,
          ...runNow(streams.load(source)),
          cache: objects.cacheOf(source, 1024, 1024 * 1024),
        };
        all.set(source, stream);
        const buffer = new FrameBuffer();
        for (const frame of frames) buffer.write(frame);
        appender.append(stream, new FrameReader(buffer.toTransfer()), clock.now());
        return resumeOf(stream);
      };
      const graph = new GraphWriter(db, { store, streams, commits, transactions }, state, origin, clock.now());
      return {
        name,
        origin,
        write: async (edits) => graph.write(edits, clock.now()),
        apply: async (messages) => graph.apply(messages, clock.now()),
        batches: async (after, { maxBytes } = {}) => graph.batches(after, maxBytes),
        missing: async (vector, { maxBytes } = {}) => graph.missing(vector, maxBytes),
        heads: async (key) => graph.heads(key),
        conflictGroup: async (after) => graph.conflictGroup(after),
        status: async () => graph.status(),
        announce: async () => graph.announce(clock.now()),
        prune: async (options) => graph.prune(options, clock.now()),
        snapshot: async (after) => graph.snapshot(after),
        restore: async (part, { published }) => graph.restore(part, published, clock.now()),
        mirror: async (source) => graph.mirror(source, clock.now()),
        ingest: async () => graph.ingest(clock.now()),
        storeWrites: async ({ maxTransactions } = {}) => graph.storeWrites(clock.now(), maxTransactions),
        settle: async (results) => graph.settle(results, clock.now()),
        unsettled: async () => graph.unsettled(),
        lose: async (position) => graph.lose(position, clock.now()),
      };
    },
    append: (streamOptions, frames) => {
      if (appendTo === undefined) throw new Error("open the graph first");
      return appendTo(streamOptions, frames);
    },
    fsck: () => checkDatabase(db),
    query: (sql) => db.prepare(sql).all(),
    run: (sql) => void db.exec(sql),
    close: () => db.close(),
  };
}
