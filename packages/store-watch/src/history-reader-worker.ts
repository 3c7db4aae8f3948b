import { parentPort } from "node:worker_threads";
import { StoreWatchError } from "./errors.ts";
import { checkDatabase } from "./history/fsck.ts";
import type { ReaderMethods } from "./history/methods.ts";
import { HistoryReader } from "./history/reader.ts";
import { transferOf } from "./history/version-packing.ts";
import { serveWorker, transferring } from "./worker/worker-server.ts";

// A thread with one connection that reads.

let reader: HistoryReader | undefined;
let failure: unknown = new StoreWatchError("INTERNAL", "the reader's thread has no database yet");

function opened(): HistoryReader {
  if (reader === undefined) throw failure;
  return reader;
}

if (parentPort !== null) {
  serveWorker<ReaderMethods>(parentPort, {
    open({ file }) {
      try {
        reader = new HistoryReader(file);
      } catch (error) {
        failure = error;
        throw error;
      }
    },
    get({ stream, key, at }) {
      const versions = opened().get(stream, key, at);
      return transferring(versions, transferOf(versions));
    },
    list(input) {
      const page = opened().list(input);
      return transferring(page, transferOf(page.versions));
    },
    log(input) {
      const page = opened().log(input);
      return transferring(page, transferOf(page.versions));
    },
    changes(input) {
      const page = opened().changes(input);
      return transferring(page, transferOf(page.versions));
    },
    diff(input) {
      const page = opened().diff(input);
      return transferring(page, transferOf(page.versions));
    },
    position: () => opened().position(),
    streams: () => opened().records.streams(),
    gaps: ({ stream }) => opened().records.gaps(stream),
    quarantine: ({ stream, id, includeResolved }) => opened().records.quarantine(stream, id, includeResolved),
    fsck: () => checkDatabase(opened().connection),
    close: () => reader?.close(),
  });
}
