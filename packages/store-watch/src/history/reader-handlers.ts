import { StoreWatchError } from "../errors.ts";
import { transferring, type WorkerHandlers } from "../worker/worker-server.ts";
import { checkDatabase } from "./fsck.ts";
import type { ReaderMethods } from "./methods.ts";
import { HistoryReader } from "./reader.ts";
import { transferOf } from "./version-packing.ts";

/** What a thread with one connection that reads answers. */
export function readerHandlers(): WorkerHandlers<ReaderMethods> {
  let reader: HistoryReader | undefined;
  let failure: unknown = new StoreWatchError("INTERNAL", "the reader's thread has no database yet");
  const opened = (): HistoryReader => {
    if (reader === undefined) throw failure;
    return reader;
  };
  return {
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
  };
}
