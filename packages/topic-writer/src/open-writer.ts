import { EventHub } from "@tidemark/stream/internal";
import { Compression } from "@tidemark/topic";
import { Budget } from "./budget.ts";
import { KeyedWriter } from "./keyed-writer.ts";
import { resolveWriter, type WriterOptions } from "./options.ts";
import { PartitionWriter } from "./partition-writer.ts";
import type { Writer, WriterEvent } from "./writer.ts";
import { WriterError } from "./writer-error.ts";

/**
 * A writer that begins to connect and takes messages at once.
 *
 * @throws {WriterError} `OPTIONS_INVALID`; `options.signal.reason` when that has aborted.
 */
export function createWriter(options: WriterOptions): Writer {
  options.signal?.throwIfAborted();
  const resolved = resolveWriter(options);
  const { signal } = resolved;
  const hub = new EventHub<Exclude<WriterEvent, { type: "skipped" }>>();
  const compression = new Compression(resolved.compression);
  const budget = new Budget(resolved.maxBufferBytes, resolved.maxBufferMessages);
  const onAbort = () => writer.destroy(signal?.reason);
  const onEnd = (error: WriterError | undefined) => {
    signal?.removeEventListener("abort", onAbort);
    void compression.close();
    budget.end(error ?? new WriterError("CLOSED", `the writer to ${resolved.topic} is closed`));
    hub.emit(error === undefined || error.code === "CLOSED" ? { type: "closed" } : { type: "failed", error });
    hub.close();
  };
  const { partitionId, partitioning, producerId, transaction } = resolved;
  const shared = { options: resolved, budget, compression, hub, onEnd };
  const writer =
    partitioning === undefined
      ? new PartitionWriter({
          ...shared,
          producerId,
          partitionId: partitionId === undefined ? undefined : BigInt(partitionId),
        })
      : new KeyedWriter({ ...shared, partitioning });
  signal?.addEventListener("abort", onAbort, { once: true });
  // The commit takes what was written before it, and after it there is nothing to write to.
  transaction?.onBeforeCommit((stop) => writer.flush(stop));
  transaction?.onEnd(() => writer.destroy(new Error("the transaction is over")));
  writer.start();
  return writer;
}

/**
 * A writer that is connected. It waits for a server that is not there, so give it a `signal` to bound that.
 *
 * @throws {WriterError} `OPTIONS_INVALID`, or the error that ended the writer; `options.signal.reason`.
 */
export async function openWriter(options: WriterOptions): Promise<Writer> {
  const writer = createWriter(options);
  try {
    await writer.connected(options.signal);
    return writer;
  } catch (error) {
    writer.destroy(error);
    throw error;
  }
}
