import { parentPort } from "node:worker_threads";
import { StoreWatchError } from "./errors.ts";
import type { WriterMethods } from "./history/methods.ts";
import { HistoryWriter } from "./history/writer.ts";
import { serveWorker, transferring } from "./worker/worker-server.ts";

// The thread of the only connection that writes.

let writer: HistoryWriter | undefined;

/** After these the WAL may have grown. */
const settled: ReadonlySet<string> = new Set(["append", "graphWrite", "graphApply", "graphIngest"]);

function opened(): HistoryWriter {
  if (writer === undefined) throw new StoreWatchError("INTERNAL", "the writer's thread has no database yet");
  return writer;
}

if (parentPort !== null) {
  serveWorker<WriterMethods>(parentPort, {
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
    graphMirror: (input) => opened().graph(input).mirror.start(input.source, input.nowMs),
    graphIngest: (input) => opened().graph(input).mirror.ingest(input.nowMs),
    graphStoreWrites: (input) => opened().graph(input).mirror.storeWrites(input.nowMs, input.maxTransactions),
    graphSettle: (input) => opened().graph(input).mirror.settle(input.results, input.nowMs),
    retryQuarantined: ({ id, nowMs }) => opened().retryQuarantined(id, nowMs),
    skipQuarantined: ({ id, reason }) => opened().skipQuarantined(id, reason),
    setConsumer: ({ name, position, nowMs }) => opened().setConsumer(name, position, nowMs),
    prune: (input) => opened().prune(input),
    answered: (method) => settled.has(method) && writer?.settle(),
    close: () => writer?.close(),
  });
}
