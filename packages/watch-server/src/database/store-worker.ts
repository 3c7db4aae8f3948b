import { parentPort, workerData } from "node:worker_threads";
import { serveWorker, transferring } from "@tidemark/store-watch/internal";
import { type PackedRows, transferablesOf } from "./packed-rows.ts";
import { lockStore, openForReading, openForWriting } from "./schema.ts";
import type { BelowFloor, GetAnswer, ListAnswer, ListQuery, LogAnswer, LogQuery, SizeAnswer } from "./store-reader.ts";
import { StoreReader } from "./store-reader.ts";
import { type StoreFacts, StoreWriter } from "./store-writer.ts";

/** `workerData` of a store's threads. */
export type StoreWorkerData =
  | { readonly role: "writer"; readonly file: string; readonly storeId: string; readonly incarnation: string }
  | { readonly role: "reader"; readonly file: string };

export interface WriteAnswer {
  /** The group as it came, back for its sender. */
  readonly group: PackedRows;
  readonly outcomes: PackedRows;
  readonly committedAtMs: number;
}

export type WriterMethods = {
  open(input: undefined): StoreFacts;
  write(input: { readonly group: PackedRows; readonly nowMs: number }): WriteAnswer;
  raiseFloor(input: number): number;
  removeStep(input: { readonly target: number; readonly maxChanges: number }): boolean;
  markSizesKnown(input: undefined): void;
};

export type ReaderMethods = {
  open(input: undefined): void;
  get(input: Uint8Array): GetAnswer;
  list(input: ListQuery): ListAnswer | BelowFloor;
  log(input: LogQuery): LogAnswer | BelowFloor;
  size(input: undefined): SizeAnswer | undefined;
  isCounted(input: undefined): boolean;
};

const port = parentPort;
if (port === null) throw new Error("store-worker runs as a worker thread only; use openStore()");
const data = workerData as StoreWorkerData;

if (data.role === "writer") {
  let writer: StoreWriter | undefined;
  const closers: (() => void)[] = [];
  const opened = () => {
    if (writer === undefined) throw new Error("the store is not open");
    return writer;
  };
  const close = () => {
    for (const closer of closers.splice(0).reverse()) closer();
  };
  serveWorker<WriterMethods>(port, {
    open() {
      try {
        closers.push(lockStore(data.file));
        const database = openForWriting(data.file, data);
        closers.push(() => database.close());
        writer = new StoreWriter(database, data.incarnation);
        return writer.facts();
      } catch (error) {
        close();
        throw error;
      }
    },
    write({ group, nowMs }) {
      const { outcomes, committedAtMs } = opened().write(group, nowMs);
      return transferring({ group, outcomes, committedAtMs }, [
        ...transferablesOf(group),
        ...transferablesOf(outcomes),
      ]);
    },
    raiseFloor: (revision) => opened().raiseFloor(revision),
    removeStep: ({ target, maxChanges }) => opened().removeStep(target, maxChanges),
    markSizesKnown: () => opened().markSizesKnown(),
    close,
  });
} else {
  let reader: StoreReader | undefined;
  let closeDatabase: (() => void) | undefined;
  const opened = () => {
    if (reader === undefined) throw new Error("the store is not open");
    return reader;
  };
  const handOver = <T extends BelowFloor | { readonly rows: PackedRows }>(answer: T): T =>
    "rows" in answer ? transferring(answer, transferablesOf(answer.rows)) : answer;
  serveWorker<ReaderMethods>(port, {
    open() {
      const database = openForReading(data.file);
      closeDatabase = () => database.close();
      reader = new StoreReader(database);
    },
    get: (key) => handOver(opened().get(key)),
    list: (query) => handOver(opened().list(query)),
    log: (query) => handOver(opened().log(query)),
    size: () => opened().size(),
    isCounted: () => opened().isCounted(),
    close: () => closeDatabase?.(),
  });
}
