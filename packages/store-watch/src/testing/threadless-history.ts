import type { Clock } from "@tidemark/clock";
import { SqliteHistory } from "../history/history.ts";
import type { ReaderMethods, WriterMethods } from "../history/methods.ts";
import { readerHandlers } from "../history/reader-handlers.ts";
import { writerHandlers } from "../history/writer-handlers.ts";
import type { History } from "../history-types.ts";
import { workerErrors } from "../history-workers.ts";
import { localThread } from "../worker/local-thread.ts";

/**
 * A history in a SQLite file as `openHistory` makes it, without its threads: every call runs when it is made, and takes no
 * time. For simulations, in which nothing may run beside them. Closing it where it stands is what the death of its process
 * is to the file, because nothing in it ends within a transaction.
 *
 * @throws {StoreWatchError} like `openHistory`
 */
export async function openThreadlessHistory(options: {
  readonly file: string;
  /** The identity of a new database. */
  readonly origin: string;
  readonly clock: Clock;
}): Promise<History> {
  const { file, origin, clock } = options;
  const startReader = () => localThread<ReaderMethods>(readerHandlers(), workerErrors);
  const writer = localThread<WriterMethods>(writerHandlers(), workerErrors);
  const opened = await writer.call("open", { file, synchronous: "normal", origin });
  const reader = startReader();
  await reader.call("open", { file });
  return new SqliteHistory({ file, origin: opened.origin, writer, readers: [reader], clock, startReader });
}
