import { StoreWatchError } from "../errors.ts";
import { transferring, type WorkerHandlers } from "../worker/worker-server.ts";
import type { WriterMethods } from "./methods.ts";
import { HistoryWriter } from "./writer.ts";

/** After these the WAL may have grown. */
const settled: ReadonlySet<string> = new Set([
  "append",
  "graphWrite",
  "graphApply",
  "graphIngest",
  "graphPrune",
  "graphRestore",
]);

/** What the thread of the only connection that writes answers. */
export function writerHandlers(): WorkerHandlers<WriterMethods> {
  let writer: HistoryWriter | undefined;
  const opened = (): HistoryWriter => {
    if (writer === undefined) throw new StoreWatchError("INTERNAL", "the writer's thread has no database yet");
    return writer;
  };
  return {
    open(input) {
      writer = new HistoryWriter(input);
      return { origin: writer.origin };
    },
    openStream: ({ options, nowMs }) => opened().openStream(options, nowMs),
    append(input) {
      const output = opened().append(input);
      return transferring(output, [output.parts.words, output.parts.data]);
    },
    openGraph: ({ options, nowMs }) => opened().openGraph(options, nowMs),
    graphWrite: (input) => opened().graph(input).write(input.edits, input.nowMs),
    graphApply: (input) => opened().graph(input).apply(input.messages, input.nowMs),
    graphBatches: (input) => opened().graph(input).batches(input.after, input.maxBytes),
    graphMissing: (input) => opened().graph(input).missing(input.vector, input.maxBytes),
    graphHeads: (input) => opened().graph(input).heads(input.key),
    graphConflict: (input) => opened().graph(input).conflictGroup(input.after),
    graphStatus: (input) => opened().graph(input).status(),
    graphAnnounce: (input) => opened().graph(input).announce(input.nowMs),
    graphPrune: (input) => opened().graph(input).prune(input.options, input.nowMs),
    graphSnapshot: (input) => opened().graph(input).snapshot(input.after),
    graphRestore: (input) => opened().graph(input).restore(input.part, input.published, input.nowMs),
    graphMirror: (input) => opened().graph(input).mirror(input.source, input.nowMs),
    graphIngest: (input) => opened().graph(input).ingest(input.nowMs),
    graphStoreWrites: (input) => opened().graph(input).storeWrites(input.nowMs, input.maxTransactions),
    graphSettle: (input) => opened().graph(input).settle(input.results, input.nowMs),
    graphUnsettled: (input) => opened().graph(input).unsettled(),
    graphLose: (input) => opened().graph(input).lose(input.position, input.nowMs),
    retryQuarantined: ({ id, nowMs }) => opened().retryQuarantined(id, nowMs),
    skipQuarantined: ({ id, reason }) => opened().skipQuarantined(id, reason),
    setConsumer: ({ name, position, nowMs }) => opened().setConsumer(name, position, nowMs),
    prune: (input) => opened().prune(input),
    answered: (method) => settled.has(method) && writer?.settle(),
    close: () => writer?.close(),
  };
}
